from typing import Any

import pytest
import torch

from robovlms.errors import PolicyError
from robovlms.model.head import FCDecoder
from robovlms.model.head.flow_matching import NOISE_SEED, FlowMatching


def flow(n: int = 2, a: int = 3, gripper_dims: tuple[int, ...] = (2,), steps: int = 4) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(5, n, a, gripper_dims, steps)


def constant(model: FlowMatching, velocity: float) -> FlowMatching:
    torch.nn.init.zeros_(model.outside.weight)
    torch.nn.init.constant_(model.outside.bias, velocity)
    return model


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_constant_velocity_is_followed_for_one_unit_of_time(steps: int) -> None:
    noise = torch.tensor([[0.1, -0.3, 0.0], [2.0, -0.9, -5.0]])
    chunk = constant(flow(steps=steps), 0.25).predict(torch.randn(7, 4, 5), noise)
    expected = torch.tensor([[0.35, -0.05, 0.625], [1.0, -0.65, 0.0]])  # the gripper from [-1, 1] to [0, 1]
    torch.testing.assert_close(chunk, expected.expand(7, 4, 2, 3))


def test_errors_are_measured_from_the_velocity_of_the_path() -> None:
    model, points = flow(), []
    model.forward = lambda chunk, time, hidden: points.append((chunk, time)) or torch.full_like(chunk, 0.5)
    actions = torch.tensor([[0.3, -0.2, 1.0], [0.7, 0.1, 0.0]]).expand(4, 2, 3)
    mask = torch.ones(4, 2, dtype=torch.bool)
    torch.manual_seed(1)
    found = model.squared_errors(torch.randn(4, 5), actions, mask)
    torch.manual_seed(1)
    torch.randn(4, 5)
    target = torch.tensor([[0.3, -0.2, 1.0], [0.7, 0.1, -1.0]])
    noise, time = torch.randn(4, 2, 3), torch.rand(4)
    torch.testing.assert_close(found, (0.5 - (target - noise)).square())
    ((chunk, seen_time),) = points
    assert torch.equal(seen_time, time)
    for row, tau in enumerate(time):
        torch.testing.assert_close(chunk[row], torch.lerp(noise[row], target, tau))


def test_the_velocity_depends_on_chunk_time_and_features() -> None:
    model = flow()
    chunk, time, hidden = torch.randn(6, 2, 3), torch.full((6,), 0.3), torch.randn(6, 5)
    velocity = model(chunk, time, hidden)
    assert velocity.shape == (6, 2, 3)
    for other in (model(chunk + 1, time, hidden), model(chunk, time + 0.1, hidden), model(chunk, time, hidden + 1)):
        assert ((other - velocity).flatten(1).abs().amax(1) > 1e-4).all()


def test_noise_is_the_same_for_every_row_and_call_unless_given() -> None:
    model, hidden = flow(), torch.randn(1, 1, 5).expand(3, 4, 5)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    chunk = model.predict(hidden)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(chunk, chunk[:1, :1].expand_as(chunk))
    fixed = torch.randn(2, 3, generator=torch.Generator().manual_seed(NOISE_SEED))
    torch.testing.assert_close(model.predict(hidden, fixed), chunk)
    own = model.predict(hidden, torch.randn(3, 4, 2, 3))
    assert not torch.allclose(own[0, 0], own[0, 1])


def test_a_flow_has_no_regression_and_a_regression_no_noise() -> None:
    features = torch.randn(1, 1, 1, 4)
    with pytest.raises(PolicyError, match="no regression output"):
        FCDecoder(4, 4, 2, decoder="flow_matching")(features)
    with pytest.raises(PolicyError, match="regresses one chunk"):
        FCDecoder(4, 4, 2).predict(features, noise=torch.zeros(1, 2))


def test_total_is_the_mean_over_all_numbers() -> None:
    head = FCDecoder(4, 4, 5, decoder="flow_matching", gripper_dims=(1,), gripper_loss_weight=0.5)
    loss = head.loss(torch.randn(8, 1, 1, 4), torch.rand(8, 1, 1, 5), torch.ones(8, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(loss["total_loss"], (4 * loss["loss_arm"] + loss["loss_gripper"]) / 5)


def trained_on_two_modes(**settings: Any) -> FCDecoder:
    """For the same feature half of the demonstrations go to -0.7 and close, half to 0.7 and open."""
    torch.manual_seed(0)
    head = FCDecoder(4, 8, 2, fwd_pred_next_n=2, **settings)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    features, mask = torch.ones(64, 1, 1, 4), torch.ones(64, 1, 2, dtype=torch.bool)
    sign = torch.tensor([-1.0, 1.0]).repeat(32).view(64, 1, 1)
    actions = torch.stack([0.7 * sign, (sign + 1) / 2], -1).expand(-1, -1, 2, -1)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(features, actions, mask)["total_loss"].backward()
        optimizer.step()
    return head


def test_learns_two_modes_where_a_regression_learns_their_mean() -> None:
    noise = torch.randn(256, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    flow, regression = trained_on_two_modes(decoder="flow_matching"), trained_on_two_modes()
    with torch.no_grad():
        chunk = flow.predict(torch.ones(256, 1, 1, 4), noise=noise).squeeze(1)
        mean = regression.predict(torch.ones(1, 1, 1, 4))
    arm, gripper = chunk[..., 0], chunk[..., 1]
    assert ((arm.abs() - 0.7).abs() < 0.2).all(1).float().mean() > 0.8
    assert 0.3 < (arm[:, 0] > 0).float().mean() < 0.7
    assert ((arm[:, 0] > 0) == (arm[:, 1] > 0)).float().mean() > 0.95
    assert ((arm > 0) == (gripper > 0.5)).float().mean() > 0.95
    assert mean[..., 0].abs().max() < 0.1
