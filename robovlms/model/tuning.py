"""What of a policy is trained: freezing, adapters, packed weights, recomputed activations.

::

    trained            vision tower   decoder layers   token embedding   rest of the VLM   resampler   adapters
    by default              ✓               ✓                 ✓                 ✓              ✓
    freeze_backbone                                                                            ✓
    train_decoder_layers    ✓           the last k            ✓                                ✓
    lora                                                                                       ✓           ✓

With `train_decoder_layers`, blocks that look at images outside the sequence are trained too.
`freeze_vision`, `freeze_text_embedding` and `freeze_resampler` take their column away. Head, action queries and
proprioception are always trained. Weights on which no loss depends are never trained, so that a trainable parameter is
one that gets a gradient: the vocabulary's output layer where nobody asks for words, and what the backbone lists itself.
"""

from collections.abc import Iterable

from torch import nn

from robovlms.errors import ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.lora import adapter_parameters, add_adapters
from robovlms.model.quantize import QuantizedLinear, quantize_frozen
from robovlms.parameter_table import PartSize

Parameters = set[nn.Parameter]


def set_trainable(policy: nn.Module) -> None:
    """Make a `BaseRoboVLM` ready to be trained as its configuration says, in place.

    Adapters are added, what is not trained gets no gradient, the frozen linear layers of the text tower are packed into
    `base_bits`, and activations are recomputed if `gradient_checkpointing` is on, in training mode only.

    Raises:
        ConfigError: if the VLM lacks what is to be trained.
        MissingDependencyError: if a library for the packed weights is missing.
    """
    config, backbone = policy.config, policy.backbone
    if config.lora.rank:
        add_adapters(backbone, config.lora)
    trained = _trained(policy)
    for parameter in policy.parameters():
        parameter.requires_grad_(parameter in trained)
    if config.base_bits < 16:
        quantize_frozen(backbone.text_tower, config.base_bits)
    if config.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()


def _trained(policy: nn.Module) -> Parameters:
    config, backbone = policy.config, policy.backbone
    of_backbone = set(backbone.parameters())
    resampler = _of(backbone.resampler, policy.vision_resampler)
    if config.lora.rank:
        trained = adapter_parameters(backbone)
    elif config.freeze_backbone:
        trained = set()
    elif config.train_decoder_layers is not None:
        last = _last_layers(backbone, config.train_decoder_layers)
        trained = _of(backbone.vision_tower, backbone.word_embedding, backbone.cross_attention, *last)
    else:
        trained = set(of_backbone)
    trained |= resampler | {p for p in policy.parameters() if p not in of_backbone}
    if config.freeze_vision:
        trained -= _of(backbone.vision_tower)
    if config.freeze_text_embedding:
        trained -= _of(backbone.word_embedding)
    if config.freeze_resampler:
        trained -= resampler
    if not (policy.act_head.is_discrete and config.original_layout):  # the only policy that asks for words
        trained -= _of(backbone.output_embedding)
    return {p for p in trained - backbone.unused_parameters() if p.numel()}


def _last_layers(backbone: Backbone, count: int) -> Iterable[nn.Module]:
    layers = backbone.decoder_layers
    if count > len(layers):
        raise ConfigError(f"model.train_decoder_layers is {count}, but the decoder has only {len(layers)} layers")
    return layers[len(layers) - count :]


def _of(*modules: nn.Module | None) -> Parameters:
    return {parameter for module in modules if module is not None for parameter in module.parameters()}


def count_parameters(policy: nn.Module) -> list[PartSize]:
    """Trained and frozen parameters of each part of a `BaseRoboVLM`; each counts once, a packed weight as unpacked."""
    backbone, sizes = policy.backbone, []
    parts = {
        "adapters": adapter_parameters(backbone),
        "token embedding": _of(backbone.word_embedding),
        "resampler": _of(backbone.resampler, policy.vision_resampler),
        "vision tower": _of(backbone.vision_tower),
        "text tower": _of(backbone.text_tower),
        "output layer": _of(backbone.output_embedding),
        "rest of the VLM": _of(backbone),
        "action queries": {policy.action_token},
        "proprioception": _of(policy.proprio_projection),
        "head": _of(policy.act_head),
    }
    packed = {"text tower": sum(_packed_size(module) for module in backbone.modules())}
    counted: Parameters = set()
    for name, parameters in parts.items():
        new = parameters - counted
        counted |= new
        trained = sum(parameter.numel() for parameter in new if parameter.requires_grad)
        frozen = sum(parameter.numel() for parameter in new) - trained + packed.get(name, 0)
        if trained or frozen:
            sizes.append(PartSize(part=name, trained=trained, frozen=frozen))
    return sizes


def _packed_size(module: nn.Module) -> int:
    return module.in_features * module.out_features if isinstance(module, QuantizedLinear) else 0
