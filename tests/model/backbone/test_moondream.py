"""MoonDream 2: both released layouts at their published size, and a small checkpoint against the formulas."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError
from robovlms.model.backbone.moondream import MoonDreamBackbone, RoboMoonDream

from . import formulas as f
from .layouts import MOONDREAM, TINY_MOONDREAM, moondream_2024, moondream_2025, on_meta, random_state, write_folder

WORDS = "<|endoftext|> push the red button left right"
LAYOUTS = {2024: moondream_2024, 2025: moondream_2025}
CONFIGS: dict[int, dict[str, Any]] = {
    2024: {
        "model_type": "moondream1",
        "text_config": {"model_type": "phi", "num_attention_heads": 2},
        "config": {"vision": {"enc_n_heads": 3}},  # in the released files the same for all, so not given
    },
    2025: {
        "model_type": "moondream1",
        "auto_map": {"AutoConfig": "hf_moondream.HfConfig"},
        "config": {"text": {"n_heads": 2}, "vision": {"enc_n_heads": 3}},
    },
}
SMALL = TINY_MOONDREAM
each_year = pytest.mark.parametrize("year", LAYOUTS)


@each_year
@pytest.mark.parametrize("views", [1, 2])
def test_every_published_tensor_finds_its_place(year: int, views: int) -> None:
    sizes = SimpleNamespace(**{**vars(MOONDREAM), "views": views})
    config = {} if year == 2025 else {"phi_config": {"n_head": 32}}
    architecture, weights = MoonDreamBackbone.translate(config, on_meta(LAYOUTS[year](sizes)), "here")
    with torch.device("meta"):
        backbone = MoonDreamBackbone(architecture, ByteTokenizer())
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    assert {name: tensor.shape for name, tensor in weights.items()} == expected
    assert backbone.image_size == (378, 378)
    assert backbone.bidirectional == {2024: "none", 2025: "lead_and_images"}[year]
    assert sum(p.numel() for p in backbone.parameters()) > 1.8e9


def small(year: int, folder: Path, views: int = 2) -> tuple[MoonDreamBackbone, dict[str, Tensor]]:
    """A released folder, loaded, and its tensors under the names of 2025."""
    sizes = SimpleNamespace(**{**vars(SMALL), "views": views})
    new, state = list(moondream_2025(sizes)), random_state(LAYOUTS[year](sizes))
    write_folder(folder, CONFIGS[year], state, WORDS)
    backbone = MoonDreamBackbone.build(VLMConfig(pretrained=str(folder)), TokenizerConfig(), torch.float32, None)
    by_new_name = dict(zip(new, state.values(), strict=False))  # both layouts list the parts in the same order
    return backbone.eval(), {name.removeprefix("model."): tensor for name, tensor in by_new_name.items()}


def image_tokens(pixels: Tensor, state: f.State, views: int) -> Tensor:
    x = f.linear(f.patches(pixels, SMALL.patch), state, "vision.patch_emb") + state["vision.pos_emb"]
    for i in range(SMALL.vision_layers):
        block = f"vision.blocks.{i}"
        query, key, value = f.linear(f.norm(x, state, f"{block}.ln1"), state, f"{block}.attn.qkv").chunk(3, -1)
        x = x + f.linear(f.attend(query, key, value, SMALL.vision_heads), state, f"{block}.attn.proj")
        inner = f.gelu_tanh(f.linear(f.norm(x, state, f"{block}.ln2"), state, f"{block}.mlp.fc1"))
        x = x + f.linear(inner, state, f"{block}.mlp.fc2")
    x = f.norm(x, state, "vision.post_ln")
    inner = f.gelu_tanh(f.linear(torch.cat([x, x][:views], -1), state, "vision.proj_mlp.fc1"))
    return f.linear(inner, state, "vision.proj_mlp.fc2")


def hidden_states(x: Tensor, allowed: Tensor, positions: Tensor, state: f.State) -> Tensor:
    rotary_width = SMALL.width // SMALL.heads // 2
    for i in range(SMALL.layers):
        block = f"text.blocks.{i}"
        y = f.norm(x, state, f"{block}.ln")
        query, key, value = (f.heads(z, SMALL.heads) for z in f.linear(y, state, f"{block}.attn.qkv").chunk(3, -1))
        query, key = (f.rotate(z, positions, rotary_width) for z in (query, key))
        attended = f.linear(f.mix(query, key, value, allowed), state, f"{block}.attn.proj")
        inner = f.gelu_tanh(f.linear(y, state, f"{block}.mlp.fc1"))
        x = x + attended + f.linear(inner, state, f"{block}.mlp.fc2")
    return f.norm(x, state, "text.post_ln")


@pytest.mark.parametrize(("year", "views"), [(2024, 1), (2024, 2), (2025, 2)])
@torch.inference_mode()
def test_a_released_folder_computes_as_the_formulas(year: int, views: int, tmp_path: Path) -> None:
    backbone, state = small(year, tmp_path, views)
    pixels = torch.randn(2, 3, 6, 6)
    tokens = backbone.encode_images(pixels)
    torch.testing.assert_close(tokens, image_tokens(pixels, state, views), atol=1e-5, rtol=1e-5)
    ids = torch.tensor(backbone.prompt_encoder(TokenizerConfig()).encode("push the red button"))
    embeds = torch.cat([tokens[0], backbone.word_embedding(ids)]).unsqueeze(0)
    allowed, positions = torch.ones(9, 9, dtype=torch.bool).tril(), torch.arange(9)
    allowed[:5, :5] = True
    hidden = backbone.decode(embeds, allowed[None], positions[None], torch.arange(9))
    expected = hidden_states(embeds[0], allowed, positions, state)
    torch.testing.assert_close(hidden[0], expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(backbone.logits(hidden[0]), f.linear(expected, state, "text.lm_head"), atol=1e-4, rtol=0)


def test_prompt_begins_with_the_mark_that_images_follow(tmp_path: Path) -> None:
    backbone, _ = small(2025, tmp_path)
    assert (backbone.images_at, backbone.prompt_tail) == (1, 0)
    assert backbone.prompt_encoder(TokenizerConfig()).encode("push the").tolist() == [1, 2, 3]
    assert RoboMoonDream.backbone_class is MoonDreamBackbone


def test_names_left_by_the_compiler_are_read() -> None:
    shapes = {key.replace("visual.", "visual._orig_mod."): shape for key, shape in moondream_2024(SMALL).items()}
    _, weights = MoonDreamBackbone.translate(CONFIGS[2024], on_meta(shapes), "here")
    assert "vision.encoder.layers.0.mlp.fc1.weight" in weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.text.blocks.1.mlp.fc1.bias"), r"no tensor for 'decoder.layers.1.mlp.fc1.bias' \[24\]"),
        (lambda s: s.update({"model.text.new": torch.zeros(1)}), "nothing is known of the tensor 'text.new'"),
        (
            lambda s: s.update({"model.vision.blocks.0.attn.qkv.weight": torch.zeros(36, 6)}),
            r"'vision.encoder.layers.0.self_attn.q_proj.weight' is \[12, 6\], expected \[12, 12\]",
        ),
        (lambda s: s.pop("model.text.wte"), "no tensor for 'decoder.embed_tokens.weight'"),
        (lambda s: s.update({"vision_encoder.model.projection.mlp1.fc1.weight": torch.zeros(1)}), "projection.mlp1"),
    ],
    ids=["missing", "unknown", "misshapen", "no embedding", "moondream 1"],
)
def test_a_bad_checkpoint_is_named(change: Any, message: str, tmp_path: Path) -> None:
    state = random_state(moondream_2025(SMALL))
    change(state)
    write_folder(tmp_path, CONFIGS[2025], state, WORDS)
    with pytest.raises(CheckpointError, match=message):
        MoonDreamBackbone.build(VLMConfig(pretrained=str(tmp_path)), TokenizerConfig(), torch.float32, None)


def test_the_tokenizer_must_fit_and_be_there(tmp_path: Path) -> None:
    vlm = VLMConfig(pretrained=str(tmp_path))
    write_folder(tmp_path, CONFIGS[2025], random_state(moondream_2025(SMALL)))
    with pytest.raises(CheckpointError, match=r"cannot load a tokenizer from .*; set model\.tokenizer\.pretrained"):
        MoonDreamBackbone.build(vlm, TokenizerConfig(), torch.float32, None)
    write_folder(tmp_path / "long", {}, {"x": torch.zeros(1)}, " ".join(f"word{i}" for i in range(40)))
    with pytest.raises(CheckpointError, match="the tokenizer has 42 tokens, but .* has embeddings of 30 only"):
        MoonDreamBackbone.build(vlm, TokenizerConfig(pretrained=str(tmp_path / "long")), torch.float32, None)
