"""Weights that the vision-language models of transformers carry but that no feature depends on.

::

    picture ─ layer 0 ─ … ─ layer i ─┬─ layers past the one that is read ─ final norm ─ pooling head      unused
                                     └─ features ─ projector ─ decoder

What is read follows from `vision_feature_layer(s)` of the configuration. Frames go in as single pictures, so the mark
between the rows of a picture's tiles is unused too.
"""

from typing import Any

from torch import nn

_TILE_MARK = "image_newline"


def unused_parameters(model: nn.Module, vision_tower: nn.Module) -> set[nn.Parameter]:
    """Parameters of `vision_tower` and around it that no image token depends on."""
    unused = [p for name, p in model.named_parameters() if name.rpartition(".")[2] == _TILE_MARK]
    unused += [p for name, head in vision_tower.named_children() if _pools(name, head) for p in head.parameters()]
    read = _read_layers(model.config)
    layers = max((m for m in vision_tower.modules() if isinstance(m, nn.ModuleList)), key=len, default=())
    if read:
        # hidden state i is what goes into layer i, and the last one what comes out of the last layer
        used = max(i if i >= 0 else len(layers) + 1 + i for i in read)
        norm = getattr(vision_tower, "post_layernorm", None)  # of CLIP and SigLIP; it comes after the hidden states
        unused += [p for part in (*layers[used:], norm) if part is not None for p in part.parameters()]
    return set(unused)


def _pools(name: str, module: nn.Module) -> bool:
    """Whether a module of SigLIP makes one vector of a picture, which no vision-language model reads."""
    return name == "head" and "PoolingHead" in type(module).__name__


def _read_layers(config: Any) -> list[int]:
    """Hidden states of the vision tower that are read; empty if it is its output, after the final norm."""
    for name in ("vision_feature_layer", "vision_feature_layers"):
        layers = getattr(config, name, None)
        if layers is not None:
            return [layers] if isinstance(layers, int) else list(layers)
    return []
