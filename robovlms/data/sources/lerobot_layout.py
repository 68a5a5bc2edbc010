"""The LeRobot folder: what is where, shared by readers and writer.

Version 3.0, which we write::

    meta/info.json                              version, rates, features, file patterns; written last
    meta/stats.json                             statistics per feature
    meta/tasks.parquet                          instruction -> task_index
    meta/episodes/chunk-000/file-000.parquet    one row per episode: length, instruction, where its data lies
    meta/robovlms.json                          what LeRobot has no place for: meaning of actions, camera sources
    data/chunk-000/file-000.parquet             one row per step: numbers, and frames if they are stored as PNG
    videos/KEY/chunk-000/file-000.mp4           frames of one camera, episodes one after the other

Versions 2.0 and 2.1, which we read, have one file per episode and lists of JSON lines instead of tables::

    meta/episodes.jsonl                         one line per episode: length, instructions
    meta/tasks.jsonl                            instruction -> task_index
    meta/episodes_stats.jsonl                   statistics per episode
    data/chunk-000/episode_000000.parquet
    videos/chunk-000/KEY/episode_000000.mp4

What LeRobot calls a task is our instruction; our task name is an extra column of the episodes.
Source: https://github.com/huggingface/lerobot, src/lerobot/datasets (format versions v2.1 and v3.0).
"""

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

import yaml

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionSpace
from robovlms.errors import ConfigError, DataError

VERSION = "v3.0"
FORMATS = {"v3.": "lerobot", "v2.": "lerobot_v21"}  # version in info.json -> format of this project
INFO, STATS, TASKS, ROBOVLMS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/robovlms.json"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000
ACTION, STATE, IMAGES = "action", "observation.state", "observation.images."
INDEX_FEATURES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"} | {
    "task_index": "int64"
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What the dataset says of itself in `meta/info.json` and `meta/robovlms.json`.

    Attributes:
        action_space: meaning of the action numbers.
        cameras: every camera, sorted by name.
        camera_keys: camera name -> feature, for example "observation.images.static".
        video_keys: those features that are stored as mp4.
        proprio_names: name of each proprioceptive number; empty if there is none.
        provenance: how the data was made.
        ours: `meta/robovlms.json` as it is, or what was given in its place.
        info: `meta/info.json` as it is.
    """

    action_space: ActionSpace
    cameras: tuple[CameraSpec, ...]
    camera_keys: dict[str, str]
    video_keys: frozenset[str]
    proprio_names: tuple[str, ...]
    provenance: dict[str, Any]
    ours: dict[str, Any]
    info: dict[str, Any]


def format_of(path: Path) -> str | None:
    """The format of this project that reads the dataset in `path`; None if there is no LeRobot dataset."""
    if not (path / INFO).is_file():
        return None
    try:
        version = str(json.loads((path / INFO).read_text()).get("codebase_version"))
    except (OSError, ValueError, AttributeError):
        version = VERSION  # opening it tells what is wrong
    return FORMATS.get(version[:3], FORMATS[VERSION[:3]])


def describe(path: Path, format: str = "lerobot", action_space: Any = None) -> Description:
    """Read the description of the dataset in `path`.

    Args:
        path: dataset folder.
        format: of this project, a value of `FORMATS`.
        action_space: content of `meta/robovlms.json` or of its entry "action_space", or a JSON or YAML file that holds
            it; for folders that cannot be written to. None reads `meta/robovlms.json`.

    Raises:
        DataError: if there is no dataset, it is of another version, or does not say what its actions mean.
    """
    info = _read_info(path, format)
    features = info["features"]
    if ACTION not in features:
        raise DataError(f"{path / INFO}: no feature {ACTION!r}; it has {sorted(features)}")
    keys = {camera_name(key): key for key, feature in sorted(features.items()) if _is_rgb(feature)}
    ours, where = (_given(action_space)) if action_space is not None else (_read_ours(path, info), path / ROBOVLMS)
    proprio = ours.get("proprio_names", feature_names(features[STATE], "state") if STATE in features else [])
    try:
        space = ActionSpace.from_dict(ours["action_space"])
        cameras = tuple(CameraSpec(**camera) for camera in ours.get("cameras", _default_cameras(info, keys)))
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error
    _check_against_features(path, features, keys, space, cameras, proprio)
    return Description(
        action_space=space,
        cameras=tuple(sorted(cameras, key=lambda camera: camera.name)),
        camera_keys=keys,
        video_keys=frozenset(key for key in keys.values() if features[key]["dtype"] == "video"),
        proprio_names=tuple(proprio),
        provenance=ours.get("provenance", {}),
        ours=ours,
        info=info,
    )


def feature_names(feature: dict[str, Any], prefix: str) -> list[str]:
    """Names of the numbers of a feature; `prefix`_0, … where the dataset gives none."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    size = feature["shape"][0]
    return list(names) if names and len(names) == size else [f"{prefix}_{i}" for i in range(size)]


def camera_name(key: str) -> str:
    """Name of the camera of a feature.

    >>> camera_name("observation.images.wrist"), camera_name("observation.image")
    ('wrist', 'image')
    """
    return key.removeprefix(IMAGES).removeprefix("observation.")


