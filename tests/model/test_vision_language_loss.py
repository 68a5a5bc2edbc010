"""The loss of answers against transformers' own, and what it does not depend on."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robovlms.config import VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.data.vision_language_batch import VisionLanguageBatch, collate_vision_language
from robovlms.data.vision_language_text import ConversationEncoder
from robovlms.model.backbone.base import Backbone
from robovlms.model.generate import _prompt_ids
from robovlms.model.vision_language_loss import vision_language_loss
from robovlms.model.vlm import POLICIES, build_vlm
from robovlms.testing.policies import tiny_policy

from .native_families import EVERY_FAMILY

EOS = ByteTokenizer.eos_token_id
TALKS = [
    (True, [("<image>\nWhat is it?", "A cat."), ("Sure?", "Yes, it is.")]),
    (False, [("Say something longer than the others do.", "No")]),
    (True, [("Is <image> grey?", "Yes")]),
    (True, [("Where?", "There, on the left.")]),
]


def lively(backbone: Backbone, scale: float = 0.05) -> Backbone:
    """Every weight does something."""
    generator = torch.Generator().manual_seed(0)
    for parameter in backbone.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return backbone.eval()


def family(name: str) -> Any:
    vlm, overrides = EVERY_FAMILY[name]
    return lively(build_vlm(VLMConfig(name=vlm, overrides=overrides)))


def encoder_of(backbone: Backbone, **changes: Any) -> ConversationEncoder:
    of_backbone = {name: getattr(backbone, name) for name in ("add_special_tokens", "images_at", "prompt_tail")}
    return ConversationEncoder(backbone.tokenizer, **(of_backbone | {"template": "Q: {question} A:"} | changes))


def batch_of(backbone: Backbone, talks: list[tuple[bool, list[tuple[str, str]]]] = TALKS) -> VisionLanguageBatch:
    encoder, rng = encoder_of(backbone), np.random.default_rng(0)
    samples = []
    for has_image, turns in talks:
        found = encoder.encode(turns)
        image = rng.integers(0, 256, (3, *backbone.image_size), np.uint8) * np.uint8(has_image)
        samples.append({
            "image": image, "image_mask": np.array(has_image), "image_at": np.array(found.image_at),
            "input_ids": found.input_ids, "labels": found.labels,
        })  # fmt: skip
    return collate_vision_language(samples)


def row_of(batch: VisionLanguageBatch, row: int) -> VisionLanguageBatch:
    one = {field.name: getattr(batch, field.name)[row : row + 1] for field in dataclasses.fields(batch)}
    size = int(one["text_mask"].sum())
    return VisionLanguageBatch(**one | {name: one[name][:, :size] for name in ("input_ids", "labels", "text_mask")})


def theirs(backbone: Any, batch: VisionLanguageBatch) -> torch.Tensor:
    """The loss of the model of transformers, which shifts the labels itself."""
    config, rows = backbone.model.config, []
    image_id = getattr(config, "image_token_id", None) or config.image_token_index
    pixels = backbone.preprocess(batch.images[batch.image_mask])
    count = backbone.encode_images(pixels[:1]).shape[1]
    image = [*backbone.image_start_ids, *[image_id] * count, *backbone.image_end_ids]
    for row in range(len(batch)):
        at, size = int(batch.image_at[row]), int(batch.text_mask[row].sum())
        ids, labels = (getattr(batch, name)[row, :size].tolist() for name in ("input_ids", "labels"))
        inside = image if batch.image_mask[row] else []
        answer_at = next(i for i, label in enumerate(labels) if label >= 0) + len(inside)
        rows.append((ids[:at] + inside + ids[at:], labels[:at] + [-100] * len(inside) + labels[at:], answer_at))
    length = max(len(ids) for ids, _, _ in rows)
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _, _ in rows])
    labels = torch.tensor([labels + [-100] * (length - len(labels)) for _, labels, _ in rows])
    mask = torch.tensor([[i < len(ids) for i in range(length)] for ids, _, _ in rows]).long()
    extra: dict[str, Any] = {}
    if backbone.position_rows == 3:
        extra["mm_token_type_ids"] = (ids == image_id).long()
    elif backbone.bidirectional == "prefix":
        extra["token_type_ids"] = torch.tensor([[int(i >= at) for i in range(length)] for _, _, at in rows])
    elif backbone.bidirectional == "images":
        extra["token_type_ids"] = (ids == image_id).long()
    return backbone.model(input_ids=ids, attention_mask=mask, labels=labels, **backbone._inputs(pixels), **extra).loss


@pytest.mark.parametrize("name", ["llava", "smolvlm", "qwen2_vl", "qwen3_vl", "mistral3", "gemma3", "paligemma"])
def test_the_loss_equals_that_of_transformers(name: str) -> None:
    backbone = family(name)
    batch = batch_of(backbone)
    ours, expected = vision_language_loss(backbone, batch), theirs(backbone, batch)
    assert ours.item() > 1
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    parts = dict(backbone.named_parameters())
    gradients = [torch.autograd.grad(loss, parts.values(), allow_unused=True) for loss in (ours, expected)]
    for key, mine, other in zip(parts, *gradients, strict=True):
        if mine is None or other is None:
            assert all(one is None or not one.any() for one in (mine, other)), key
        else:
            torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("vlm", sorted(POLICIES))
def test_every_vlm_learns_from_answers(vlm: str) -> None:
    policy = tiny_policy(vlm)
    backbone = lively(policy.backbone, 0.3)
    batch = batch_of(backbone)
    loss = vision_language_loss(backbone, batch)
    loss.backward()
    assert torch.isfinite(loss)
    for part in (backbone.decoder_layers[0], backbone.vision_tower):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    darker = dataclasses.replace(batch, images=batch.images // 4)
    assert vision_language_loss(backbone, darker).item() != loss.item()


@pytest.mark.parametrize("vlm", sorted(POLICIES))
def test_padding_and_the_other_rows_change_nothing(vlm: str) -> None:
    backbone = lively(tiny_policy(vlm).backbone)
    batch = batch_of(backbone)
    counts = (batch.labels != -100).sum(1)
    with torch.inference_mode():
        alone = torch.stack([vision_language_loss(backbone, row_of(batch, row)) for row in range(len(batch))])
        together = vision_language_loss(backbone, batch)
        filled = batch.images.clone()
        filled[~batch.image_mask] = 77
        same = vision_language_loss(backbone, dataclasses.replace(batch, images=filled))
    torch.testing.assert_close(together, (alone * counts).sum() / counts.sum(), atol=2e-5, rtol=0)
    torch.testing.assert_close(same, together, atol=1e-6, rtol=0)


def test_what_is_learned_is_what_generate_says() -> None:
    """After some steps the tiny VLM answers in the words that it was shown."""
    torch.manual_seed(0)
    backbone = tiny_policy("tiny").backbone.train()
    batch = batch_of(backbone, [(True, [("<image>Where?", "left")]), (False, [("Who?", "me")])])
    optimizer = torch.optim.Adam(backbone.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = vision_language_loss(backbone, batch)
        loss.backward()
        optimizer.step()
    backbone.eval()
    assert loss.item() < 0.1
    assert backbone.generate("Q: <image>Where? A:", batch.images[0], max_new_tokens=8) == "left"
    assert backbone.generate("Q: Who? A:", max_new_tokens=8) == "me"


def test_the_example_of_the_documentation(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "docs" / "your_own_data.md").read_text()
    lines, code = re.search(
        r"<!-- example: talk.jsonl -->\n```json\n(.*?)```.*?```python\n(.*?)```", text, re.DOTALL
    ).groups()
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Path("talk.jsonl").write_text(lines)
    Image.new("RGB", (20, 10), "brown").save("images/kitchen.jpg")
    names: dict[str, Any] = {"backbone": tiny_policy("tiny").backbone}
    exec(code, names)
    assert names["loss"].item() > 1


@pytest.mark.parametrize("vlm", ["tiny", "paligemma", "llava"])
@pytest.mark.parametrize("question", ["<image>\nWhat?", "What?", "What is in <image>?"])
def test_the_first_question_is_tokenised_as_a_prompt_of_generate_is(vlm: str, question: str) -> None:
    backbone = tiny_policy(vlm).backbone
    lead, body = _prompt_ids(backbone, f"Be kind. USER: {question} ASSISTANT:")
    found = encoder_of(backbone, system="Be kind. ", template="USER: {question} ASSISTANT:").encode([(question, "x")])
    assert found.input_ids.tolist() == [*lead, *body, *ByteTokenizer()("x")["input_ids"], EOS]
    assert found.image_at == len(lead)
