import pytest
import torch
import torch.nn.functional as F

from robovlms.model.losses import masked_bce, masked_huber, masked_mean


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
