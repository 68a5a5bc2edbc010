import numpy as np
import pytest
import torch

from robovlms.config import VLMConfig
from robovlms.errors import PolicyError
from robovlms.model.vlm import POLICIES, build_vlm
from robovlms.testing.policies import TINY_OVERRIDES, tiny_policy

from .native_families import EVERY_FAMILY

PICTURE = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "smolvlm", "mistral3"])
def test_words_equal_those_of_transformers(family: str) -> None:
    from robovlms.model.generate import generate_text

    name, overrides = EVERY_FAMILY[family]
    backbone = build_vlm(VLMConfig(name=name, overrides=overrides)).eval()
    for parameter in backbone.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.2)
    side = backbone.image_size[0]
    picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image_id = getattr(backbone.model.config, "image_token_id", None) or backbone.model.config.image_token_index
    pixels = backbone.preprocess(picture.unsqueeze(0))
    count = backbone.encode_images(pixels).shape[1]
    ids = [1, *backbone.image_start_ids, *[image_id] * count, *backbone.image_end_ids, *[b + 3 for b in b"open it"]]
    ids = torch.tensor([ids])
    extra = {"mm_token_type_ids": (ids == image_id).long()} if backbone.position_rows == 3 else {}
    theirs = backbone.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=2,
        pad_token_id=0, **backbone._inputs(pixels), **extra,
    )[0, ids.shape[1] :]  # fmt: skip
    assert generate_text(backbone, "open it", picture, 6) == backbone.tokenizer.decode(theirs.tolist())


@pytest.mark.parametrize("vlm", sorted(POLICIES))
def test_every_vlm_answers_and_looks_at_the_image(vlm: str) -> None:
    policy = tiny_policy(vlm)
    for parameter in policy.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
    answers = {policy.generate("Where is it?", image, max_new_tokens=24) for image in (PICTURE, PICTURE // 4, None)}
    assert all(isinstance(answer, str) for answer in answers)
    assert len(answers) > 1


def test_pictures_of_every_kind_mean_the_same() -> None:
    policy = tiny_policy()
    array = PICTURE.permute(1, 2, 0).numpy()
    from PIL import Image

    same = [policy.generate("go", image, max_new_tokens=8) for image in (PICTURE, array, Image.fromarray(array))]
    assert same[0] == same[1] == same[2]
    assert policy.generate("<image>go", PICTURE, max_new_tokens=8) == same[0]


def test_what_is_no_picture_is_refused() -> None:
    policy = tiny_policy()
    with pytest.raises(PolicyError, match=r"expected uint8 \[h, w, 3\]"):
        policy.generate("go", np.zeros((4, 4), np.uint8))
    with pytest.raises(PolicyError, match=r"expected a tensor \[3, h, w\]"):
        policy.generate("go", torch.zeros(4, 4))


def test_tiny_overrides_name_registered_vlms() -> None:
    assert set(TINY_OVERRIDES) <= set(POLICIES)
