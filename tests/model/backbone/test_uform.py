"""UForm-Gen 2: the released layout at its published size, and a small checkpoint against the formulas."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError
from robovlms.model.backbone.uform import RoboUform, UFormBackbone

from . import formulas as f
from .layouts import TINY_UFORM, UFORM, on_meta, random_state, uform, write_folder, write_tokenizer

WORDS = "<|endoftext|> push the red button left right"
SMALL, SIDE = TINY_UFORM, 2
CONFIG: dict[str, Any] = {
    "model_type": "vlm", "image_encoder_num_heads": 2, "image_pooler_num_attn_heads": 4, "image_size": 9,
    "text_decoder_name_or_path": "Qwen/Qwen1.5-0.5B-Chat",
}  # fmt: skip


def test_every_published_tensor_finds_its_place() -> None:
    architecture, weights = UFormBackbone.translate({}, on_meta(uform(UFORM)), "here")
    with torch.device("meta"):
        backbone = UFormBackbone(architecture, ByteTokenizer())
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    assert {name: tensor.shape for name, tensor in weights.items()} == expected
    assert backbone.image_size == (336, 336)
    text = backbone.decoder.config
    assert (text.num_attention_heads, text.num_key_value_heads) == (16, 16)
    assert text.rope_parameters["rope_theta"] == 1e6


def small(folder: Path, **config: Any) -> tuple[UFormBackbone, dict[str, Tensor]]:
    state = random_state(uform(SMALL))
    write_folder(folder, CONFIG | config, state, WORDS)
    backbone = UFormBackbone.build(VLMConfig(pretrained=str(folder)), TokenizerConfig(), torch.float32, None)
    return backbone.eval(), state


def image_tokens(pixels: Tensor, state: f.State) -> Tensor:
    v, p = "image_encoder", "image_pooler.pooler"
    kernel = {"weight": state[f"{v}.patch_embed.weight"].flatten(1), "bias": state[f"{v}.patch_embed.bias"]}
    x = f.patches(pixels, SMALL.patch) @ kernel["weight"].T + kernel["bias"]
    side = pixels.shape[-1] // SMALL.patch
    factor = (side + 0.1) / SIDE
    positions = state[f"{v}.pos_embed"][0]
    x = x + (positions if side == SIDE else f.bicubic(positions, side, scale_factor=(factor, factor)))
    x = torch.cat([state[f"{v}.cls_token"].expand(len(x), -1, -1), x], dim=1)
    for i in range(SMALL.vision_layers):
        block = f"{v}.blocks.{i}"
        y = f.norm(x, state, f"{block}.norm1", 1e-6)
        query, key, value = (f.linear(y, state, f"{block}.attn.{part}") for part in ("query", "key", "value"))
        attended = f.linear(f.attend(query, key, value, 2), state, f"{block}.attn.out")
        x = x + attended * state[f"{block}.ls1.weight"]
        inner = f.gelu(f.linear(f.norm(x, state, f"{block}.norm2", 1e-6), state, f"{block}.mlp.hidden_layer"))
        x = x + f.linear(inner, state, f"{block}.mlp.output_layer") * state[f"{block}.ls2.weight"]
    x = f.norm(x, state, f"{v}.norm", 1e-6)
    latents = state["image_pooler.image_latents"].expand(len(x), -1, -1)
    y = f.norm(latents, state, f"{p}.norm1")
    latents = latents + f.in_one(y, y, state, f"{p}.self_attn", 4)
    latents = latents + f.in_one(f.norm(latents, state, f"{p}.norm2"), x, state, f"{p}.multihead_attn", 4)
    inner = f.linear(f.norm(latents, state, f"{p}.norm3"), state, f"{p}.linear1")
    latents = latents + f.linear(inner * inner.sigmoid(), state, f"{p}.linear2")
    return f.linear(latents, state, "image_pooler.projection")


@pytest.mark.parametrize("image_size", [6, 9])
@torch.inference_mode()
def test_images_of_a_released_folder_compute_as_the_formulas(image_size: int, tmp_path: Path) -> None:
    backbone, state = small(tmp_path, image_size=image_size)
    assert backbone.image_size == (image_size, image_size)
    pixels = torch.randn(2, 3, image_size, image_size)
    tokens = backbone.encode_images(pixels)
    torch.testing.assert_close(tokens, image_tokens(pixels, state), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_text_of_a_released_folder_computes_as_qwen2(tmp_path: Path) -> None:
    backbone, state = small(tmp_path)
    config = Qwen2Config(
        vocab_size=SMALL.vocabulary, hidden_size=SMALL.width, intermediate_size=SMALL.inner, num_attention_heads=2,
        num_hidden_layers=SMALL.layers, num_key_value_heads=2, rope_theta=1e6, rms_norm_eps=1e-6,
    )  # fmt: skip
    native = Qwen2ForCausalLM(config).eval()
    prefix = "text_decoder."
    native.load_state_dict({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
    ids = torch.tensor([[2, 3, 4, 5]])
    allowed = torch.ones(1, 4, 4, dtype=torch.bool).tril()
    hidden = backbone.decode(backbone.word_embedding(ids), allowed, torch.arange(4)[None], torch.arange(4))
    torch.testing.assert_close(backbone.logits(hidden), native(ids).logits, atol=1e-5, rtol=1e-5)


def test_the_image_size_can_be_chosen(tmp_path: Path) -> None:
    write_folder(tmp_path, CONFIG, random_state(uform(SMALL)), WORDS)
    vlm = VLMConfig(pretrained=str(tmp_path), image_size=6)
    backbone = UFormBackbone.build(vlm, TokenizerConfig(), torch.float32, None)
    assert backbone.image_size == (6, 6)
    assert backbone.encode_images(torch.randn(1, 3, 6, 6)).shape == (1, SMALL.latents, SMALL.width)


def test_an_output_layer_that_repeats_the_embedding_is_not_kept(tmp_path: Path) -> None:
    state = random_state(uform(SMALL))
    state["text_decoder.lm_head.weight"] = state["text_decoder.model.embed_tokens.weight"].clone()
    write_folder(tmp_path, CONFIG, state, WORDS)
    vlm = VLMConfig(pretrained=str(tmp_path))
    assert UFormBackbone.build(vlm, TokenizerConfig(), torch.float32, None).output_embedding is None
    assert small(tmp_path / "two")[0].output_embedding is not None


def test_the_configuration_of_the_decoder_can_be_given() -> None:
    text = {"model_type": "qwen2", "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    architecture, _ = UFormBackbone.translate({"text_config": text}, on_meta(uform(SMALL)), "here")
    assert architecture.text == text
    assert RoboUform.backbone_class is UFormBackbone


def test_the_tokenizer_may_be_that_of_the_language_model(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "language", WORDS)
    config = {**CONFIG, "text_decoder_name_or_path": str(tmp_path / "language")}
    write_folder(tmp_path / "released", config, random_state(uform(SMALL)))
    vlm = VLMConfig(pretrained=str(tmp_path / "released"))
    backbone = UFormBackbone.build(vlm, TokenizerConfig(), torch.float32, None)
    assert backbone.prompt_encoder(TokenizerConfig()).encode("push the button").tolist() == [2, 3, 5]


def test_bad_keys_are_named(tmp_path: Path) -> None:
    state = random_state(uform(SMALL))
    with pytest.raises(CheckpointError, match="the tensor 'embs_lora_a'"):  # of UForm-Gen 1
        UFormBackbone.translate(CONFIG, state | {"embs_lora_a": torch.zeros(1)}, "here")
    del state["image_encoder.blocks.1.ls2.weight"]
    write_folder(tmp_path, CONFIG, state, WORDS)
    with pytest.raises(CheckpointError, match=r"no tensor for 'vision\.encoder\.layer\.1\.layer_scale2\.lambda1'"):
        UFormBackbone.build(VLMConfig(pretrained=str(tmp_path)), TokenizerConfig(), torch.float32, None)
