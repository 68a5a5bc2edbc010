"""Small policies and batches for the model's tests."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import ModelConfig, VLMConfig
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import POLICIES, build_policy

TINY_OVERRIDES: dict[str, dict[str, Any]] = {
    "tiny": {"image_size": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "stem_widths": (8, 8)}
}
HISTORY_AND_HEAD = [("one_step", "fc", 1), ("policy_head", "fc", 3), ("policy_head", "lstm", 3)]


def action_space(num_grippers: int = 1) -> ActionSpace:
    """Three arm dimensions, then grippers."""
    arm = [ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xyz"]
    gripper = [ActionDimension(name=f"g{i}", unit="1", low=0.0, high=1.0, kind="gripper") for i in range(num_grippers)]
    opens = "positive" if num_grippers else "none"
    return ActionSpace(dimensions=(*arm, *gripper), frame="tcp", is_delta=True, gripper_opens=opens, control_hz=20.0)


def tiny_policy(vlm: str = "tiny", *, num_grippers: int = 1, proprio_dim: int = 2, **model: Any) -> BaseRoboVLM:
    """A random policy, in evaluation mode."""
    torch.manual_seed(0)
    values = {"fwd_pred_next_n": 2, "head_hidden_size": 16, "head_num_layers": 2, **model}
    config = ModelConfig(vlm=VLMConfig(name=vlm, overrides=TINY_OVERRIDES.get(vlm, {})), **values)
    return build_policy(config, action_space(num_grippers), proprio_dim).eval()


@dataclass
class Inputs:
    """Arguments of a forward pass: b = 3, two cameras, texts of 7, 4 and 1 tokens, a missing camera and frame."""

    vision_x: torch.Tensor
    lang_x: torch.Tensor
    attention_mask: torch.Tensor
    image_mask: torch.Tensor
    proprio: torch.Tensor
    proprio_mask: torch.Tensor
    actions: torch.Tensor
    action_mask: torch.Tensor


@pytest.fixture
def inputs(request: pytest.FixtureRequest) -> Inputs:
    """Inputs for a window of `request.param` frames; 1 without a parameter."""
    t, generator = getattr(request, "param", 1), torch.Generator().manual_seed(1)
    image_mask = torch.ones(3, t, 2, dtype=torch.bool)
    image_mask[1, :, 1] = False
    image_mask[2, : t - 1] = False
    return Inputs(
        vision_x=torch.randint(0, 256, (3, t, 2, 3, 40, 48), dtype=torch.uint8, generator=generator),
        lang_x=torch.randint(3, 250, (3, 7), generator=generator),
        attention_mask=torch.arange(7) < torch.tensor([[7], [4], [1]]),
        image_mask=image_mask,
        proprio=torch.randn(3, t, 2, generator=generator),
        proprio_mask=image_mask.any(2),
        actions=torch.rand(3, t, 2, 4, generator=generator),
        action_mask=image_mask.any(2)[..., None].expand(-1, -1, 2),
    )


@pytest.fixture(params=sorted(POLICIES))
def vlm(request: pytest.FixtureRequest) -> str:
    """Every registered VLM."""
    return request.param
