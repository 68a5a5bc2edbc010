"""Random changes of images: what is drawn, what is done with it, against Pillow, torch and numbers by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance

from robovlms.augment_config import AugmentConfig
from robovlms.data.augment import Augmentation, Crop, WindowChange, resize_crop
from robovlms.data.colour import ColourChange, colour_matrix, recolour
from robovlms.errors import ConfigError

EVERYTHING = dict(shift_px=3, crop_scale=(0.6, 0.9), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
ONE_BY_ONE = [{"shift_px": 0, name: value} for name, value in EVERYTHING.items() if name != "shift_px"]


def random_frames(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def random_images(batch: int = 6, size: int = 16, t: int = 2, v: int = 2) -> torch.Tensor:
    return torch.from_numpy(random_frames(batch, t, v, 3, size, size))


def picture() -> np.ndarray:
    """A smooth picture in full colours, [h, w, 3]."""
    y, x = np.mgrid[0:48, 0:64] / 64
    return (255 * np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x * y)], axis=-1)).astype(np.uint8)


def recoloured(frame: np.ndarray, **change: float) -> np.ndarray:
    """`recolour` of one picture [h, w, 3]."""
    frames = np.ascontiguousarray(frame.transpose(2, 0, 1))[None].copy()
    recolour(frames, ColourChange(**change))
    return frames[0].transpose(1, 2, 0)


# What is drawn


@pytest.mark.parametrize(
    ("seed", "position", "limit_px", "expected"),
    [
        (3, 0, 4, (3, -4)),
        (3, 1, 4, (-3, -2)),
        (3, 1023, 4, (4, 3)),
        (3, 1024, 4, (4, -2)),
        (0, 5000, 10, (9, 1)),
        (42, 7, 1, (1, 1)),
    ],
)
def test_shifts_stay_what_they_were_for_runs_that_resume(seed, position, limit_px, expected):
    (change,) = Augmentation(AugmentConfig(shift_px=limit_px), seed).draw([position], 64, 64)
    assert (change.dy, change.dx) == expected
    assert change.crop is None
    assert change.colour is None


def test_a_shift_moves_all_frames_and_cameras_alike_and_repeats_the_border():
    images = random_images(5)
    augmentation = Augmentation(AugmentConfig(shift_px=4), 7)
    moved = augmentation.apply(images, torch.arange(5)).numpy()
    for i, change in enumerate(augmentation.draw(range(5), 16, 16)):
        padded = np.pad(images[i].numpy(), [(0, 0)] * 3 + [(4, 4)] * 2, mode="edge")
        top, left = 4 - change.dy, 4 - change.dx
        assert np.array_equal(moved[i], padded[..., top : top + 16, left : left + 16])


@pytest.mark.parametrize("settings", [EVERYTHING, *ONE_BY_ONE], ids=lambda settings: "+".join(settings))
def test_a_window_depends_on_seed_and_position_only(settings):
    images, positions = random_images(), torch.tensor([0, 1, 1023, 1024, 99, 5])
    augmentation = Augmentation(AugmentConfig(**settings), 3)
    together = augmentation.apply(images, positions)
    order = [4, 2, 5]
    assert torch.equal(augmentation.apply(images[order], positions[order]), together[order])
    alone = [Augmentation(AugmentConfig(**settings), 3).apply(images[i : i + 1], positions[i : i + 1]) for i in order]
    assert torch.equal(torch.cat(alone), together[order])
    assert not torch.equal(augmentation.apply(images, positions + 1), together)
    assert not torch.equal(Augmentation(AugmentConfig(**settings), 4).apply(images, positions), together)


@pytest.mark.parametrize("settings", [EVERYTHING, *ONE_BY_ONE], ids=lambda settings: "+".join(settings))
def test_frames_and_cameras_of_a_window_change_alike(settings):
    frame = torch.from_numpy(random_frames(3, 1, 1, 3, 16, 16))
    images = frame.expand(3, 4, 2, 3, 16, 16).contiguous()
    before = images.clone()
    changed = Augmentation(AugmentConfig(**settings), 0).apply(images, torch.arange(3))
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))
    assert not torch.equal(changed, images)
    assert torch.equal(images, before), "the images that were given are left alone"


def test_turning_on_one_change_leaves_the_draws_of_the_others():
    everything = Augmentation(AugmentConfig(**EVERYTHING), 5).draw(range(20), 64, 64)
    without_crop = Augmentation(AugmentConfig(**EVERYTHING | {"crop_scale": None}), 5).draw(range(20), 64, 64)
    only_crop = Augmentation(AugmentConfig(shift_px=0, crop_scale=EVERYTHING["crop_scale"]), 5).draw(range(20), 64, 64)
    assert [(c.dy, c.dx, c.colour) for c in everything] == [(c.dy, c.dx, c.colour) for c in without_crop]
    assert [c.crop for c in everything] == [c.crop for c in only_crop]


def test_draws_fill_their_ranges_and_do_not_leave_them():
    changes = Augmentation(AugmentConfig(**EVERYTHING), 1).draw(range(2000), 100, 200)
    crops, colours = [change.crop for change in changes], [change.colour for change in changes]
    assert {change.dy for change in changes} == {change.dx for change in changes} == set(range(-3, 4))
    for name, middle in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        reach = EVERYTHING[name]
        values = np.array([getattr(colour, name) for colour in colours])
        assert middle - reach <= values.min() < middle - 0.99 * reach, name
        assert middle + 0.99 * reach < values.max() <= middle + reach, name
    areas = np.array([crop.height * crop.width for crop in crops]) / (100 * 200)
    assert 0.59 < areas.min() < 0.61
    assert 0.89 < areas.max() < 0.91
    assert all(abs(crop.width - 2 * crop.height) <= 1 for crop in crops), "the shape is kept"
    assert all(crop.top >= 0 and crop.top + crop.height <= 100 for crop in crops)
    assert all(crop.left >= 0 and crop.left + crop.width <= 200 for crop in crops)
    assert min(crop.top for crop in crops) == min(crop.left for crop in crops) == 0
    assert max(crop.top + crop.height for crop in crops) == 100
    assert max(crop.left + crop.width for crop in crops) == 200


# What changes nothing


def test_settings_that_change_nothing_return_the_images_themselves():
    images = random_images()
    assert Augmentation(AugmentConfig(shift_px=0), 0).apply(images, torch.arange(6)) is images


def test_changes_that_do_nothing_are_bit_exact():
    frames = random_frames(3, 2, 3, 16, 20)
    out = np.empty_like(frames)
    nothing = WindowChange(crop=Crop(top=0, left=0, height=16, width=20), colour=ColourChange())
    nothing.write(frames, out)
    assert np.array_equal(out, frames)


def test_only_the_chosen_cameras_change():
    images = random_images(v=3)
    changed = Augmentation(AugmentConfig(**EVERYTHING), 0, views=[0, 2]).apply(images, torch.arange(6))
    everywhere = Augmentation(AugmentConfig(**EVERYTHING), 0).apply(images, torch.arange(6))
    assert torch.equal(changed[:, :, 1], images[:, :, 1])
    assert torch.equal(changed[:, :, [0, 2]], everywhere[:, :, [0, 2]])


def test_a_camera_that_is_missing_stays_black():
    images = torch.zeros(4, 1, 1, 3, 16, 16, dtype=torch.uint8)
    assert not Augmentation(AugmentConfig(**EVERYTHING), 0).apply(images, torch.arange(4)).any()


def test_a_shift_as_large_as_the_picture_is_refused():
    with pytest.raises(ConfigError, match="data.augment.shift_px is 16, too far for frames of 16x16"):
        Augmentation(AugmentConfig(shift_px=16), 0).apply(random_images(), torch.arange(6))


# The crop


def test_a_crop_by_hand():
    row = np.array([0, 40, 80, 120], np.uint8)
    frames = np.broadcast_to(row, (1, 1, 3, 4, 4)).copy()
    resize_crop(frames, Crop(top=1, left=1, height=2, width=2))  # 40 and 80: outputs lie at -0.25, 0.25, 0.75, 1.25
    assert frames[0, 0, 0].tolist() == [[40, 50, 70, 80]] * 4


@pytest.mark.parametrize("crop", [(0, 0, 10, 14), (5, 3, 16, 21), (2, 7, 19, 25)])
def test_a_crop_is_what_torch_interpolates_in_float(crop):
    top, left, height, width = crop
    frames = random_frames(2, 2, 3, 21, 28)
    part = torch.from_numpy(frames[..., top : top + height, left : left + width].astype(np.float32)).flatten(0, 1)
    expected = F.interpolate(part, size=(21, 28), mode="bilinear", align_corners=False).view(2, 2, 3, 21, 28).numpy()
    resize_crop(frames, Crop(top=top, left=left, height=height, width=width))
    assert np.abs(frames - expected).max() < 1.001, "rounded along rows and again along columns"
    assert np.abs(frames - expected).mean() < 0.36
    assert -0.05 < (frames - expected).mean() < 0.25, "halves are rounded up, twice"


# The colours


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.8, 1.2, 1.5, 2.0])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("frame", [picture(), random_frames(24, 24, 3)], ids=["smooth", "noise"])
def test_colours_are_pillows(frame, name, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(frame)).enhance(factor), np.int64)
    assert np.abs(recoloured(frame, **{name: factor}) - expected).max() <= 1


def test_each_frame_keeps_its_own_mean_grey():
    frames = np.stack([np.full((3, 4, 4), 60, np.uint8), np.full((3, 4, 4), 200, np.uint8)])
    recolour(frames, ColourChange(contrast=0.3))
    assert frames[0].max() == frames[0].min() == 60
    assert frames[1].max() == frames[1].min() == 200


def test_contrast_by_hand():
    frames = np.array([10, 30], np.uint8).reshape(1, 1, 1, 2).repeat(3, axis=1)  # mean 20
    recolour(frames, ColourChange(contrast=1.5))
    assert frames[0, :, 0].tolist() == [[5, 35]] * 3


@pytest.mark.parametrize("hue", [-0.5, -0.13, 0.02, 0.25, 0.5])
def test_a_turn_of_the_hue_keeps_grey_and_the_brightness_of_colours(hue):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(recoloured(grey, hue=hue), grey)
    muted = (96 + picture() / 4).astype(np.uint8)  # no colour leaves the cube
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs((recoloured(muted, hue=hue) - muted.astype(float)) @ luma).max() < 0.51


def test_grey_stays_grey_under_every_change():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for seed in range(50):
        random = np.random.default_rng(seed)
        b, c, s = random.uniform(0, 2, 3)
        after = recoloured(grey, brightness=b, contrast=c, saturation=s, hue=random.uniform(-0.5, 0.5))
        assert (after == after[..., :1]).all()


def test_hue_turns_red_to_green_to_blue_and_back():
    matrix = colour_matrix(ColourChange(hue=1 / 3))
    assert (matrix @ [1, 0, 0]).argmax() == 1
    assert (matrix @ [0, 1, 0]).argmax() == 2
    assert (matrix @ [0, 0, 1]).argmax() == 0
    assert np.allclose(np.linalg.matrix_power(matrix, 3), np.eye(3))
    assert np.allclose(colour_matrix(ColourChange(hue=0.2)) @ colour_matrix(ColourChange(hue=-0.2)), np.eye(3))


def test_saturation_zero_is_grey_by_hand():
    frame = np.array([[[100, 50, 200]]], np.uint8)  # 29.9 + 29.35 + 22.8 = 82.05
    assert recoloured(frame, saturation=0.0).tolist() == [[[82, 82, 82]]]


def test_colours_round_and_clip_once_at_the_end():
    frame = np.array([[[200, 200, 200]]], np.uint8)
    assert recoloured(frame, brightness=2.0).tolist() == [[[255, 255, 255]]]
    assert recoloured(frame, brightness=2.0, contrast=0.0).tolist() == [[[255, 255, 255]]]
    ramp = np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)  # 0 and 400, mean 200, halfway: 100 and 300
    assert recoloured(ramp, brightness=2.0, contrast=0.5).tolist() == [[[100] * 3, [255] * 3]]
