"""Any other image-text-to-text model of transformers: SmolVLM, InternVL, Gemma 3, Idefics 2 and 3, Mistral 3, …

What a family needs is read from its classes and its configuration; see `native`.
"""

from typing import Any, ClassVar

from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION, NativeBackbone
from robovlms.model.base import BaseRoboVLM


class AutoBackbone(NativeBackbone):
    """The prompt is the bare instruction, after the images.

    Attributes:
        own_files: families that need more than can be read from their configuration -> the name to use.
    """

    own_files: ClassVar[dict[str, str]] = {"paligemma": "paligemma", "kosmos-2": "kosmos"}
    tiny: ClassVar[dict[str, Any]] = {
        "smolvlm": dict(
            text_config=dict(TINY_TEXT, model_type="llama"),
            vision_config=TINY_VISION,
            image_token_id=300,
            scale_factor=2,
            pad_token_id=0,
        )
    }

    @classmethod
    def tiny_config(cls, overrides: dict[str, Any]) -> Any:
        """With `model_type`, the overrides are the arguments of its configuration; without, a small SmolVLM."""
        from transformers import AutoConfig

        values = dict(overrides)
        model_type = values.pop("model_type", None)
        if model_type is None:
            return super().tiny_config(values)
        cls.check_family(model_type, "model.vlm.overrides.model_type")
        return AutoConfig.for_model(model_type, **values)

    @classmethod
    def check_family(cls, model_type: str, source: str) -> None:
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

        if model_type not in KNOWN:
            raise ConfigError(
                f"{source}: transformers has no image-text-to-text model of the type {model_type!r}; "
                + unknown_name("model type", model_type, KNOWN)
            )
        if model_type in cls.own_files:
            raise ConfigError(f"{source}: set model.vlm.name: {cls.own_files[model_type]} for the type {model_type!r}")


class AutoRoboVLM(BaseRoboVLM):
    """A policy on any VLM of transformers."""

    backbone_class = AutoBackbone
