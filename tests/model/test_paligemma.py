"""PaliGemma against transformers' own forward pass, and loading from a folder in the released layout."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PaliGemmaForConditionalGeneration, PreTrainedTokenizerFast, SiglipImageProcessor

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.backbone.paligemma import PaliGemmaBackbone
from robovlms.model.history.sequence import Kind, attention_allowed, join, piece, positions_of
from robovlms.model.vlm import build_vlm

NUM_SUFFIX = 3


def test_decoder_equals_transformers_prefix_lm() -> None:
    torch.manual_seed(0)
    backbone = build_vlm(VLMConfig(name="paligemma")).eval()
    model, image_id = backbone.model.base_model, backbone.model.config.image_token_id
    pixels = torch.randn(2, 3, 28, 28)
    text = torch.randint(3, 250, (2, 8))
    ids = torch.cat([torch.full((2, 4), image_id), text], dim=1)
    is_suffix = torch.arange(12) >= 12 - NUM_SUFFIX
    with torch.inference_mode():
        native = model(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=torch.ones_like(ids),
            token_type_ids=is_suffix.long().expand(2, -1),
            use_cache=False,
        ).last_hidden_state
        embeds = torch.cat([backbone.encode_images(pixels), backbone.word_embedding(text)], dim=1)
        real, cut = torch.ones(2, 12, dtype=torch.bool), 12 - NUM_SUFFIX
        stretch = join(
            piece(embeds[:, :cut], real[:, :cut], Kind.TEXT, block=1), piece(embeds[:, cut:], real[:, cut:], Kind.QUERY)
        )
        allowed = attention_allowed(stretch.layout, stretch.keys(), window=1)
        ours = backbone.decode(embeds, allowed, positions_of(stretch, 1), torch.arange(12))
    torch.testing.assert_close(ours, native, atol=2e-5, rtol=0)


def _released_layout(folder: Path) -> PaliGemmaForConditionalGeneration:
    """A random PaliGemma as its publisher saves it: weights with a vocabulary head, tokenizer, image processor."""
    torch.manual_seed(0)
    model = PaliGemmaForConditionalGeneration(PaliGemmaBackbone.tiny_config({}))
    model.save_pretrained(folder)
    vocabulary = {
        token: i for i, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "\n", "open", "the", "drawer"])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>", "\n"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>").save_pretrained(folder)
    SiglipImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return model


def test_from_pretrained_and_back_from_a_checkpoint(tmp_path: Path) -> None:
    original = _released_layout(tmp_path / "hub")
    backbone = build_vlm(VLMConfig(name="paligemma", pretrained=str(tmp_path / "hub")))
    for name, tensor in original.state_dict().items():
        assert torch.equal(backbone.model.state_dict()[name], tensor), name
    assert backbone.image_size == (28, 28)
    assert backbone.tokenizer("<bos>open the drawer\n")["input_ids"] == [2, 5, 6, 7, 4]
    backbone.save_assets(tmp_path / "assets")
    again = PaliGemmaBackbone.build(VLMConfig(name="paligemma"), TokenizerConfig(), torch.float32, tmp_path / "assets")
    configs = [model.config.to_dict() | {"_name_or_path": ""} for model in (again.model, backbone.model)]
    assert configs[0] == configs[1]
    assert again.tokenizer("open the drawer")["input_ids"] == [5, 6, 7]
    assert (again.image_mean, again.image_std) == (backbone.image_mean, backbone.image_std)


def test_weights_are_loaded_in_the_asked_precision(tmp_path: Path) -> None:
    _released_layout(tmp_path)
    backbone = build_vlm(VLMConfig(name="paligemma", pretrained=str(tmp_path)), precision="bf16")
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}


def test_bad_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="cannot load the VLM"):
        build_vlm(VLMConfig(name="paligemma", pretrained=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="cannot change a pretrained VLM"):
        build_vlm(VLMConfig(name="paligemma", pretrained="x", overrides={"projection_dim": 8}))
    with pytest.raises(ConfigError, match=r"did you mean 'model\.vlm\.overrides\.text_config\.hidden_size'"):
        build_vlm(VLMConfig(name="paligemma", overrides={"text_config": {"hiden_size": 64}}))
    with pytest.raises(ConfigError, match="did you mean 'model.vlm.overrides.text_config'"):
        build_vlm(VLMConfig(name="paligemma", overrides={"text_conf": {}}))
    with pytest.raises(ConfigError, match="expected keys with values, got 5"):
        build_vlm(VLMConfig(name="paligemma", overrides={"text_config": 5}))
    with pytest.raises(ConfigError, match="a random VLM reads bytes"):
        build_vlm(VLMConfig(name="paligemma"), TokenizerConfig(pretrained="x"))
    with pytest.raises(ConfigError, match="no pretrained weights"):
        build_vlm(VLMConfig(name="tiny", pretrained="x"))
