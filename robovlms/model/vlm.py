"""From a name in the configuration to a loaded VLM or a whole policy."""

from pathlib import Path
from typing import Literal

import torch

from robovlms.actions.space import ActionSpace
from robovlms.config import ModelConfig, TokenizerConfig, VLMConfig
from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.auto import AutoRoboVLM
from robovlms.model.backbone.base import Backbone
from robovlms.model.backbone.flamingo import RoboFlamingo
from robovlms.model.backbone.kosmos import RoboKosmos
from robovlms.model.backbone.llava import RoboLLaVA
from robovlms.model.backbone.moondream import RoboMoonDream
from robovlms.model.backbone.paligemma import RoboPaligemma
from robovlms.model.backbone.qwen import RoboQwen
from robovlms.model.backbone.tiny import TinyBackbone
from robovlms.model.backbone.uform import RoboUform
from robovlms.model.base import BaseRoboVLM


class RoboTiny(BaseRoboVLM):
    """A policy on the built-in tiny VLM."""

    backbone_class = TinyBackbone


# A new backbone is one file and one line here.
POLICIES: dict[str, type[BaseRoboVLM]] = {
    "tiny": RoboTiny,
    "auto": AutoRoboVLM,
    "flamingo": RoboFlamingo,
    "kosmos": RoboKosmos,
    "llava": RoboLLaVA,
    "moondream": RoboMoonDream,
    "paligemma": RoboPaligemma,
    "qwen": RoboQwen,
    "uform": RoboUform,
}


def policy_class(name: str) -> type[BaseRoboVLM]:
    """Look a policy class up by the name of its VLM.

    Raises:
        ConfigError: names the nearest known one.
    """
    if name not in POLICIES:
        raise ConfigError("model.vlm.name: " + unknown_name("VLM", name, POLICIES))
    return POLICIES[name]


def build_vlm(
    vlm_config: VLMConfig,
    tokenizer_config: TokenizerConfig | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    seed: int = 0,
) -> Backbone:
    """Load a VLM with its tokenizer and image settings, or build a tiny random one.

    Args:
        vlm_config: which VLM and where its weights come from.
        tokenizer_config: None takes the VLM's own tokenizer.
        precision: data type of the weights.
        seed: of weights that are not pretrained.

    Raises:
        ConfigError: if the VLM is unknown or the values contradict each other.
        CheckpointError: if its files cannot be loaded.
    """
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    backbone = policy_class(vlm_config.name).backbone_class
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return backbone.build(vlm_config, tokenizer_config or TokenizerConfig(), dtype, None)


def build_policy(
    config: ModelConfig,
    action_space: ActionSpace,
    proprio_dim: int,
    *,
    backbone: Backbone | None = None,
    assets: Path | None = None,
) -> BaseRoboVLM:
    """Build the configured policy; arguments as in `BaseRoboVLM`."""
    return policy_class(config.vlm.name)(config, action_space, proprio_dim, backbone=backbone, assets=assets)
