"""One contract over VLM × history × head."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model

from robovlms.config import LoRAConfig
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_weights
from robovlms.testing.policies import (
    HISTORY_AND_HEAD,
    Inputs,
    find_policy_class,
    loss,
    make_inputs,
    predict,
    sample,
    tiny_policy,
    wrap,
)

each_policy = pytest.mark.parametrize(
    ("history", "head", "inputs", "values"),
    HISTORY_AND_HEAD,
    indirect=["inputs"],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
# Enough where the head matters little.
each_history = pytest.mark.parametrize(
    ("history", "head", "inputs", "values"),
    [case for case in HISTORY_AND_HEAD if case[1:] in (("fc", 1, {}), ("fc", 3, {}), ("lstm", 3, {"latent": 2}))],
    indirect=["inputs"],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
# Enough where neither history nor head matters.
simple_policy = pytest.mark.parametrize(
    ("history", "head", "inputs", "values"), [("one_step", "fc", 1, {})], indirect=["inputs"], ids=lambda _: "simple"
)
Values = dict[str, Any]


def build(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> BaseRoboVLM:
    needs_image_tokens = values.get("token_source") == "vision" or "resampler" in values
    if needs_image_tokens and find_policy_class(vlm).backbone_class.is_cross_attention:
        pytest.skip("this VLM has no image tokens in its sequence")
    return tiny_policy(vlm, history=history, head=head, window_size=inputs.vision_x.shape[1], **values)


@each_policy
def test_shapes_and_ranges(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> None:
    policy = build(vlm, history, head, inputs, values)
    predictions = predict(policy, inputs)
    assert predictions.shape == (3, 1 if history == "video" else inputs.vision_x.shape[1], 2, 4)
    assert predictions[..., :3].abs().max() <= 1
    assert ((predictions[..., 3] >= 0) & (predictions[..., 3] <= 1)).all()


@each_policy
def test_a_sample_alone_equals_the_sample_in_a_batch(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    policy = build(vlm, history, head, inputs, values)
    together = predict(policy, inputs)
    for index in range(3):
        alone = predict(policy, sample(inputs, index))
        torch.testing.assert_close(together[index : index + 1, -alone.shape[1] :], alone, atol=1e-5, rtol=0)


@each_policy
def test_padding_on_the_left_equals_padding_on_the_right(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    policy = build(vlm, history, head, inputs, values)
    flipped = torch.stack(
        [row.roll(int((~mask).sum())) for row, mask in zip(inputs.lang_x, inputs.attention_mask, strict=True)]
    )
    left = dataclasses.replace(inputs, lang_x=flipped, attention_mask=inputs.attention_mask.flip(1))
    torch.testing.assert_close(predict(policy, left), predict(policy, inputs), atol=1e-6, rtol=0)


@each_policy
def test_padded_values_do_not_matter(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> None:
    policy = build(vlm, history, head, inputs, values)
    before = predict(policy, inputs)
    inputs.lang_x[~inputs.attention_mask] = 77
    inputs.vision_x[~inputs.image_mask] = 99
    inputs.proprio[~inputs.proprio_mask] = float("nan")
    after, real = predict(policy, inputs), inputs.image_mask.any(2)[:, -before.shape[1] :]
    torch.testing.assert_close(after[real], before[real], atol=1e-6, rtol=0)


@each_policy
def test_every_input_matters(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> None:
    policy = build(vlm, history, head, inputs, values)
    before = loss(policy.train(), inputs).item()
    unread = {"text": {"vision_x", "proprio"}, "vision": {"lang_x", "proprio"}}.get(
        values.get("token_source", ""), set()
    )
    for name, change in (("lang_x", 1), ("vision_x", 60), ("proprio", 1.0)):
        changed = dataclasses.replace(inputs, **{name: getattr(inputs, name) + change})
        torch.manual_seed(0)
        after = loss(policy, changed).item()
        torch.manual_seed(0)
        before = loss(policy, inputs).item()
        assert name in unread or abs(after - before) > 1e-7, name


@each_policy
def test_a_stream_equals_the_full_pass(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> None:
    """Frame by frame with a cache, past the window, two streams in turn, after a reset, one robot joining late."""
    policy, steps = build(vlm, history, head, inputs, values), 6
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (3, steps, 2, 3, 40, 48), dtype=torch.uint8, generator=generator)
    proprio = torch.randn(3, steps, 2, generator=generator)
    seen = torch.ones(3, steps, 2, dtype=torch.bool)
    seen[1, :, 1] = False
    episode = dataclasses.replace(inputs, vision_x=images, proprio=proprio, image_mask=seen, proprio_mask=seen.any(2))
    one, other = policy.stream(3), policy.stream(1)
    _run(policy, one, episode, range(2), [0, 1, 2])
    one.reset([0, 1, 2])
    first = [row[:1] for row in _run(policy, one, episode, [0], [0])]  # row 0 is a step ahead of the others
    for step in range(1, steps):
        rows = {0: step, 1: step - 1, 2: step - 1}
        got = _run_rows(policy, one, episode, rows)
        _run_rows(policy, other, sample_rows(episode, [2]), {0: step})
        for row, at in rows.items():
            torch.testing.assert_close(got[row], _full(policy, episode, row, at), atol=1e-5, rtol=0)
    torch.testing.assert_close(first[0][0], _full(policy, episode, 0, 0), atol=1e-5, rtol=0)


@each_history
def test_a_stream_recovers_from_numbers_that_are_not_finite(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    policy, window = build(vlm, history, head, inputs, values), inputs.vision_x.shape[1]
    episode = dataclasses.replace(inputs, image_mask=torch.ones_like(inputs.image_mask))
    episode.proprio_mask = episode.image_mask.any(2)
    stream = policy.stream(3)
    broken = dataclasses.replace(episode, proprio=torch.full_like(episode.proprio, float("nan")))
    _run(policy, stream, broken, range(window), [0, 1])
    for step in range(window):  # a neighbour is not disturbed
        torch.testing.assert_close(
            _run(policy, stream, episode, [step], [2])[0][0], _full(policy, episode, 2, step), atol=1e-5, rtol=0
        )
    stream.reset([0, 1])
    for step in range(window):
        got = _run(policy, stream, episode, [step], [0, 1])[0]
        for row in (0, 1):
            torch.testing.assert_close(got[row], _full(policy, episode, row, step), atol=1e-5, rtol=0)


def test_a_discrete_head_learns_on_what_it_sees_when_it_chooses(vlm: str) -> None:
    """Chosen tokens given as known ones lead to the same hidden states."""
    for history in ("one_step", "interleaved", "video"):
        inputs = make_inputs(1 if history == "one_step" else 3)
        policy = tiny_policy(vlm, history=history, head="discrete", window_size=inputs.vision_x.shape[1])
        names = ("vision_x", "image_mask", "lang_x", "attention_mask", "proprio", "proprio_mask")
        with torch.inference_mode():
            frames = policy.encode(*(getattr(inputs, name) for name in names))
            first = policy.history.first_queries(frames)
            chosen, mask = policy.history.features(frames, first, choose=True)
            ids = policy.act_head.choose(policy.act_head.logits(chosen.float()))
            known = policy.act_head.embed_tokens(ids[..., :-1])
            if history == "video":
                known = known.expand(-1, first.shape[1], -1, -1)
            queries = torch.cat([first, known], dim=2)
            taught, _ = policy.history.features(frames, queries, choose=False)
        torch.testing.assert_close(taught[mask], chosen[mask], atol=1e-5, rtol=0)


def sample_rows(inputs: Inputs, rows: list[int]) -> Inputs:
    return Inputs(**{f.name: getattr(inputs, f.name)[rows] for f in dataclasses.fields(inputs)})


@torch.inference_mode()
def _run_rows(policy: BaseRoboVLM, stream: Any, episode: Inputs, rows: dict[int, int]) -> dict[int, torch.Tensor]:
    """One step of some rows, each at its own time."""
    index, at = list(rows), list(rows.values())
    frames = policy.encode(
        episode.vision_x[index, at].unsqueeze(1),
        episode.image_mask[index, at].unsqueeze(1),
        episode.lang_x[index],
        episode.attention_mask[index],
        episode.proprio[index, at].unsqueeze(1),
        episode.proprio_mask[index, at].unsqueeze(1),
    )
    chunks = policy.predict(*stream.step(frames, index)).action_predictions[:, -1]
    return dict(zip(index, chunks, strict=True))


def _run(policy: BaseRoboVLM, stream: Any, episode: Inputs, steps: Any, rows: list[int]) -> list[list[torch.Tensor]]:
    return [list(_run_rows(policy, stream, episode, dict.fromkeys(rows, step)).values()) for step in steps]


def _full(policy: BaseRoboVLM, episode: Inputs, row: int, now: int) -> torch.Tensor:
    """The chunk of a step from a whole pass.

    An interleaved policy attends in a band over the whole episode, so its features come from all of it; a head with
    memory then sees the last window of them. Every other policy, and the original's layout, sees the window alone.
    """
    config = policy.config
    is_banded = config.history == "interleaved" and (policy.act_head.is_discrete or not config.original_layout)
    first = 0 if is_banded else max(0, now - config.window_size + 1)
    one = sample_rows(episode, [row])
    cut = {
        name: getattr(one, name)[:, first : now + 1] for name in ("vision_x", "image_mask", "proprio", "proprio_mask")
    }
    length = int(one.attention_mask.sum())
    with torch.inference_mode():
        frames = policy.encode(
            cut["vision_x"], cut["image_mask"], one.lang_x[:, :length], one.attention_mask[:, :length],
            cut["proprio"], cut["proprio_mask"],
        )  # fmt: skip
        queries = policy.history.first_queries(frames)
        features, mask = policy.history.features(frames, queries, policy.act_head.is_discrete)
        features, mask = features[:, -config.window_size :], mask[:, -config.window_size :]
        return policy.predict(features, mask).action_predictions[0, -1]


@each_policy
def test_gradient_reaches_exactly_what_is_trainable(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    policy = build(vlm, history, head, inputs, values).train()
    loss(policy, inputs).backward()
    _check_gradients(policy)


@simple_policy
@pytest.mark.parametrize("frozen", ["freeze_backbone", "freeze_vision", "freeze_text_embedding"])
def test_what_is_frozen_gets_no_gradient(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values, frozen: str
) -> None:
    policy = build(vlm, history, head, inputs, {**values, frozen: True, "freeze_resampler": True}).train()
    loss(policy, inputs).backward()
    parts = {
        "freeze_backbone": policy.backbone, "freeze_vision": policy.vision_tower,
        "freeze_text_embedding": policy.word_embedding,
    }  # fmt: skip
    assert all(parameter.grad is None for parameter in parts[frozen].parameters())
    _check_gradients(policy)


def _check_gradients(policy: BaseRoboVLM) -> None:
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name


@each_history
def test_bf16_is_close_to_fp32(vlm: str, history: str, head: str, inputs: Inputs, values: Values) -> None:
    policy = build(vlm, history, head, inputs, values)
    exact, mask = _features(policy, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = _features(policy, inputs)
    assert 0 < (rounded - exact)[mask].norm() / exact[mask].norm() < 0.05


@torch.inference_mode()
def _features(policy: BaseRoboVLM, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head of a policy reads, and which steps are real."""
    names = ("vision_x", "image_mask", "lang_x", "attention_mask", "proprio", "proprio_mask")
    frames = policy.encode(*(getattr(inputs, name) for name in names))
    features, mask = policy.history.features(frames, policy.history.first_queries(frames), choose=False)
    return features.float(), mask


