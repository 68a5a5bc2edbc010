"""What a dataset says of itself, ours and those of others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.registry import open_source
from robovlms.errors import DataError


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_missing_folder_suggests_the_nearest_dataset(writable: Callable[..., Path]) -> None:
    path = writable()
    for wrong in (path.with_name("fuor"), path.parent, path / "data"):
        with pytest.raises(DataError, match=f"did you mean {path}\\?"):
            LeRobotSource(wrong)


def test_missing_folder_without_any_dataset_near(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist$"):
        LeRobotSource(tmp_path / "a" / "b" / "c")


def test_folder_without_info_is_no_dataset(writable: Callable[..., Path]) -> None:
    path = writable()
    (path / "meta/info.json").unlink()
    with pytest.raises(DataError, match=r"the folder has no meta/info.json"):
        LeRobotSource(path)


def test_older_version_is_named(writable: Callable[..., Path]) -> None:
    path = writable()
    edit(path / "meta/info.json", lambda info: info.update(codebase_version="v2.1"))
    with pytest.raises(
        DataError, match=r'codebase_version is v2.1, expected v3.x; set data.format to "auto" or "lerobot_v21"'
    ):
        LeRobotSource(path)


def test_a_version_before_2_is_to_be_converted(writable: Callable[..., Path]) -> None:
    path = writable()
    edit(path / "meta/info.json", lambda info: info.update(codebase_version="v1.6"))
    with pytest.raises(DataError, match=r"codebase_version is v1.6, expected v3.x; convert the dataset with lerobot"):
        open_source(path)


def test_what_actions_mean_may_be_given_from_outside(writable: Callable[..., Path], tmp_path: Path) -> None:
    path = writable()
    own = json.loads((path / "meta/robovlms.json").read_text())
    own.pop("cameras")
    own["action_space"]["dimensions"][0]["name"] = "forward"
    (path / "meta/robovlms.json").unlink()
    (tmp_path / "space.json").write_text(json.dumps(own))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(own["action_space"]))
    given: list[Any] = [tmp_path / "space.json", str(tmp_path / "space.yaml"), own, own["action_space"]]
    for action_space in given:
        source = open_source(path, action_space=action_space)
        assert source.action_space.names == ("forward", "y", "gripper")
        assert source.proprio_names == ("joint_0", "joint_1")
        assert len(source.read(0, np.arange(2), np.arange(2), ("static",)).actions) == 2
    assert open_source(path, action_space=own).provenance == {"simulator": "test", "noise": 0.1}
    other = json.loads(json.dumps(own).replace("forward", "x"))
    assert open_source(path, action_space=own).fingerprint != open_source(path, action_space=other).fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "space.yaml: not readable as YAML or JSON"),
        ("- 1", r"space.yaml: expected a mapping with the meaning of the actions, got \[1\]"),
        ("frame: tcp", "space.yaml: KeyError: 'dimensions'"),
    ],
)
def test_a_bad_description_from_outside(writable: Callable[..., Path], content: str, message: str) -> None:
    path = writable()
    file = path / "space.yaml"
    file.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        open_source(path, action_space=file)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"none.yaml: not readable"):
        open_source(path, action_space=path / "none.yaml")


@pytest.mark.parametrize("name", ["meta/info.json", "meta/robovlms.json", "meta/stats.json"])
def test_damaged_json(writable: Callable[..., Path], name: str) -> None:
    path = writable()
    (path / name).write_text((path / name).read_text()[:50])
    with pytest.raises(DataError, match=f"{name}: not readable as JSON"):
        _ = LeRobotSource(path).statistics


def test_foreign_dataset_must_say_what_its_actions_mean(writable: Callable[..., Path]) -> None:
    path = writable()
    (path / "meta/robovlms.json").unlink()
    with pytest.raises(DataError, match=r"meta/robovlms.json is missing") as error:
        LeRobotSource(path)
    message = str(error.value)
    example = json.loads(message[message.index("{") :])
    assert [dimension["name"] for dimension in example["action_space"]["dimensions"]] == ["x", "y", "gripper"]
    assert "\n" not in message
    (path / "meta/robovlms.json").write_text(json.dumps(example))  # the example, not filled in
    with pytest.raises(DataError, match=r"meta/robovlms.json"):
        LeRobotSource(path)
    space = example["action_space"]
    space |= {"frame": "world", "is_delta": True, "rotation": "none", "gripper_opens": "none"}
    for dimension in space["dimensions"]:
        dimension |= {"unit": "m", "low": -1.0, "high": 1.0, "kind": "arm"}
    (path / "meta/robovlms.json").write_text(json.dumps({"action_space": space}))
    source = LeRobotSource(path)
    assert source.action_space.names == ("x", "y", "gripper")
    assert source.proprio_names == ("joint_0", "joint_1")
    assert [(camera.name, camera.source) for camera in source.cameras] == [("static", "test/static")]


def test_names_and_shapes_of_others(writable: Callable[..., Path]) -> None:
    path = writable()

    def foreign(info: dict[str, Any]) -> None:
        features = info["features"]
        features["observation.state"]["names"] = {"motors": ["a", "b"]}
        features["action"]["names"] = None
        image = features["observation.images.static"]
        image |= {"shape": [3, 16, 16], "names": ["channels", "height", "width"]}
        features["observation.images.depth"] = {**image, "dtype": "video", "info": {"video.is_depth_map": True}}

    edit(path / "meta/info.json", foreign)
    edit(path / "meta/robovlms.json", lambda ours: (ours.pop("proprio_names"), ours.pop("cameras")))
    source = LeRobotSource(path)
    assert source.proprio_names == ("a", "b")
    assert [(camera.name, camera.height, camera.width) for camera in source.cameras] == [("static", 16, 16)]
    assert source.read(0, np.array([0]), np.array([0]), ("static",)).images["static"].shape == (1, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ours: ours["action_space"]["dimensions"].pop(0), r"action dimensions are \[2\].*but \[3\]"),
        (lambda ours: ours["proprio_names"].pop(), r"proprio dimensions are \[1\].*but \[2\]"),
        (lambda ours: ours["cameras"][0].update(height=8), "camera sizes"),
        (lambda ours: ours["cameras"][0].update(name="front"), "camera sizes"),
        (lambda ours: ours["action_space"].update(control_hz=0), "control_hz must be positive"),
        (lambda ours: ours["action_space"].pop("frame"), "frame"),
        (lambda ours: ours.pop("action_space"), "action_space"),
    ],
)
def test_contradictions_are_refused(
    writable: Callable[..., Path], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = writable()
    edit(path / "meta/robovlms.json", change)
    with pytest.raises(DataError, match=message):
        LeRobotSource(path)


def test_wrong_number_of_episodes(writable: Callable[..., Path]) -> None:
    path = writable()
    edit(path / "meta/info.json", lambda info: info.update(total_episodes=5))
    with pytest.raises(DataError, match=r"says 5 episodes.*4 rows"):
        LeRobotSource(path)


def test_missing_episode_table(writable: Callable[..., Path]) -> None:
    path = writable()
    (path / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DataError, match="no episode table"):
        LeRobotSource(path)
