"""The adapter against transformers' own forward passes and image processors, family by family."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from robovlms.config import VLMConfig
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.backbone.native import TINY_TEXT, NativeBackbone
from robovlms.model.cache import KVCache
from robovlms.model.history.sequence import Kind, Stretch, attention_allowed, join, piece, positions_of
from robovlms.model.vlm import build_vlm

from .native_families import EVERY_FAMILY

BEFORE, AFTER = (
    torch.tensor([[5, 6], [7, 8]]),
    torch.randint(10, 250, (2, 9), generator=torch.Generator().manual_seed(0)),
)


def lively(family: str) -> NativeBackbone:
    """A tiny random VLM whose every weight does something."""
    name, overrides = EVERY_FAMILY[family]
    backbone = build_vlm(VLMConfig(name=name, overrides=overrides)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in backbone.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return backbone


def pixels_for(backbone: NativeBackbone) -> Tensor:
    return torch.randn(2, 3, *backbone.image_size, generator=torch.Generator().manual_seed(1))


def ours(backbone: NativeBackbone, pixels: Tensor, *, is_causal: bool = False) -> Stretch:
    """`[text · image · text]` as histories put it together."""
    tokens = backbone.encode_images(pixels)
    prefix = 1 if backbone.bidirectional == "prefix" and not is_causal else 0
    block = 3 if backbone.bidirectional == "images" else prefix

    def text(ids: Tensor, kind: Kind) -> Stretch:
        return piece(backbone.word_embedding(ids), torch.ones_like(ids, dtype=torch.bool), kind, block=prefix)

    marks = [torch.tensor([ids] * 2, dtype=torch.int64) for ids in (backbone.image_start_ids, backbone.image_end_ids)]
    image = piece(
        tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), Kind.IMAGE, block=block,
        positions=backbone.image_positions(tokens.shape[1]),
    )  # fmt: skip
    return join(
        text(BEFORE, Kind.TEXT), text(marks[0], Kind.IMAGE), image, text(marks[1], Kind.IMAGE), text(AFTER, Kind.TEXT)
    )


def decode(backbone: NativeBackbone, stretch: Stretch) -> Tensor:
    allowed = attention_allowed(stretch.layout, stretch.keys(), window=1)
    everything = torch.arange(len(stretch.layout))
    return backbone.decode(stretch.embeds, allowed, positions_of(stretch, backbone.position_rows), everything)


def native(backbone: NativeBackbone, pixels: Tensor, num_tokens: int) -> Tensor:
    """The same through the model's own forward pass."""
    core, config = backbone.model.base_model, backbone.model.config
    image_id = getattr(config, "image_token_id", None) or config.image_token_index
    marks = [torch.tensor([ids] * 2, dtype=torch.int64) for ids in (backbone.image_start_ids, backbone.image_end_ids)]
    ids = torch.cat([BEFORE, marks[0], torch.full((2, num_tokens), image_id), marks[1], AFTER], dim=1)
    arguments: dict[str, Any] = {**backbone._inputs(pixels), "attention_mask": torch.ones_like(ids)}
    takes = inspect.signature(core.forward).parameters
    if backbone.bidirectional == "prefix":
        arguments["token_type_ids"] = torch.zeros_like(ids)
    elif "token_type_ids" in takes:
        arguments["token_type_ids"] = (ids == image_id).long()
    if "mm_token_type_ids" in takes:
        arguments["mm_token_type_ids"] = (ids == image_id).long()
    if getattr(config, "image_grid_pinpoints", None):  # with a tile each, their own pass would be another one
        parts = [backbone.word_embedding(BEFORE), backbone.encode_images(pixels), backbone.word_embedding(AFTER)]
        return core.language_model(inputs_embeds=torch.cat(parts, dim=1), use_cache=False).last_hidden_state
    output = core(input_ids=ids, use_cache=False, output_hidden_states=True, **arguments)
    return output.language_model_outputs.hidden_states[-1] if "language_model_outputs" in output else output[0]


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_hidden_states_equal_the_models_own(family: str) -> None:
    backbone = lively(family)
    pixels = pixels_for(backbone)
    with torch.inference_mode():
        stretch = ours(backbone, pixels)
        expected = native(backbone, pixels, stretch.layout.kinds.count(Kind.IMAGE) - len(backbone.image_start_ids) * 2)
        torch.testing.assert_close(decode(backbone, stretch), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_two_calls_with_a_cache_equal_one(family: str) -> None:
    backbone = lively(family)
    with torch.inference_mode():
        stretch = ours(backbone, pixels_for(backbone), is_causal=True)
        whole = decode(backbone, stretch)
        size, cut = len(stretch.layout), len(stretch.layout) - 4
        allowed = attention_allowed(stretch.layout, stretch.keys(), window=1)
        positions = positions_of(stretch, backbone.position_rows)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(0))  # slots need not be in order
        cache, last = KVCache(2, size), torch.arange(size)
        shuffled = torch.zeros_like(allowed)
        shuffled[:, :, order] = allowed
        for part in (slice(0, cut), slice(cut, size)):
            cache.aim(order[part].expand(2, -1))
            columns = last[: len(order[part])]
            hidden = backbone.decode(stretch.embeds[:, part], shuffled[:, part], positions[..., part], columns, cache)
            torch.testing.assert_close(hidden, whole[:, part], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
def test_a_picture_without_tiles_is_encoded_as_llava_does(family: str) -> None:
    backbone = lively(family)
    pixels, core = pixels_for(backbone), backbone.model.base_model
    layer = core.config.vision_feature_layer
    with torch.inference_mode():
        hidden = core.vision_tower(pixels, output_hidden_states=True).hidden_states[layer]
        tokens = hidden[:, 1:] if core.config.vision_feature_select_strategy == "default" else hidden
        torch.testing.assert_close(backbone.encode_images(pixels), core.multi_modal_projector(tokens))


PROCESSORS = {
    "llava": (
        transformers.CLIPImageProcessorPil,
        dict(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
    ),
    "paligemma": (transformers.SiglipImageProcessorPil, dict(size={"height": 28, "width": 28})),
    "qwen2_vl": (
        transformers.Qwen2VLImageProcessorPil,
        dict(patch_size=14, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 1, "longest_edge": 10**6}),
    ),
    "gemma3": (transformers.Gemma3ImageProcessorPil, dict(size={"height": 28, "width": 28})),
    "internvl": (transformers.GotOcr2ImageProcessorPil, dict(size={"height": 28, "width": 28}, crop_to_patches=False)),
    "idefics2": (transformers.Idefics2ImageProcessorPil, dict(size={"longest_edge": 28, "shortest_edge": 28})),
}  # fmt: skip


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("is_resized", [False, True])
def test_images_equal_those_of_the_vlms_own_processor(family: str, is_resized: bool) -> None:
    from robovlms.model.backbone.native_images import ImageInputs, image_settings

    backbone, (processor_class, values) = lively(family), PROCESSORS[family]
    processor, model = processor_class(**values), backbone.model
    side = backbone.image_size[0] * (2 if is_resized and family != "qwen2_vl" else 1)
    coarse = torch.randint(0, 256, (2, 3, side // 14, side // 14), generator=torch.Generator().manual_seed(0)).float()
    frames = torch.nn.functional.interpolate(coarse, side, mode="bilinear").round().byte()
    settings = image_settings(ImageInputs(model), model.config, processor, backbone.image_size[0])
    backbone = type(backbone)(model, backbone.tokenizer, settings)
    pictures = [frame.permute(1, 2, 0).numpy() for frame in frames]
    theirs = processor(images=pictures, return_tensors="pt")["pixel_values"]
    mine = backbone._inputs(backbone.preprocess(frames))["pixel_values"]
    step = 1 / 255 / min(backbone.image_std)  # Pillow rounds to whole numbers after the resize
    tolerance = 1.01 * step if is_resized else 1e-5
    torch.testing.assert_close(mine, theirs.reshape(mine.shape), atol=tolerance, rtol=0)


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "open", "the", "drawer"])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def test_a_folder_as_its_publisher_saves_it_loads_and_comes_back_from_assets(tmp_path: Path) -> None:
    original = lively("smolvlm").model
    original.save_pretrained(tmp_path / "hub")
    _tokenizer().save_pretrained(tmp_path / "hub")
    transformers.SmolVLMImageProcessorPil(do_image_splitting=False, image_mean=[0.1, 0.2, 0.3]).save_pretrained(
        tmp_path / "hub"
    )
    backbone = build_vlm(VLMConfig(name="auto", pretrained=str(tmp_path / "hub")))
    for name, tensor in original.state_dict().items():
        assert torch.equal(backbone.model.state_dict()[name], tensor), name
    assert backbone.image_mean == (0.1, 0.2, 0.3)
    assert backbone.tokenizer("open the drawer", add_special_tokens=False)["input_ids"] == [4, 5, 6]
    backbone.save_assets(tmp_path / "assets")
    again = type(backbone)._load_assets(str(tmp_path / "assets"), torch.float32)
    assert (again.image_size, again.image_mean, again.images_at) == ((28, 28), (0.1, 0.2, 0.3), backbone.images_at)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in backbone.state_dict().items()}


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model type 'smolvml'; did you mean 'smolvlm'"):
        build_vlm(VLMConfig(name="auto", overrides={"model_type": "smolvml"}))
    with pytest.raises(ConfigError, match="set model.vlm.name: kosmos"):
        build_vlm(VLMConfig(name="auto", overrides={"model_type": "kosmos-2"}))
    transformers.LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no image-text-to-text model of the type 'llama'"):
        build_vlm(VLMConfig(name="auto", pretrained=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"is a 'llama' model, but PaliGemmaBackbone is for \['paligemma'\]"):
        build_vlm(VLMConfig(name="paligemma", pretrained=str(tmp_path)))


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A LLaVA as its publisher saves it."""
    lively("llava").model.save_pretrained(tmp_path)
    _tokenizer().save_pretrained(tmp_path)
    transformers.CLIPImageProcessorPil(crop_size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    return tmp_path


def test_every_weight_is_accounted_for(released: Path) -> None:
    file = released / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layers.0.mlp.down_proj.weight"))
    vlm = VLMConfig(name="llava", pretrained=str(released))
    save_file({key: value for key, value in weights.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights of Llava.*layers\.0\.mlp\.down_proj\.weight"):
        build_vlm(vlm)
    save_file(weights | {name: torch.zeros(3, 3)}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"down_proj\.weight' has the shape \[3, 3\], .* expects \[32, 64\]"):
        build_vlm(vlm)
    save_file(weights | {"nobody.asked": torch.zeros(3)}, file, {"format": "pt"})
    with pytest.warns(UserWarning, match="no use for: 'nobody.asked'"):
        build_vlm(vlm)


def test_a_decoder_without_attention_in_every_layer_is_refused() -> None:
    vision = dict(
        depth=2, hidden_size=32, num_heads=4, intermediate_size=64, out_hidden_size=32, patch_size=16,
        spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=16,
    )  # fmt: skip
    rope = dict(rope_type="default", mrope_section=[1, 1, 0], rope_theta=1e4, partial_rotary_factor=0.5)
    text = dict(
        TINY_TEXT, rope_parameters=rope, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8, linear_conv_kernel_dim=2,
    )  # fmt: skip
    overrides = {"model_type": "qwen3_5", "text_config": text, "vision_config": vision}
    with pytest.raises(ConfigError, match="layers of the kind .*linear_attention"):
        build_vlm(VLMConfig(name="auto", overrides=overrides))


@pytest.mark.parametrize(("family", "size"), [("llava", 56), ("qwen2_vl", 30)])
def test_an_image_size_that_the_tower_cannot_take_is_refused(family: str, size: int) -> None:
    name, overrides = EVERY_FAMILY[family]
    with pytest.raises(ConfigError, match=r"model\.vlm\.image_size"):
        build_vlm(VLMConfig(name=name, overrides=overrides, image_size=size))


def test_a_tower_for_any_size_takes_the_wished_one() -> None:
    backbone = build_vlm(VLMConfig(name="qwen", image_size=84))
    frames = torch.from_numpy(np.zeros((1, 3, 40, 50), np.uint8))
    assert backbone.encode_images(backbone.preprocess(frames)).shape == (1, 9, 32)
