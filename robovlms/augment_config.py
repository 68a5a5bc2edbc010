"""How training images are changed."""

from dataclasses import dataclass

from robovlms.typed_yaml import require


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the training images; one draw for all frames and cameras of a window.

    Attributes:
        shift_px: moved at most this many pixels each way, the border repeated; 0 leaves them in place.
        crop_scale: range (low, high) of the share of the picture's area that is kept, then resized back; None does not
            crop.
        brightness: largest relative change, in [0, 1].
        contrast: largest relative change, in [0, 1].
        saturation: largest relative change, in [0, 1].
        hue: largest turn of the colour circle, in turns, in [0, 0.5].
        mirror: share of windows that are mirrored left to right, with their actions and the words of the instruction;
            only for robots for which that has a meaning, such as mobile bases.
        cameras: whose pictures are shifted, cropped and recoloured; None = all.
    """

    shift_px: int = 4
    crop_scale: tuple[float, float] | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    mirror: float = 0.0
    cameras: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require(self.shift_px >= 0, f"data.augment.shift_px must not be negative, got {self.shift_px}")
        scale = self.crop_scale
        require(
            scale is None or 0 < scale[0] <= scale[1] <= 1,
            f"data.augment.crop_scale must be a range within (0, 1], got {scale}",
        )
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5), ("mirror", 1)):
            value = getattr(self, name)
            require(0 <= value <= most, f"data.augment.{name} must lie in [0, {most}], got {value}")
