"""The contract of a backbone, on every composite and every kind of decoder it takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.backbone.base import Media
from robovlms.model.backbone.composite import CompositeBackbone, resize_positions
from robovlms.model.backbone.flamingo import FlamingoBackbone
from robovlms.model.backbone.moondream import MoonDreamBackbone
from robovlms.model.backbone.qwen_vl1 import QwenVL1Backbone
from robovlms.model.backbone.uform import UFormBackbone
from robovlms.model.cache import KVCache
from robovlms.testing.policies import make_inputs, tiny_policy

CASES = [
    (cls, kind) for cls in (MoonDreamBackbone, UFormBackbone, QwenVL1Backbone, FlamingoBackbone) for kind in cls.tiny
]
every_kind = pytest.mark.parametrize(("cls", "kind"), CASES, ids=[f"{c.__name__}-{k}" for c, k in CASES])
every_family = pytest.mark.parametrize("cls", dict(CASES), ids=lambda cls: cls.__name__)
ROWS, LENGTH = 2, 7


def tiny(cls: type[CompositeBackbone], kind: str, dtype: torch.dtype = torch.float32, **vlm: Any) -> CompositeBackbone:
    """Every weight is away from its first value: gates that begin closed are open."""
    torch.manual_seed(0)
    config = VLMConfig(name="any", overrides={"model_type": kind, **vlm.pop("overrides", {})}, **vlm)
    backbone = cls.build(config, TokenizerConfig(), dtype, None).eval()
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return backbone


def pixels(backbone: CompositeBackbone, frames: int = ROWS) -> Tensor:
    return torch.randn(frames, 3, *backbone.image_size, generator=torch.Generator().manual_seed(1))


def sequence(backbone: CompositeBackbone) -> tuple[Tensor, Tensor, Tensor, Media | None]:
    """Embeddings, a causal mask, positions, and media that the first token may not look at."""
    generator = torch.Generator().manual_seed(2)
    embeds = torch.randn(ROWS, LENGTH, backbone.hidden_size, generator=generator)
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(ROWS, -1, -1)
    if not backbone.is_cross_attention:
        return embeds, allowed, torch.arange(LENGTH).expand(ROWS, -1), None
    with torch.no_grad():
        tokens = backbone.encode_images(pixels(backbone))
    may_look = torch.rand(ROWS, LENGTH, tokens.shape[1], generator=generator) < 0.7
    may_look[:, 0] = False
    return embeds, allowed, torch.arange(LENGTH).expand(ROWS, -1), Media(tokens=tokens, allowed=may_look)


def columns(media: Media | None, part: Any) -> Media | None:
    return None if media is None else Media(tokens=media.tokens, allowed=media.allowed[:, part])


@every_kind
@torch.inference_mode()
def test_images_become_tokens(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind)
    both = backbone.encode_images(pixels(backbone))
    width = backbone.architecture.vision["hidden_size"] if backbone.is_cross_attention else backbone.hidden_size
    assert both.shape[0] == ROWS
    assert both.shape[2] == width
    one = backbone.encode_images(pixels(backbone)[1:])
    torch.testing.assert_close(both[1:], one, atol=1e-5, rtol=0)
    assert (both[0] - both[1]).abs().max() > 1e-2


@every_kind
@torch.inference_mode()
def test_prefix_and_suffix_with_a_cache_equal_one_call(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind)
    embeds, allowed, positions, media = sequence(backbone)
    expected = backbone.decode(embeds, allowed, positions, torch.arange(LENGTH), media=media)
    cache, slots = KVCache(3, 10), torch.tensor([6, 0, 9, 3, 2, 7, 5])
    rows, got = torch.tensor([2, 0]), []
    for part in (slice(0, 4), slice(4, LENGTH)):
        count = part.stop - part.start
        seen = torch.zeros(ROWS, count, 10, dtype=torch.bool)
        seen[:, :, slots] = allowed[:, part]
        cache.aim(slots[part].expand(ROWS, -1), rows)
        read = torch.arange(count)
        got.append(backbone.decode(embeds[:, part], seen, positions[:, part], read, cache, columns(media, part)))
    torch.testing.assert_close(torch.cat(got, dim=1), expected, atol=1e-5, rtol=0)


@every_kind
@torch.inference_mode()
def test_masked_tokens_anywhere_equal_the_sequence_without_them(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind)
    embeds, allowed, positions, media = sequence(backbone)
    kept = torch.tensor([0, 1, 4, 6])
    short = allowed[:, : len(kept), : len(kept)]
    expected = backbone.decode(
        embeds[:, kept], short, positions[:, : len(kept)], torch.tensor([1, 3]), media=columns(media, kept)
    )
    masked = allowed & torch.isin(torch.arange(LENGTH), kept) | torch.eye(LENGTH, dtype=torch.bool)
    held = torch.tensor([0, 1, 2, 2, 2, 3, 3]).expand(ROWS, -1)
    actual = backbone.decode(embeds, masked, held, torch.tensor([1, 6]), media=media)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@every_kind
def test_only_the_columns_that_are_read_come_back(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind)
    embeds, allowed, positions, media = sequence(backbone)
    everything = backbone.decode(embeds, allowed, positions, torch.arange(LENGTH), media=media)
    some = backbone.decode(embeds, allowed, positions, torch.tensor([5, 2]), media=media)
    assert torch.equal(some, everything[:, [5, 2]])
    assert backbone.logits(some).shape == (ROWS, 2, len(backbone.word_embedding.weight))


@every_kind
def test_positions_and_mask_matter(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind)
    embeds, allowed, positions, media = sequence(backbone)
    read = torch.tensor([3])
    before = backbone.decode(embeds, allowed, positions, read, media=media)
    moved = backbone.decode(embeds, allowed, positions * 2, read, media=media)
    both_ways = backbone.decode(embeds, torch.ones_like(allowed), positions, read, media=media)
    assert (moved - before).abs().max() > 1e-4
    assert (both_ways - before).abs().max() > 1e-4


@every_kind
def test_saved_assets_build_the_same_modules(cls: type[CompositeBackbone], kind: str, tmp_path: Path) -> None:
    backbone = tiny(cls, kind)
    backbone.save_assets(tmp_path)
    again = cls.build(VLMConfig(name="any", pretrained="gone"), TokenizerConfig(), torch.float32, tmp_path).eval()
    assert again.architecture.text == backbone.architecture.text
    again.load_state_dict(backbone.state_dict())
    for name in ("image_size", "image_mean", "image_std", "images_at", "prompt_tail", "bidirectional", "max_positions",
                 "image_start_ids", "image_end_ids", "prompt_template"):  # fmt: skip
        assert getattr(again, name) == getattr(backbone, name), name
    assert torch.equal(again.encode_images(pixels(backbone)), backbone.encode_images(pixels(backbone)))


@every_family
def test_damaged_assets_are_named(cls: type[CompositeBackbone], tmp_path: Path) -> None:
    (tmp_path / "composite.json").write_text('{"is_byte_tokenizer": true, "text": {}}')
    with pytest.raises(CheckpointError, match=r"architecture from .*composite\.json"):
        cls.build(VLMConfig(name="any"), TokenizerConfig(), torch.float32, tmp_path)


@every_kind
def test_bfloat16_weights_keep_exact_rotary_frequencies(cls: type[CompositeBackbone], kind: str) -> None:
    backbone = tiny(cls, kind, torch.bfloat16)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
    frequencies = [buffer for name, buffer in backbone.named_buffers() if name.endswith("inv_freq")]
    assert {buffer.dtype for buffer in frequencies} <= {torch.float32}
    assert torch.get_default_dtype() == torch.float32
    tokens = backbone.encode_images(pixels(backbone))
    assert tokens.dtype == torch.bfloat16
    embeds, allowed, positions, media = sequence(backbone)
    hidden = backbone.decode(embeds.bfloat16(), allowed, positions, torch.tensor([3]), media=media)
    assert hidden.dtype == torch.bfloat16
    assert hidden.isfinite().all()


def gradients(backbone: CompositeBackbone) -> dict[str, Tensor]:
    """Of every parameter that the hidden states depend on."""
    embeds, allowed, positions, media = sequence(backbone)
    tokens = backbone.encode_images(pixels(backbone))
    if media is None:
        embeds = torch.cat([tokens[:, :3], embeds[:, 3:]], dim=1)
    else:
        media = Media(tokens=tokens, allowed=media.allowed)
    hidden = backbone.decode(embeds, allowed, positions, torch.arange(LENGTH), media=media)
    hidden.square().mean().backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}


@every_kind
def test_every_weight_gets_a_gradient_and_recomputing_changes_none(cls: type[CompositeBackbone], kind: str) -> None:
    plain, saving = tiny(cls, kind).train(), tiny(cls, kind).train()
    saving.enable_gradient_checkpointing()
    expected, actual = gradients(plain), gradients(saving)
    without = {name for name, _ in plain.named_parameters()} - expected.keys()
    words = {name for name, p in plain.named_parameters() if p is plain.word_embedding.weight}
    assert {name for name in without if not name.startswith("lm_head")} == words
    assert expected.keys() == actual.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-6, rtol=1e-4)


@every_family
def test_a_bad_override_answers_with_the_nearest_key(cls: type[CompositeBackbone]) -> None:
    kind = "llama" if "llama" in cls.tiny else next(iter(cls.tiny))
    for overrides, message in [
        ({"text_confg": {}}, "did you mean 'model.vlm.overrides.text_config'"),
        (
            {"model_type": kind, "text_config": {"hiden_size": 8}},
            "did you mean 'model.vlm.overrides.text_config.hidden_size'",
        ),
        ({"model_type": f"{kind}x"}, f"did you mean '{kind}'"),
    ]:
        with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
            cls.build(VLMConfig(name="any", overrides=overrides), TokenizerConfig(), torch.float32, None)


@every_family
def test_overrides_change_the_random_model_only(cls: type[CompositeBackbone], tmp_path: Path) -> None:
    kind = next(iter(cls.tiny))
    layers = "n_layers" if kind == "mpt" else "num_hidden_layers"
    backbone = tiny(cls, kind, overrides={"text_config": {layers: 4}, "vision_config": {"image_size": 42}})
    assert len(backbone.decoder_layers) == 4
    assert backbone.image_size == (42, 42)
    assert len(tiny(cls, kind).decoder_layers) == 2
    vlm = VLMConfig(name="any", pretrained=str(tmp_path), overrides={"text_config": {}})
    with pytest.raises(ConfigError, match="cannot change a pretrained VLM"):
        cls.build(vlm, TokenizerConfig(), torch.float32, None)
    with pytest.raises(ConfigError, match="a random VLM reads bytes"):
        cls.build(VLMConfig(name="any"), TokenizerConfig(pretrained="x"), torch.float32, None)


@every_family
def test_image_size(cls: type[CompositeBackbone]) -> None:
    kind = next(iter(cls.tiny))
    assert tiny(cls, kind, image_size=28).image_size == (28, 28)
    if not cls.takes_any_size:
        with pytest.raises(ConfigError, match="takes 28 × 28 only"):
            tiny(cls, kind, image_size=56)
        return
    larger = tiny(cls, kind, image_size=56)
    assert larger.encode_images(pixels(larger)).shape == tiny(cls, kind).encode_images(torch.randn(2, 3, 28, 28)).shape
    with pytest.raises(ConfigError, match="must be a multiple of 14, got 57"):
        tiny(cls, kind, image_size=57)


def test_resized_positions_keep_their_corners_and_their_order() -> None:
    table = torch.arange(4.0).unsqueeze(1)  # 0 1 / 2 3
    assert torch.equal(resize_positions(table, 4), table)
    grid = resize_positions(table, 16)[:, 0].view(4, 4)
    assert (grid.diff(dim=0) > 0).all()
    assert (grid.diff(dim=1) > 0).all()
    torch.testing.assert_close(grid.mean(), table.mean())


@pytest.mark.parametrize("history", ["one_step", "interleaved"])
@pytest.mark.parametrize("vlm", ["moondream", "uform", "robovlms.model.backbone.qwen_vl1:QwenVL1Backbone"])
@torch.inference_mode()
def test_a_stream_of_frames_equals_the_whole_episode(vlm: str, history: str) -> None:
    steps = 3
    policy = tiny_policy(vlm, history=history, window_size=1 if history == "one_step" else steps)
    inputs = make_inputs(steps)
    seen = torch.ones_like(inputs.image_mask)
    text, stream = (inputs.lang_x, inputs.attention_mask), policy.stream(len(seen))
    for now in range(steps):
        one = slice(now, now + 1)
        frames = policy.encode(
            inputs.vision_x[:, one], seen[:, one], *text, inputs.proprio[:, one], seen[:, one].any(2)
        )
        actual = policy.predict(*stream.step(frames, range(len(seen)))).action_predictions[:, -1]
        past = one if history == "one_step" else slice(0, now + 1)
        whole = policy(
            inputs.vision_x[:, past], *text, image_mask=seen[:, past], proprio=inputs.proprio[:, past],
            proprio_mask=seen[:, past].any(2), mode="inference",
        )  # fmt: skip
        torch.testing.assert_close(actual, whole.action_predictions[:, -1], atol=1e-5, rtol=0)
