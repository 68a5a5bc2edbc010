"""Which parameters are trained."""

from torch import nn


def set_trainable(policy: nn.Module) -> None:
    """Freeze what the policy's configuration freezes."""
    config, backbone = policy.config, policy.backbone
    if backbone.output_embedding is not None and not (config.original_layout and policy.act_head.is_discrete):
        backbone.output_embedding.requires_grad_(False)  # nobody asks for words
    if config.freeze_backbone:
        backbone.requires_grad_(False)
    if config.freeze_vision:
        backbone.vision_tower.requires_grad_(False)