def chunk_and_file(number: int) -> dict[str, int]:
    """Place of the `number`-th file of a kind, as the file patterns take it."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {"chunk_index": chunk, "file_index": file}


def read_json(path: Path) -> Any:
    """Content of a JSON file; DataError names it if it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error


def _read_info(path: Path, format: str) -> dict[str, Any]:
    if not (path / INFO).is_file():
        found = "has no meta/info.json" if path.is_dir() else "does not exist"
        near = _nearest_dataset(path)
        hint = f"; did you mean {near}?" if near else ""
        raise DataError(f"no dataset in {path}: the folder {found}{hint}")
    info = read_json(path / INFO)
    version = str(info.get("codebase_version"))
    found = FORMATS.get(version[:3])
    if found != format:
        expected = next(start for start, name in FORMATS.items() if name == format)
        hint = f'set data.format to "auto" or "{found}"' if found else "convert the dataset with lerobot"
        raise DataError(f"{path / INFO}: codebase_version is {version}, expected {expected}x; {hint}")
    return info


def _nearest_dataset(path: Path) -> Path | None:
    """The dataset below, above or beside `path` whose name is most like it."""
    below = [] if not path.is_dir() else [*path.glob("*/" + INFO), *path.glob("*/*/" + INFO)]
    above = [folder / INFO for folder in path.absolute().parents[:2] if (folder / INFO).is_file()]
    found = below or above or (list(path.parent.glob("*/" + INFO)) if path.parent.is_dir() else [])
    folders = {str(file.parents[1]): file.parents[1] for file in found}
    nearest = difflib.get_close_matches(str(path), folders, n=1, cutoff=0)
    return folders[nearest[0]] if nearest else None


def _given(action_space: Any) -> tuple[dict[str, Any], str]:
    """What stands in for `meta/robovlms.json`, and how messages call it."""
    where = "action_space"
    if isinstance(action_space, (str, Path)):
        where = str(action_space)
        try:
            action_space = yaml.safe_load(Path(action_space).read_text())  # JSON is YAML
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"{where}: not readable as YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(action_space, dict):
        raise DataError(f"{where}: expected a mapping with the meaning of the actions, got {action_space!r}")
    return (action_space if "action_space" in action_space else {"action_space": action_space}), where


def _read_ours(path: Path, info: dict[str, Any]) -> dict[str, Any]:
    if (path / ROBOVLMS).is_file():
        return read_json(path / ROBOVLMS)
    names = feature_names(info["features"][ACTION], "action")
    blank = {"unit": "m, rad, …", "low": None, "high": None, "kind": "arm | gripper | base"}
    space = {
        "dimensions": [{"name": name, **blank} for name in names],
        "frame": "world | tcp | base",
        "is_delta": None,
        "rotation": "none | euler_xyz | axis_angle | quaternion_xyzw | rotation_6d",
        "gripper_opens": "positive | negative | none",
        "control_hz": info.get("fps"),
    }
    example = json.dumps({"action_space": space}, ensure_ascii=False)
    raise DataError(
        f"{path / ROBOVLMS} is missing: LeRobot does not record what the action numbers mean, and guessing moves a "
        "robot the wrong way. Write that file, or another one that data.options.action_space names, filled in: "
        + example
    )


def _is_rgb(feature: dict[str, Any]) -> bool:
    info = feature.get("info") or feature.get("video_info") or {}
    is_depth = info.get("is_depth_map") or info.get("video.is_depth_map")
    return feature["dtype"] in ("image", "video") and not is_depth


def _height_and_width(feature: dict[str, Any]) -> tuple[int, int]:
    shape = feature["shape"]
    is_channels_first = shape[0] in (1, 3) and shape[-1] not in (1, 3)
    unnamed = ["channels", "height", "width"] if is_channels_first else ["height", "width", "channels"]
    sizes = dict(zip(feature.get("names") or unnamed, shape, strict=True))
    return sizes["height"], sizes["width"]


def _default_cameras(info: dict[str, Any], keys: dict[str, str]) -> list[dict[str, Any]]:
    sizes = {name: _height_and_width(info["features"][key]) for name, key in keys.items()}
    robot = info.get("robot_type") or "unknown"
    return [
        {"name": name, "height": height, "width": width, "source": f"{robot}/{name}"}
        for name, (height, width) in sizes.items()
    ]


def _check_against_features(
    path: Path,
    features: dict[str, Any],
    keys: dict[str, str],
    space: ActionSpace,
    cameras: tuple[CameraSpec, ...],
    proprio: list[str],
) -> None:
    sizes = {name: _height_and_width(features[key]) for name, key in keys.items()}
    state = features[STATE]["shape"] if STATE in features else [0]
    pairs = {
        "action dimensions": ([space.size], list(features[ACTION]["shape"])),
        "proprio dimensions": ([len(proprio)], list(state)),
        "camera sizes": ({camera.name: (camera.height, camera.width) for camera in cameras}, sizes),
    }
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise DataError(f"{path}: {what} are {ours} in {ROBOVLMS} but {theirs} in {INFO}")
