"""Low-rank adapters beside the frozen linear layers of a VLM, made by peft.

::

    x ──┬── W, frozen ─────────────┬── W x + alpha / rank · B A x
        └── dropout ── A ── B ─────┘       A [rank, in] random, B [out, rank] zero: at first nothing changes

In a checkpoint `q_proj.weight` becomes `q_proj.base_layer.weight`, and `q_proj.lora_A.default.weight` and
`q_proj.lora_B.default.weight` stand beside it.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, https://arxiv.org/abs/2106.09685,
section 4.1.
"""

import dataclasses
import re

from torch import nn

from robovlms.config import LoRAConfig
from robovlms.errors import ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.quantize import unpack_linears

_MARK = ".lora_"  # in the name of every parameter of an adapter


def adapter_parameters(module: nn.Module) -> set[nn.Parameter]:
    """The parameters of every adapter within `module`."""
    return {parameter for name, parameter in module.named_parameters() if _MARK in name}


def add_adapters(backbone: Backbone, config: LoRAConfig) -> None:
    """Put an adapter beside every linear layer of the chosen towers, in place; a tower that has some keeps them.

    The vocabulary's output layer and the resampler get none, nor do layers that no feature depends on.

    Raises:
        ConfigError: if a tower has no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import

    towers = {"text": backbone.text_tower, "vision": backbone.vision_tower}
    left_out = _left_out(backbone)
    for name in config.towers:
        tower = towers[name]
        if adapter_parameters(tower):
            continue
        found = [key for key, layer in tower.named_modules() if isinstance(layer, nn.Linear) and layer not in left_out]
        if not found:
            raise ConfigError(f"model.lora.towers: the {name} tower of this VLM has no linear layer for an adapter")
        settings = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules="|".join(map(re.escape, found)),  # one expression: a list would also match endings
        )
        inject_adapter_in_model(settings, tower)


def _left_out(backbone: Backbone) -> set[nn.Module]:
    unused = backbone.unused_parameters()
    skipped = {module for module in backbone.modules() if unused.intersection(module.parameters(recurse=False))}
    for module in backbone.modules():
        if isinstance(module, nn.MultiheadAttention):  # it reads its layers' weights without calling them
            skipped.update(module.modules())
    for part in (backbone.output_embedding, backbone.resampler):
        if part is not None:
            skipped.update(part.modules())
    return skipped


def merge_lora(policy: nn.Module) -> nn.Module:
    """Add the adapters of a `BaseRoboVLM` to the weights beside them and remove them, in place.

    Returns:
        The policy, whose configuration now has no adapters, and 16 `base_bits`: packed weights are unpacked.
    """
    from peft.tuners.lora import LoraLayer

    from robovlms.model.tuning import set_trainable  # that module adds adapters, so it imports this one

    unpack_linears(policy.backbone)
    for name, layer in list(policy.backbone.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            policy.backbone.set_submodule(name, layer.get_base_layer())
    policy.config = dataclasses.replace(policy.config, lora=LoRAConfig(), base_bits=16)
    set_trainable(policy)
    return policy