@each_history
def test_actions_outside_the_mask_do_not_count(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    policy = build(vlm, history, head, inputs, values)
    inputs.action_mask = inputs.action_mask.clone()
    inputs.action_mask[0, -1, 1] = False
    torch.manual_seed(0)
    before = loss(policy, inputs)
    inputs.actions[~inputs.action_mask] = float("nan")
    torch.manual_seed(0)
    assert torch.equal(loss(policy, inputs), before)


@simple_policy
def test_a_saved_policy_comes_back(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values, tmp_path: Path
) -> None:
    policy = build(vlm, history, head, inputs, values)
    save_model(policy, str(tmp_path / "model.safetensors"))
    policy.backbone.save_assets(tmp_path / "vlm")
    assets = tmp_path / "vlm" if (tmp_path / "vlm").is_dir() else None
    again = find_policy_class(vlm)(policy.config, policy.action_space, 2, assets=assets)
    load_weights(again, tmp_path / "model.safetensors")
    assert again.prompt_encoder.fingerprint == policy.prompt_encoder.fingerprint
    torch.testing.assert_close(predict(again.eval(), inputs), predict(policy, inputs), atol=0, rtol=0)


@simple_policy
def test_merged_adapters_give_the_same_actions(
    vlm: str, history: str, head: str, inputs: Inputs, values: Values
) -> None:
    from robovlms.model.lora import merge_lora

    policy = build(vlm, history, head, inputs, {**values, "lora": LoRAConfig(rank=2)}).train()
    loss(policy, inputs).backward()
    _check_gradients(policy)
    adapted = predict(policy.eval(), inputs)
    plain = dataclasses.replace(policy.config, lora=LoRAConfig())
    assert (adapted - predict(wrap(plain, policy.action_space, 2).eval(), inputs)).abs().max() > 1e-4
    torch.testing.assert_close(predict(merge_lora(policy).eval(), inputs), adapted, atol=1e-5, rtol=0)


def test_encode_images_takes_every_documented_form(vlm: str) -> None:
    policy = tiny_policy(vlm)
    frames = torch.randint(0, 256, (2, 3, 3, 40, 40), dtype=torch.uint8)
    with torch.inference_mode():
        window = policy.encode_images(frames)
        assert window.shape[:2] == (2, 3)
        torch.testing.assert_close(policy.encode_images(list(frames)), window)
        torch.testing.assert_close(policy.encode_images(frames[:, 0]), window[:, :1], atol=1e-5, rtol=0)
