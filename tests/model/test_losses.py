import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.model.losses import (
    discrete_loss,
    masked_bce,
    masked_cross_entropy,
    masked_huber,
    masked_l1,
    masked_mean,
)

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)


def test_huber_by_hand() -> None:
    prediction = torch.tensor([[0.5, 3.0]])
    loss = masked_huber(prediction, torch.zeros(1, 2), torch.tensor([True]), delta=1.0)
    assert loss.item() == pytest.approx((0.5 * 0.25 + (3.0 - 0.5)) / 2)


def test_bce_by_hand() -> None:
    loss = masked_bce(torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([True]))
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)


def test_full_mask_equals_the_library() -> None:
    prediction, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert torch.allclose(masked_huber(prediction, target, mask, 0.3), F.huber_loss(prediction, target, delta=0.3))


def test_masked_rows_do_not_count_even_when_they_are_nan() -> None:
    prediction = torch.randn(4, 2, requires_grad=True)
    target = torch.randn(4, 2)
    target[1] = float("nan")
    mask = torch.tensor([True, False, True, True])
    loss = masked_huber(prediction, target, mask, 1.0)
    loss.backward()
    assert torch.allclose(loss, F.huber_loss(prediction[mask], target[mask]))
    assert torch.equal(prediction.grad[1], torch.zeros(2))


def test_empty_mask_is_zero_with_zero_gradient() -> None:
    values = torch.randn(3, 2, requires_grad=True)
    loss = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(values.grad, torch.zeros(3, 2))


def test_l1_by_hand() -> None:
    prediction = torch.tensor([[0.5, -3.0], [9.0, 9.0]])
    assert masked_l1(prediction, torch.zeros(2, 2), torch.tensor([True, False])).item() == (0.5 + 3.0) / 2


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]], [[9.0, 0.0], [9.0, 0.0]]])
    loss = masked_cross_entropy(logits, torch.tensor([[0, 1], [1, 1]]), torch.tensor([True, False]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def _discrete(labels: list[int], chosen: list[int]) -> dict[str, torch.Tensor]:
    """Ids 4 … 7 are -0.75, -0.25, 0.25, 0.75; position i chooses `chosen[i]`, the label of position i + 1."""
    logits = torch.full((1, len(labels), 9), 0.0)
    logits[0, range(len(chosen)), chosen] = 5.0
    tokenizer = ActionTokenizer.reserved(4, bins=4)
    return discrete_loss(logits, torch.tensor([labels]), action_tokenizer=tokenizer, action_dim=3, gripper_dims=(1,))


def test_discrete_loss_by_hand() -> None:
    """Two actions of three numbers, then the end 2; the choices 8 and 1 are no action tokens."""
    loss = _discrete([-100, -100, 4, 7, 5, 7, 4, 6, 2], [0, 4, 7, 8, 6, 4, 1, 2])
    met, missed = -5 + math.log(math.exp(5) + 8), math.log(math.exp(5) + 8)
    assert loss["total_loss"].item() == pytest.approx((4 * met + 3 * missed) / 7)
    assert loss["accuracy_arm"].item() == 0.25  # of 4 5 7 6
    assert loss["accuracy_gripper"].item() == 1.0  # of 7 4
    assert loss["l1_action"].item() == pytest.approx((0 + 0 + 1.0 + 0.5 + 0 + 1.0) / 6)


def test_discrete_loss_of_nothing_is_zero() -> None:
    loss = _discrete([-100, -100, -100], [0, 0])
    assert all(value == 0 for value in loss.values())


@needs_goldens
def test_discrete_loss_equals_the_original() -> None:
    arrays, numbers = np.load(GOLDENS / "e_losses.npz"), json.loads((GOLDENS / "e_losses.json").read_text())
    expected = next(case for case in numbers["cases"] if case["case"] == "discrete")
    tokenizer = ActionTokenizer.original(700, 5)
    assert tokenizer.action_token_end_idx == numbers["disc"]["tokenizer_orig_size"]
    loss = discrete_loss(
        torch.from_numpy(arrays["disc_logits"]).float(),
        torch.from_numpy(arrays["disc_labels"]),
        action_tokenizer=tokenizer,
        action_dim=numbers["disc"]["action_dim"],
    )
    names = {"total_loss": "loss_arm", "accuracy_arm": "acc_arm", "accuracy_gripper": "acc_gripper"}
    for ours, theirs in {**names, "l1_action": "action_l1"}.items():
        assert loss[ours].item() == pytest.approx(expected[theirs], rel=1e-5), ours


@needs_goldens
def test_regression_losses_equal_the_original() -> None:
    arrays = {key: torch.from_numpy(value) for key, value in np.load(GOLDENS / "e_losses.npz").items()}
    numbers = json.loads((GOLDENS / "e_losses.json").read_text())
    everything = torch.ones_like(arrays["mask"])
    masks = {"nomask": everything, "mask": arrays["mask"], "mask_all_false": ~everything}
    checked = 0
    for case in numbers["cases"]:
        name = case["case"]
        if "loss_gripper" not in case:
            continue
        kind = "mask_all_false" if name == "mask_all_false" else name.split("_")[0]
        arm = arrays["pred_arm_big" if "big" in name else "pred_arm"]
        expected = {key: 0.0 if math.isnan(case[key]) else case[key] for key in ("loss_arm", "loss_gripper")}
        loss_arm = masked_huber(arm, arrays["label_arm"], masks[kind], 1.0)
        gripper, label = arrays["pred_gripper"].unsqueeze(-1), arrays["label_gripper"].unsqueeze(-1)
        assert loss_arm.item() == pytest.approx(expected["loss_arm"], rel=1e-5), name
        assert masked_bce(gripper, label, masks[kind]).item() == pytest.approx(expected["loss_gripper"], rel=1e-5), name
        checked += 1
    assert checked == 7
    total = numbers["combined"]
    weighted = masked_huber(arrays["pred_arm"], arrays["label_arm"], arrays["mask"], 1.0) + total[
        "arm_gripper_loss_ratio"
    ] * masked_bce(arrays["pred_gripper"].unsqueeze(-1), arrays["label_gripper"].unsqueeze(-1), arrays["mask"])
    assert weighted.item() == pytest.approx(total["total"], rel=1e-5)
