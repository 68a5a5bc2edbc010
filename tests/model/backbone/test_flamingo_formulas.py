"""A small OpenFlamingo folder computes what the two models of transformers and the published formulas do."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.model.backbone.base import Media
from robovlms.model.backbone.flamingo import FlamingoBackbone

from . import formulas as f
from .layouts import TINY_FLAMINGO, gated_blocks, open_clip, perceiver, random_state, write_tokenizer

WORDS = "<|endoftext|> push the red button left right"
SMALL, WIDTH, VOCABULARY = TINY_FLAMINGO, 32, 30
SHARED = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4)
# By kind: the model of transformers, and where OpenFlamingo finds its layers.
MODELS: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**SHARED, intermediate_size=48)), "model.layers"),
    "gpt_neox": (
        lambda: GPTNeoXForCausalLM(
            GPTNeoXConfig(**SHARED, intermediate_size=48, attention_dropout=0.0, hidden_dropout=0.0)
        ),
        "gpt_neox.layers",
    ),
    "opt": (lambda: OPTForCausalLM(OPTConfig(**SHARED, ffn_dim=48, word_embed_proj_dim=WIDTH)), "model.decoder.layers"),
    "mpt": (
        lambda: MptForCausalLM(MptConfig(vocab_size=VOCABULARY, d_model=WIDTH, n_heads=4, n_layers=2)),
        "transformer.blocks",
    ),
}
each_model = pytest.mark.parametrize("kind", MODELS)


def language_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    model = MODELS[kind][0]().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def clip() -> CLIPModel:
    torch.manual_seed(2)
    sizes = dict(hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2)
    vision = dict(sizes, image_size=6, patch_size=3)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=dict(sizes, vocab_size=40), projection_dim=8))
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def trained(kind: str, every: int = 1, **more: Tensor) -> dict[str, Tensor]:
    layers = MODELS[kind][1]
    return random_state(perceiver(SMALL) | gated_blocks(layers, range(every - 1, 2, every), WIDTH, SMALL)) | more


def write_flamingo(folder: Path, kind: str, checkpoint: dict[str, Tensor]) -> Path:
    """As the documentation of the module says."""
    language_model(kind).save_pretrained(folder / "language")
    write_tokenizer(folder / "language", WORDS)
    clip().save_pretrained(folder / "clip")
    config = {"vision_model": "clip", "language_model": "language"}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"model_state_dict": checkpoint, "epoch": 3}, folder / "checkpoint.pt")
    return folder


def load(folder: Path) -> FlamingoBackbone:
    backbone = FlamingoBackbone.build(VLMConfig(pretrained=str(folder)), TokenizerConfig(), torch.float32, None)
    return backbone.eval()


def causal(length: int) -> Tensor:
    return torch.ones(1, length, length, dtype=torch.bool).tril()


def run(backbone: FlamingoBackbone, embeds: Tensor, media: Media | None) -> Tensor:
    length = embeds.shape[1]
    positions = torch.arange(length).expand(len(embeds), -1)
    allowed = causal(length).expand(len(embeds), -1, -1)
    return backbone.decode(embeds, allowed, positions, torch.arange(length), media=media)


def resampled(x: Tensor, state: f.State) -> Tensor:
    latents = state["perceiver.latents"].expand(len(x), -1, -1)
    for i in range(SMALL.depth):
        a, ff = f"perceiver.layers.{i}.0", f"perceiver.layers.{i}.1"
        normed = f.norm(latents, state, f"{a}.norm_latents")
        looked_at = torch.cat([f.norm(x, state, f"{a}.norm_media"), normed], 1)
        key, value = f.linear(looked_at, state, f"{a}.to_kv").chunk(2, -1)
        found = f.attend(f.linear(normed, state, f"{a}.to_q"), key, value, 8)
        latents = latents + f.linear(found, state, f"{a}.to_out")
        latents = latents + feed_forward(latents, state, ff)
    return f.norm(latents, state, "perceiver.norm")


def feed_forward(x: Tensor, state: f.State, name: str) -> Tensor:
    return f.linear(f.gelu(f.linear(f.norm(x, state, f"{name}.0"), state, f"{name}.1")), state, f"{name}.3")


def gated(x: Tensor, media: Media, state: f.State, name: str, count: int) -> Tensor:
    """One token at a time, over the media that it may look at."""
    key, value = f.linear(media.tokens, state, f"{name}attn.to_kv").chunk(2, -1)
    query = f.linear(f.norm(x, state, f"{name}attn.norm"), state, f"{name}attn.to_q")
    rows = torch.zeros_like(x)
    for row in range(x.shape[0]):
        for token in range(x.shape[1]):
            seen = media.allowed[row, token]
            if seen.any():
                found = f.attend(query[row, token : token + 1], key[row, seen], value[row, seen], count)
                rows[row, token] = f.linear(found, state, f"{name}attn.to_out")[0]
    x = x + rows * state[f"{name}attn_gate"].tanh()
    return x + feed_forward(x, state, f"{name}ff") * state[f"{name}ff_gate"].tanh()


@torch.inference_mode()
def test_images_are_resampled_clip_features(tmp_path: Path) -> None:
    checkpoint = trained("llama")
    backbone = load(write_flamingo(tmp_path, "llama", checkpoint))
    pixels = torch.randn(2, 3, 6, 6)
    features = clip().vision_model(pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(backbone.encode_images(pixels), resampled(features, checkpoint), atol=1e-5, rtol=1e-5)


@each_model
@torch.inference_mode()
def test_closed_gates_leave_the_language_model_as_it_is(kind: str, tmp_path: Path) -> None:
    checkpoint = trained(kind)
    for name in checkpoint:
        if name.endswith("_gate"):
            checkpoint[name] = torch.zeros(1)
    backbone = load(write_flamingo(tmp_path, kind, checkpoint))
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    media = Media(tokens=torch.randn(1, 5, 12), allowed=torch.ones(1, 5, 5, dtype=torch.bool))
    hidden = run(backbone, backbone.word_embedding(ids), media)
    expected = language_model(kind)(ids).logits
    torch.testing.assert_close(backbone.logits(hidden), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("every", [1, 2])
@torch.inference_mode()
def test_gated_blocks_stand_in_front_of_the_layers(every: int, tmp_path: Path) -> None:
    checkpoint = trained("llama", every)
    backbone = load(write_flamingo(tmp_path, "llama", checkpoint))
    native, embeds = language_model("llama").model, torch.randn(2, 4, WIDTH)
    media = Media(tokens=torch.randn(2, 5, 12), allowed=torch.rand(2, 4, 5) < 0.6)
    positions = torch.arange(4).expand(2, -1)
    rotary, mask = native.rotary_emb(embeds, positions), causal(4).expand(2, -1, -1).unsqueeze(1)
    hidden = embeds
    for i, layer in enumerate(native.layers):
        if (i + 1) % every == 0:
            name = f"lang_encoder.model.layers.{i}.gated_cross_attn_layer."
            hidden = gated(hidden, media, checkpoint, name, 8)
        hidden = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
    torch.testing.assert_close(run(backbone, embeds, media), native.norm(hidden), atol=1e-5, rtol=1e-5)


def test_weights_of_the_checkpoint_take_precedence(tmp_path: Path) -> None:
    words = torch.randn(28, WIDTH)
    layer = torch.randn(WIDTH, WIDTH)
    names = {
        "lang_encoder.model.embed_tokens.weight": words,
        "lang_encoder.model.layers.0.decoder_layer.self_attn.q_proj.weight": layer,
    }
    backbone = load(write_flamingo(tmp_path, "llama", trained("llama", **names)))
    assert torch.equal(backbone.word_embedding.weight, words)
    assert torch.equal(backbone.decoder.layers[0].self_attn.q_proj.weight, layer)
    native = language_model("llama")
    other = native.model.layers[1].self_attn.q_proj.weight
    assert torch.equal(backbone.decoder.layers[1].self_attn.q_proj.weight, other)
    assert torch.equal(backbone.output_embedding.weight, native.lm_head.weight[:28])  # as many words as embeddings


def test_the_vision_tower_may_come_from_openclip(tmp_path: Path) -> None:
    sizes = SimpleNamespace(width=12, inner=20, layers=2, patch=3, positions=5)
    state = random_state(open_clip(sizes))
    folder = write_flamingo(tmp_path, "llama", trained("llama", **state))
    (folder / "clip" / "model.safetensors").unlink()
    backbone = load(folder)
    pixels = torch.randn(2, 3, 6, 6)
    x = f.patches(pixels, 3) @ state["vision_encoder.conv1.weight"].flatten(1).T
    x = torch.cat([state["vision_encoder.class_embedding"].expand(2, 1, -1), x], 1)
    x = f.norm(x + state["vision_encoder.positional_embedding"], state, "vision_encoder.ln_pre")
    for i in range(2):
        block = f"vision_encoder.transformer.resblocks.{i}"
        y = f.norm(x, state, f"{block}.ln_1")
        x = x + f.in_one(y, y, state, f"{block}.attn", 2)
        y = f.linear(f.norm(x, state, f"{block}.ln_2"), state, f"{block}.mlp.c_fc")
        x = x + f.linear(y * (1.702 * y).sigmoid(), state, f"{block}.mlp.c_proj")
    with torch.no_grad():
        torch.testing.assert_close(backbone.vision_features(pixels), x[:, 1:], atol=1e-5, rtol=1e-5)
    assert isinstance(backbone.vision_tower, CLIPVisionModel)
