"""The first Qwen-VL: the released layout at its published size, and a small checkpoint against the formulas."""

import base64
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError
from robovlms.model.backbone.qwen_tokenizer import qwen_tokenizer
from robovlms.model.backbone.qwen_vl1 import QwenVL1Backbone, sine_positions

from . import formulas as f
from .layouts import QWEN_VL, TINY_QWEN_VL, on_meta, qwen_vl, random_state, write_folder

SMALL, SIDE = TINY_QWEN_VL, 2
MERGES = [b"th", b"the", b" p", b"us", b"ush", b" push", "é".encode(), b" b"]
CONFIG: dict[str, Any] = {
    "model_type": "qwen", "num_attention_heads": 4, "rotary_emb_base": 5000, "layer_norm_epsilon": 1e-6,
    "visual": {"heads": 3, "image_size": 12, "image_start_id": 478},
}  # fmt: skip


def test_every_published_tensor_finds_its_place() -> None:
    architecture, weights = QwenVL1Backbone.translate({}, on_meta(qwen_vl(QWEN_VL)), "here")
    with torch.device("meta"):
        backbone = QwenVL1Backbone(architecture, ByteTokenizer())
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    assert {name: tensor.shape for name, tensor in weights.items()} == expected
    assert backbone.image_size == (448, 448)
    assert backbone.architecture.own["resampler_heads"] == 32
    assert (backbone.image_start_ids, backbone.image_end_ids) == ((151857,), (151858,))
    assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(9.6e9, rel=0.02)  # as published


def write_vocabulary(folder: Path) -> None:
    tokens = [bytes([i]) for i in range(256)] + MERGES
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    folder.mkdir(exist_ok=True)
    (folder / "qwen.tiktoken").write_text("\n".join(lines))


def small(folder: Path) -> tuple[QwenVL1Backbone, dict[str, Tensor]]:
    state = random_state(qwen_vl(SMALL))
    state["transformer.visual.attn_pool.pos_embed"] = sine_positions(SMALL.width, SIDE)
    write_vocabulary(folder)
    write_folder(folder, CONFIG, state | {"transformer.rotary_emb.inv_freq": torch.zeros(1)})
    backbone = QwenVL1Backbone.build(VLMConfig(pretrained=str(folder)), TokenizerConfig(), torch.float32, None)
    return backbone.eval(), state


