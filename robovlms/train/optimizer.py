"""AdamW with parameter groups, and the learning-rate schedule."""

import math

import torch
from torch import nn

from robovlms.config import TrainConfig
from robovlms.errors import ConfigError
from robovlms.model.base import BaseRoboVLM

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding)


def build_optimizer(model: BaseRoboVLM, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters: backbone or new parts × decayed or not.

    Matrices are decayed; biases, norms, embeddings and learned tokens are not. Adapters learn at the rate of the
    backbone that they are in. Each group keeps its peak learning rate as `peak_lr`.

    Raises:
        ConfigError: if nothing is trainable.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, https://arxiv.org/abs/1711.05101
    """
    undecayed = {id(p) for module in model.modules() if isinstance(module, _NORMS) for p in module.parameters()}
    in_backbone = {id(p) for p in model.backbone.parameters()}
    backbone_lr = config.learning_rate if config.backbone_learning_rate is None else config.backbone_learning_rate
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and name.rpartition(".")[2].startswith("weight")
            is_decayed = is_matrix and id(parameter) not in undecayed
            groups.setdefault((id(parameter) in in_backbone, is_decayed), []).append(parameter)
    if not groups:
        raise ConfigError("nothing to train: every parameter is frozen")
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if is_decayed else 0.0,
                "peak_lr": backbone_lr if is_backbone else config.learning_rate,
            }
            for (is_backbone, is_decayed), parameters in sorted(groups.items())
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


def lr_scale(step: int, config: TrainConfig) -> float:
    """Share of the peak learning rate at optimiser step `step`, counted from 0: linear warm-up, then half a cosine.

    >>> config = TrainConfig(max_steps=100, warmup_steps=10, min_lr_scale=0.0)
    >>> [round(lr_scale(step, config), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps))
    return config.min_lr_scale + (1 - config.min_lr_scale) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set each group's learning rate to `scale` × its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * scale
