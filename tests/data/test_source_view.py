from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.view import SourceView
from robovlms.errors import ConfigError
from robovlms.resize import resize_frame


@pytest.fixture
def two_cameras(tmp_path: Path, make: SimpleNamespace) -> LeRobotSource:
    episodes = [make.episode(0, 4, cameras=("static", "wrist")), make.episode(1, 3)]
    return LeRobotSource(make.write(tmp_path / "two", episodes, cameras=(make.STATIC, make.WRIST)))


def camera(name: str, size: int = 16) -> CameraSpec:
    return CameraSpec(name=name, height=size, width=size, source="robot")


def test_names_and_sizes(two_cameras: LeRobotSource) -> None:
    view = SourceView(two_cameras, cameras=(camera("hand", 8), camera("static", 8)), camera_keys={"hand": "wrist"})
    steps, native = view.read_episode(0).steps, two_cameras.read_episode(0).steps
    assert set(steps.images) == {"hand", "static"}
    np.testing.assert_array_equal(steps.images["hand"][2], resize_frame(native.images["wrist"][2], 8, 8))
    np.testing.assert_array_equal(steps.actions, native.actions)
    assert set(view.read_episode(1).steps.images) == {"static"}


def test_what_is_missing_stays_away(two_cameras: LeRobotSource) -> None:
    view = SourceView(two_cameras, cameras=(camera("static"), camera("head")), proprio_names=("joint_1", "joint_7"))
    steps = view.read_episode(0).steps
    assert set(steps.images) == {"static"}
    assert steps.proprio is None
    assert view.proprio_names == ()


def test_proprio_in_another_order(two_cameras: LeRobotSource) -> None:
    view = SourceView(two_cameras, cameras=(camera("static"),), proprio_names=("joint_1", "joint_0"))
    native = two_cameras.read_episode(0).steps.proprio
    np.testing.assert_array_equal(view.read_episode(0).steps.proprio, native[:, ::-1])


def test_a_view_of_a_view(two_cameras: LeRobotSource) -> None:
    inner = SourceView(two_cameras, cameras=(camera("hand"),), camera_keys={"hand": "wrist"})
    outer = SourceView(inner, cameras=(camera("palm", 4),), camera_keys={"palm": "hand"})
    assert outer.source is two_cameras
    assert outer.native is inner
    assert outer.keys == {"palm": "wrist"}
    assert outer.read_episode(0).steps.images["palm"].shape == (4, 4, 4, 3)


def test_a_camera_that_is_mapped_to_must_exist(two_cameras: LeRobotSource) -> None:
    with pytest.raises(ConfigError, match="unknown camera 'wirst'; did you mean 'wrist'"):
        SourceView(two_cameras, cameras=(camera("hand"),), camera_keys={"hand": "wirst"})