def image_tokens(pixels: Tensor, state: f.State) -> Tensor:
    v, pool = "transformer.visual", "transformer.visual.attn_pool"
    side, width = pixels.shape[-1] // SMALL.patch, SMALL.vision_width
    x = f.patches(pixels, SMALL.patch) @ state[f"{v}.conv1.weight"].flatten(1).T
    x = f.norm(x + f.bicubic(state[f"{v}.positional_embedding"], side), state, f"{v}.ln_pre", 1e-6)
    for i in range(SMALL.vision_layers):
        block = f"{v}.transformer.resblocks.{i}"
        mixed = f.linear(f.norm(x, state, f"{block}.ln_1", 1e-6), state, f"{block}.attn.in_proj")
        by_head = mixed.unflatten(-1, (SMALL.vision_heads, -1)).transpose(1, 2)  # each head: query, key, value
        x = x + f.linear(f.mix(*by_head.split(width // SMALL.vision_heads, -1)), state, f"{block}.attn.out_proj")
        inner = f.gelu(f.linear(f.norm(x, state, f"{block}.ln_2", 1e-6), state, f"{block}.mlp.c_fc"))
        x = x + f.linear(inner, state, f"{block}.mlp.c_proj")
    value = f.norm(f.linear(x, state, f"{pool}.kv_proj"), state, f"{pool}.ln_kv", 1e-6)
    stand = state[f"{pool}.pos_embed"]
    query = (f.norm(state[f"{pool}.query"], state, f"{pool}.ln_q", 1e-6) + stand).expand(len(x), -1, -1)
    pooled = f.in_one(query, value, state, f"{pool}.attn", 1, key_extra=f.bicubic(stand, side))
    return f.norm(pooled, state, f"{v}.ln_post", 1e-6) @ state[f"{v}.proj"]


def hidden_states(x: Tensor, allowed: Tensor, positions: Tensor, state: f.State) -> Tensor:
    for i in range(SMALL.layers):
        layer = f"transformer.h.{i}"
        y = f.linear(f.rms_norm(x, state, f"{layer}.ln_1"), state, f"{layer}.attn.c_attn")
        query, key, value = (f.heads(z, SMALL.heads) for z in y.chunk(3, -1))
        query, key = (f.rotate(z, positions, SMALL.width // SMALL.heads, 5000) for z in (query, key))
        x = x + f.linear(f.mix(query, key, value, allowed), state, f"{layer}.attn.c_proj")
        y = f.rms_norm(x, state, f"{layer}.ln_2")
        up, gate = f.linear(y, state, f"{layer}.mlp.w1"), f.linear(y, state, f"{layer}.mlp.w2")
        x = x + f.linear(up * gate * gate.sigmoid(), state, f"{layer}.mlp.c_proj")
    return f.rms_norm(x, state, "transformer.ln_f")


@torch.inference_mode()
def test_a_released_folder_computes_as_the_formulas(tmp_path: Path) -> None:
    backbone, state = small(tmp_path)
    pixels = torch.randn(2, 3, 12, 12)
    tokens = backbone.encode_images(pixels)
    torch.testing.assert_close(tokens, image_tokens(pixels, state), atol=1e-4, rtol=1e-5)
    ids = torch.tensor(backbone.prompt_encoder(TokenizerConfig()).encode("the push"))
    embeds = torch.cat([tokens[0], backbone.word_embedding(ids)]).unsqueeze(0)
    length = embeds.shape[1]
    allowed, positions = torch.ones(length, length, dtype=torch.bool).tril(), torch.arange(length)
    hidden = backbone.decode(embeds, allowed[None], positions[None], torch.arange(length))
    expected = hidden_states(embeds[0], allowed, positions, state)
    torch.testing.assert_close(hidden[0], expected, atol=1e-4, rtol=1e-5)
    scores = expected @ state["lm_head.weight"].T
    torch.testing.assert_close(backbone.logits(hidden[0]), scores, atol=1e-4, rtol=1e-5)


def test_sine_positions_by_hand() -> None:
    table = sine_positions(8, 3)  # frequencies 1 and 1/100; column first: sin sin cos cos, then the row
    row, column = 2, 1
    angles = [torch.tensor([place, place / 100]) for place in (float(column), float(row))]
    expected = torch.cat([torch.cat([angle.sin(), angle.cos()]) for angle in angles])
    torch.testing.assert_close(table[3 * row + column].float(), expected)


def test_images_stand_between_their_marks(tmp_path: Path) -> None:
    backbone, _ = small(tmp_path)
    ids = backbone.tokenizer("<img></img>", add_special_tokens=True)["input_ids"]
    assert [*backbone.image_start_ids, *backbone.image_end_ids] == ids
    assert (backbone.images_at, backbone.prompt_tail) == (0, 0)


def test_a_checkpoint_keeps_the_tokenizer(tmp_path: Path) -> None:
    backbone, _ = small(tmp_path / "released")
    backbone.save_assets(tmp_path / "saved")
    again = QwenVL1Backbone.build(VLMConfig(), TokenizerConfig(), torch.float32, tmp_path / "saved")
    texts = ["the push", "<img>a</img>", "thé  12"]
    assert [again.tokenizer(t)["input_ids"] for t in texts] == [backbone.tokenizer(t)["input_ids"] for t in texts]


def byte_pairs(piece: bytes) -> list[int]:
    """Merge the neighbours of lowest rank, again and again."""
    ranks = {token: 256 + i for i, token in enumerate(MERGES)}
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        found = [ranks.get(parts[i] + parts[i + 1], 10**9) for i in range(len(parts) - 1)]
        if not found or min(found) == 10**9:
            return [ranks.get(part, part[0]) for part in parts]
        i = found.index(min(found))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the push", ["the", " push"]),
        ("pushes  the 25 bees", ["pushes", " ", " the", " ", "2", "5", " bees"]),
        ("e\u0301 é", ["é", " é"]),  # composed before it is cut
        ("it's\n\nthus!?", ["it", "'s", "\n\n", "thus", "!?"]),
    ],
)
def test_tokenizer_against_byte_pair_merging(text: str, pieces: list[str], tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    tokenizer = qwen_tokenizer(tmp_path / "qwen.tiktoken")
    assert tokenizer(text)["input_ids"] == [i for piece in pieces for i in byte_pairs(piece.encode())]


def test_special_tokens_follow_the_vocabulary(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    tokenizer = qwen_tokenizer(tmp_path / "qwen.tiktoken")
    first = 256 + len(MERGES)
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|extra_0|>", "<img>"]) == [first, first + 3, first + 214]
    assert tokenizer.decode(tokenizer("the push")["input_ids"]) == "the push"
    # with the 151643 byte pairs of the released file, this is the id in its configuration
    assert 151643 + 214 == 151857


def test_damaged_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "qwen.tiktoken"
    file.write_text("YQ== 0\nYg== 2")
    with pytest.raises(CheckpointError, match="the ranks are not the numbers from 0 on"):
        qwen_tokenizer(file)
    file.write_text("?? 0")
    with pytest.raises(CheckpointError, match="expected a token in base64"):
        qwen_tokenizer(file)


def test_bad_keys_are_named(tmp_path: Path) -> None:
    state = random_state(qwen_vl(SMALL))
    with pytest.raises(CheckpointError, match=r"the tensor 'transformer\.visual\.new'"):
        QwenVL1Backbone.translate(CONFIG, state | {"transformer.visual.new": torch.zeros(1)}, "here")
    del state["transformer.h.1.attn.c_attn.bias"]
    write_vocabulary(tmp_path)
    write_folder(tmp_path, CONFIG, state)
    with pytest.raises(CheckpointError, match=r"no tensor for 'decoder\.layers\.1\.self_attn\.q_proj\.bias'"):
        QwenVL1Backbone.build(VLMConfig(pretrained=str(tmp_path)), TokenizerConfig(), torch.float32, None)
