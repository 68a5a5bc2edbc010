"""Small policies and the inputs that try them."""

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any

import torch

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import ModelConfig, ResamplerConfig, TokenizerConfig, VLMConfig
from robovlms.errors import ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import POLICIES

# Smaller than the default, where a VLM's tiny form is not small enough.
TINY_OVERRIDES: dict[str, dict[str, Any]] = {
    "tiny": {"image_size": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "stem_widths": (8, 8)}
}

# Every history and every head at least once, each with every kind of the other that it is often used with.
HISTORY_AND_HEAD: list[tuple[str, str, int, dict[str, Any]]] = [
    ("one_step", "fc", 1, {}),
    ("one_step", "fc", 1, {"decoder": "flow_matching"}),
    ("one_step", "l1_chunk", 1, {}),
    ("one_step", "discrete", 1, {}),
    ("one_step", "fc", 1, {"token_source": "all"}),
    ("policy_head", "fc", 3, {"token_source": "text", "latent": 2}),
    ("policy_head", "fc", 3, {"token_source": "vision"}),
    ("policy_head", "lstm", 3, {"latent": 2}),
    ("policy_head", "lstm", 3, {"decoder": "flow_matching"}),
    ("policy_head", "gpt", 3, {}),
    ("policy_head", "discrete", 3, {}),
    ("interleaved", "fc", 3, {}),
    ("interleaved", "fc", 3, {"repeat_text": True, "latent": 2}),
    ("interleaved", "fc", 3, {"hide_action_tokens": True}),
    ("interleaved", "fc", 3, {"repeat_text": True, "token_source": "all"}),
    ("interleaved", "fc", 3, {"repeat_text": True, "original_layout": True}),
    ("interleaved", "lstm", 3, {}),
    ("interleaved", "gpt", 3, {"decoder": "flow_matching"}),
    ("interleaved", "l1_chunk", 3, {}),
    ("interleaved", "discrete", 3, {}),
    ("interleaved", "discrete", 3, {"repeat_text": True, "original_layout": True}),
    ("video", "fc", 3, {}),
    ("video", "discrete", 3, {}),
    ("video", "fc", 3, {"resampler": ResamplerConfig(num_latents=3, depth=1, num_heads=2, head_dim=8)}),
]


def action_space(num_grippers: int = 1) -> ActionSpace:
    """Three arm dimensions, then grippers."""
    arm = [ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xyz"]
    gripper = [ActionDimension(name=f"g{i}", unit="1", low=0.0, high=1.0, kind="gripper") for i in range(num_grippers)]
    opens = "positive" if num_grippers else "none"
    return ActionSpace(dimensions=(*arm, *gripper), frame="tcp", is_delta=True, gripper_opens=opens, control_hz=20.0)


def find_policy_class(name: str) -> type[BaseRoboVLM]:
    """The policy class of a registered VLM, or of a class given as "package.module:Class".

    Raises:
        ConfigError: if there is no such class, or it is no backbone.
    """
    if ":" not in name:
        return POLICIES[name]
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute, None)
    if isinstance(found, type) and issubclass(found, BaseRoboVLM):
        return found
    if isinstance(found, type) and issubclass(found, Backbone):
        return type(f"Robo{attribute}", (BaseRoboVLM,), {"backbone_class": found})
    raise ConfigError(f"{name}: expected a subclass of Backbone or BaseRoboVLM, got {found!r}")


def tiny_policy(vlm: str = "tiny", *, num_grippers: int = 1, proprio_dim: int = 2, **model: Any) -> BaseRoboVLM:
    """A random policy in evaluation mode, every weight of which does something.

    Args:
        vlm: name of a registered VLM, or "package.module:Class".
        num_grippers: gripper dimensions after the three of the arm.
        proprio_dim: numbers of proprioception.
        model: values of `ModelConfig`.
    """
    torch.manual_seed(0)
    values = {"fwd_pred_next_n": 2, "head_hidden_size": 16, "head_num_layers": 2, "head_num_heads": 2, "num_bins": 16}
    config = ModelConfig(vlm=VLMConfig(name=vlm, overrides=TINY_OVERRIDES.get(vlm, {})), **values | model)
    policy = wrap(config, action_space(num_grippers), proprio_dim)
    for parameter in policy.parameters():  # gates and biases that begin at zero would hide what they do
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return policy.eval()


def wrap(config: ModelConfig, space: ActionSpace, proprio_dim: int) -> BaseRoboVLM:
    """The policy of a configuration whose VLM may be a class by name."""
    policy_class = find_policy_class(config.vlm.name)
    with torch.random.fork_rng(devices=[]):
        backbone = policy_class.backbone_class.build(config.vlm, TokenizerConfig(), torch.float32, None)
    return policy_class(config, space, proprio_dim, backbone=backbone)


@dataclass
class Inputs:
    """Arguments of a forward pass: b = 3, two cameras, texts of 7, 4 and 2 tokens, a missing camera and frame."""

    vision_x: torch.Tensor
    lang_x: torch.Tensor
    attention_mask: torch.Tensor
    image_mask: torch.Tensor
    proprio: torch.Tensor
    proprio_mask: torch.Tensor
    actions: torch.Tensor
    action_mask: torch.Tensor


def make_inputs(t: int) -> Inputs:
    """Inputs for a window of t frames."""
    generator = torch.Generator().manual_seed(1)
    image_mask = torch.ones(3, t, 2, dtype=torch.bool)
    image_mask[1, :, 1] = False
    image_mask[2, : t - 1] = False
    return Inputs(
        vision_x=torch.randint(0, 256, (3, t, 2, 3, 40, 48), dtype=torch.uint8, generator=generator),
        lang_x=torch.randint(3, 250, (3, 7), generator=generator),
        attention_mask=torch.arange(7) < torch.tensor([[7], [4], [2]]),
        image_mask=image_mask,
        proprio=torch.randn(3, t, 2, generator=generator),
        proprio_mask=image_mask.any(2),
        actions=torch.rand(3, t, 2, 4, generator=generator),
        action_mask=image_mask.any(2)[..., None].expand(-1, -1, 2),
    )


def sample(inputs: Inputs, index: int) -> Inputs:
    """One sample of the batch, its text and its leading padding cut off."""
    length, first = int(inputs.attention_mask[index].sum()), int((~inputs.image_mask[index].any(1)).sum())
    cut: dict[str, Any] = {f.name: getattr(inputs, f.name)[index : index + 1] for f in dataclasses.fields(inputs)}
    for name in ("lang_x", "attention_mask"):
        cut[name] = cut[name][:, :length]
    for name in ("vision_x", "image_mask", "proprio", "proprio_mask", "actions", "action_mask"):
        cut[name] = cut[name][:, first:]
    return Inputs(**cut)


def predict(policy: BaseRoboVLM, inputs: Inputs) -> torch.Tensor:
    """Actions [3, t or 1, n, a]."""
    with torch.inference_mode():
        return policy(**arguments_of(inputs), mode="inference").action_predictions


def loss(policy: BaseRoboVLM, inputs: Inputs) -> torch.Tensor:
    """The total loss."""
    return policy(**arguments_of(inputs), mode="train").loss["total_loss"]


def arguments_of(inputs: Inputs) -> dict[str, Any]:
    """Keywords of a policy's forward pass."""
    return {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
