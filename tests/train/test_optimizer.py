import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import ModelConfig, TrainConfig, VLMConfig
from robovlms.errors import ConfigError
from robovlms.model.vlm import build_policy
from robovlms.train.optimizer import build_optimizer, lr_scale, set_learning_rate

SPACE = ActionSpace(
    dimensions=tuple(ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xy"),
    frame="world",
    is_delta=True,
    control_hz=10.0,
)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_groups_cover_every_trainable_parameter_once(is_frozen: bool) -> None:
    policy = build_policy(ModelConfig(vlm=VLMConfig(), freeze_vision=is_frozen), SPACE, 3)
    optimizer = build_optimizer(policy, TrainConfig(backbone_learning_rate=1e-4, weight_decay=0.1))
    rows = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(rows) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in policy.named_parameters():
        assert (id(parameter) in rows) == parameter.requires_grad, name
        if parameter.requires_grad:
            is_plain = parameter.ndim < 2 or "embedding" in name or name.endswith(("action_token", "position"))
            assert rows[id(parameter)]["weight_decay"] == (0.0 if is_plain else 0.1), name
            assert rows[id(parameter)]["peak_lr"] == (1e-4 if name.startswith("backbone.") else 1e-3), name


def test_nothing_to_train_is_refused() -> None:
    policy = build_policy(ModelConfig(), SPACE, 0).requires_grad_(False)
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        build_optimizer(policy, TrainConfig())


@given(st.integers(0, 50), st.integers(51, 500), st.floats(0, 1))
def test_schedule_rises_then_falls_within_its_bounds(warmup: int, total: int, least: float) -> None:
    config = TrainConfig(max_steps=total, warmup_steps=warmup, min_lr_scale=least)
    scales = [lr_scale(step, config) for step in range(total + 1)]
    assert all(a <= b for a, b in zip(scales[:warmup], scales[1:warmup], strict=False))
    assert all(a >= b for a, b in zip(scales[warmup:], scales[warmup + 1 :], strict=False))
    assert max(scales) == pytest.approx(1.0)
    assert scales[-1] == pytest.approx(least, abs=1e-9)


def test_cosine_by_hand() -> None:
    config = TrainConfig(max_steps=110, warmup_steps=10, min_lr_scale=0.1)
    assert lr_scale(35, config) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_the_scale_multiplies_each_groups_peak() -> None:
    policy = build_policy(ModelConfig(), SPACE, 0)
    optimizer = build_optimizer(policy, TrainConfig(learning_rate=2e-3, backbone_learning_rate=1e-3))
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3, 5e-4}
    assert isinstance(optimizer, torch.optim.AdamW)
