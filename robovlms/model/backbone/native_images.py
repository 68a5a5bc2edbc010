"""Images for the VLMs of transformers: their processors' settings, read once, and their vision towers' arguments.

Pictures are resized and normalised in one batch on the device (`Backbone.preprocess`); what remains is the form that
a family's `get_image_features` wants, which follows from the names of its parameters.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robovlms.errors import ConfigError

DYNAMIC_SIZE_PX = 224  # for towers that take any size
_PIL_BILINEAR = 2  # every other filter is taken as bicubic; torch has no Lanczos
_OPENAI_CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}


class ImageInputs:
    """Turns a batch of normalised pixels into what a family's `get_image_features` takes.

    Args:
        model: of transformers, with a vision tower.

    Raises:
        ConfigError: if it has no image features.
    """

    def __init__(self, model: nn.Module) -> None:
        self.features = _feature_function(model)
        self._vision = _vision_config(model.config)
        self._takes = set(
            inspect.signature(inspect.unwrap(getattr(self.features, "__func__", self.features))).parameters
        )
        tower = model.get_encoder(modality="image")
        self._is_any_size = "image_sizes" in inspect.signature(inspect.unwrap(tower.forward)).parameters

    @property
    def is_patchified(self) -> bool:
        """Whether the tower takes patches instead of pictures."""
        return "image_grid_thw" in self._takes

    @property
    def size_factor(self) -> int:
        """Height and width must be multiples of this, where the tower takes any size."""
        merge = getattr(self._vision, "spatial_merge_size", 2)
        return self._vision.patch_size * merge

    @property
    def takes_any_size(self) -> bool:
        """Whether pictures of different sizes fit."""
        return self.is_patchified or self._is_any_size

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a picture's tokens, for towers that take patches."""
        return height // self.size_factor, width // self.size_factor

    def __call__(self, pixels: Float[Tensor, "f 3 h w"]) -> dict[str, Tensor]:
        """Arguments of `features`."""
        count, _, height, width = pixels.shape
        if self.is_patchified:
            return self._patches(pixels)
        arguments = {"pixel_values": pixels}
        if "pixel_attention_mask" in self._takes:  # [f, pictures, 3, h, w], one picture each
            arguments["pixel_values"] = pixels.unsqueeze(1)
        if self._is_any_size:
            arguments["image_sizes"] = torch.tensor([[height, width]] * count, device=pixels.device)
        return arguments

    def _patches(self, pixels: Float[Tensor, "f 3 h w"]) -> dict[str, Tensor]:
        """Patches in the order of their merged groups, each repeated over the temporal patch.

        Source: Wang et al., "Qwen2-VL", 2024, https://arxiv.org/abs/2409.12191, section 2.1.
        """
        patch, merge = self._vision.patch_size, self._vision.spatial_merge_size
        depth = self._vision.temporal_patch_size
        count, channels, height, width = pixels.shape
        rows, columns = height // patch, width // patch
        grid = pixels.view(count, channels, rows // merge, merge, patch, columns // merge, merge, patch)
        grid = grid.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6).expand(*[-1] * 6, depth, -1, -1)
        thw = torch.tensor([[1, rows, columns]] * count, device=pixels.device)
        return {"pixel_values": grid.reshape(count * rows * columns, -1), "image_grid_thw": thw}


def image_settings(inputs: ImageInputs, config: Any, processor: Any | None, size: int | None) -> dict[str, Any]:
    """image_size [h, w], image_mean, image_std and resample of a VLM.

    Args:
        inputs: of the model.
        config: of the model.
        processor: its image processor of transformers; None for a random model.
        size: wished height and width; None takes the VLM's own.

    Raises:
        ConfigError: if the vision tower cannot take the wished size.
    """
    own = _own_size(inputs, config, processor)
    if size is not None and [size, size] != own and not inputs.takes_any_size:
        raise ConfigError(f"model.vlm.image_size is {size}, but this VLM's vision tower takes {own[0]} × {own[1]} only")
    chosen = own if size is None else [size, size]
    if inputs.takes_any_size and any(side % inputs.size_factor for side in chosen):
        raise ConfigError(f"model.vlm.image_size must be a multiple of {inputs.size_factor}, got {chosen[0]}")
    if processor is None:
        return {"image_size": chosen, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": "bicubic"}
    mean, std = (getattr(processor, name, None) or _OPENAI_CLIP[name] for name in ("image_mean", "image_std"))
    resample = "bilinear" if getattr(processor, "resample", None) == _PIL_BILINEAR else "bicubic"
    return {"image_size": chosen, "image_mean": list(mean), "image_std": list(std), "resample": resample}


def _own_size(inputs: ImageInputs, config: Any, processor: Any | None) -> list[int]:
    if inputs.takes_any_size:
        side = (
            2 * inputs.size_factor if processor is None else DYNAMIC_SIZE_PX // inputs.size_factor * inputs.size_factor
        )
        return [side, side]
    for name in ("crop_size", "size"):
        size = getattr(processor, name, None)
        if size is not None and getattr(size, "height", None) and getattr(size, "width", None):
            return [size.height, size.width]
    size = _vision_config(config).image_size
    return [size, size] if isinstance(size, int) else list(size)


def _vision_config(config: Any) -> Any:
    return config.vision_config


def _feature_function(model: nn.Module) -> Callable[..., Any]:
    if getattr(model.config, "image_grid_pinpoints", None) is not None:
        # The whole picture alone, without its tiles, as LLaVA-1.5 encodes it.
        from transformers import LlavaModel

        return LlavaModel.get_image_features.__get__(model.base_model)
    for owner in (getattr(model, "base_model", None), model):
        if owner is not None and hasattr(owner, "get_image_features"):
            return owner.get_image_features
    from transformers import AutoModel

    headless = AutoModel._model_mapping.get(type(model.config), None)  # Kosmos-2: only the headless class has it
    if headless is None or not hasattr(headless, "get_image_features"):
        raise ConfigError(f"{type(model).__name__} has no image features; it cannot be the VLM of a policy")
    return headless.get_image_features.__get__(model)
