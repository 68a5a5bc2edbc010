"""Clean datasets of every other format raise nothing; damaged ones are found, and the right file is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from data import damage
from data.robots import make_space, record
from data.sources.calvin_fixture import write_annotations, write_calvin
from data.sources.rlds_fixture import bridge_episode, write_rlds
from data.test_lerobot_v21 import FIXTURES
from data.test_lerobot_v21 import SPACE as FIXTURE_SPACE
from PIL import Image

from robovlms.data.validate import ValidationReport, find_faults

OSC = {"type": "OSC_POSE", "control_delta": True, "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5]}
ENV_ARGS = {"env_name": "Lift", "env_kwargs": {"control_freq": 20, "controller_configs": OSC}}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))


def pixels(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (length, 8, 8, 3), np.uint8)


def calvin(path: Path) -> Path:
    """Annotations of 20, 22 and 24 frames."""
    return write_calvin(path / "training", [(0, 20), (30, 52), (60, 84)], ["push", "pull", "lift"])


def hdf5(path: Path) -> Path:
    """Two files of two demonstrations."""
    path.mkdir()
    for number in range(2):
        with h5py.File(path / f"{number}.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps(ENV_ARGS)
            for i in range(2):
                actions, states = record(10 * number + i, length=20, scale=0.05)
                demo = data.create_group(f"demo_{i}")
                demo.attrs["num_samples"] = 20
                demo["actions"] = np.clip(actions, -1, 1)
                demo["obs/robot0_eef_pos"] = states[:, :3]
                demo["obs/robot0_eef_quat"] = np.tile([0.0, 0.0, 0.0, 1.0], (20, 1))
                demo["obs/robot0_gripper_qpos"] = states[:, [6, 6]] / 2
                demo["obs/agentview_image"] = pixels(20, 2 * number + i)
    return path


def folder(path: Path) -> Path:
    """Two episodes of 12 steps."""
    space = make_space("0.02 m")
    dimensions = [
        {"name": one.name, "unit": one.unit, "low": one.low, "high": one.high, "kind": one.kind}
        for one in space.dimensions
    ]
    meaning = {"frame": "world", "is_delta": True, "gripper_opens": "positive", "control_hz": 10.0}
    for number in range(2):
        episode = path / "episodes" / str(number)
        (episode / "front").mkdir(parents=True)
        actions, _ = record(number, length=32)
        lines = [",".join(["timestamp", *space.names])]
        lines += [",".join(map(str, [step / 10, *row])) for step, row in enumerate(actions[:12].round(6).tolist())]
        (episode / "steps.csv").write_text("\n".join(lines) + "\n")
        for step, frame in enumerate(pixels(12, number)):
            Image.fromarray(frame).save(episode / "front" / f"{step:06d}.png")
    description = {
        "action_space": {"dimensions": dimensions, **meaning},
        "cameras": {"front": "front"},
        "instruction": "go",
    }
    (path / "dataset.yaml").write_text(yaml.safe_dump(description))
    return path


def rlds(path: Path) -> Path:
    """Two shards of two episodes of 12 steps and more."""
    episodes = [bridge_episode(i, 12 + i) for i in range(4)]
    for i, episode in enumerate(episodes):
        actions, states = record(i, length=len(episode["steps/is_first"]))
        episode["steps/action"] = np.concatenate([actions[:, :6] / 50, actions[:, 6:] > 0], axis=1).astype(np.float32)
        episode["steps/observation/state"] = states[:, :7].astype(np.float32)
    return write_rlds(path, [episodes[:2], episodes[2:]])


def old_lerobot(name: str) -> Callable[[Path], Path]:
    return lambda path: Path(shutil.copytree(FIXTURES / name, path))


CLEAN = {"calvin": calvin, "hdf5": hdf5, "folder": folder, "rlds": rlds}
CLEAN |= {name: old_lerobot(name) for name in ("v21_video", "v21_image", "v30_video", "v30_image")}


FORMATS = {"v21_video": "lerobot_v21", "v21_image": "lerobot_v21", "v30_video": "lerobot", "v30_image": "lerobot"}


def options(name: str) -> dict[str, Any]:
    """What a dataset of the lerobot library does not say; its numbers are noise, so there is no binary gripper."""
    if not name.startswith("v"):
        return {}
    dimensions = [{**one, "kind": "arm"} for one in FIXTURE_SPACE["dimensions"]]
    return {"action_space": {**FIXTURE_SPACE, "dimensions": dimensions, "gripper_opens": "none"}}


def found(path: Path, name: str, **how: Any) -> ValidationReport:
    return find_faults(path, "auto", options(name), **({"all_frames": False, "show_progress": False} | how))


@pytest.mark.parametrize("all_frames", [False, True])
@pytest.mark.parametrize("name", CLEAN)
def test_clean_datasets_have_no_fault(tmp_path: Path, name: str, all_frames: bool) -> None:
    report = found(CLEAN[name](tmp_path / "set"), name, all_frames=all_frames)
    black = [("constant_frame", 0, 0, "top")] if name.startswith("v") else []  # a picture of the number 0 in bits
    assert [(one.check, one.episode, one.step, one.key) for one in (*report.faults, *report.warnings)] == black
    assert report.num_episodes > 1


def frame(number: int) -> str:
    return f"training/episode_{number:07d}.npz"


def edit_frame(file: Path, **changes: Any) -> None:
    """Change arrays of a CALVIN frame; None takes one out."""
    with np.load(file) as stored:
        arrays = dict(stored) | changes
    np.savez_compressed(file, **{key: value for key, value in arrays.items() if value is not None})


def edit_hdf5(file: Path, key: str, change: Callable[[np.ndarray], Any]) -> None:
    """Put what `change` makes of an array in its place."""
    with h5py.File(file, "r+") as stored:
        values = stored[key][()]
        del stored[key]
        stored[key] = change(values)


def set_number(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[row, column] = value
        return values

    return change


def edit_lines(file: Path, edit: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n")


SHARD = "bridge_orig/1.0.0/bridge_orig-train.tfrecord-00001-of-00002"
V21_DATA = "data/chunk-000/episode_000001.parquet"
V21_VIDEO = "videos/chunk-000/observation.images.top/episode_000001.mp4"

# Format, what is done; check, file, episode, step and part of the message of the fault.
Case = tuple[str, Callable[[Path], Any], str, str, int | None, int | None, str]
CASES: dict[str, Case] = {
    "truncated npz": (
        "calvin", lambda p: damage.truncate(p / frame(35)), "damaged_file", frame(35), 1, 5, "not readable as a frame",
    ),
    "empty npz": (
        "calvin", lambda p: (p / frame(0)).write_bytes(b""), "open", "", None, None, "not readable as a frame",
    ),
    "missing npz": ("calvin", lambda p: (p / frame(63)).unlink(), "missing_file", frame(63), None, None, "1 are"),
    "missing key": (
        "calvin", lambda p: edit_frame(p / frame(35), robot_obs=None), "readable", frame(35), 1, 5, "robot_obs",
    ),
    "NaN in rel_actions": (
        "calvin", lambda p: edit_frame(p / frame(62), rel_actions=np.full(7, np.nan)), "finite", frame(62), 2, 2, "nan",
    ),
    "infinite robot_obs": (
        "calvin", lambda p: edit_frame(p / frame(3), robot_obs=np.full(15, np.inf)), "finite", frame(3), 0, 3, "inf",
    ),
    "frame of another size": (
        "calvin",
        lambda p: edit_frame(p / frame(60), rgb_static=np.zeros((8, 8, 3), np.uint8)),
        "frame_size", frame(60), 2, 0, "expected uint8 [16, 16, 3], found uint8 [8, 8, 3]",
    ),
    "black frame of calvin": (
        "calvin",
        lambda p: edit_frame(p / frame(60), rgb_gripper=np.zeros((16, 16, 3), np.uint8)),
        "constant_frame", frame(60), 2, 0, "camera 'wrist': every pixel is about [0, 0, 0]",
    ),
    "annotations cut off": (
        "calvin",
        lambda p: damage.truncate(p / "training/lang_annotations/auto_lang_ann.npy"),
        "open", "", None, None, "auto_lang_ann.npy",
    ),
    "lost letters in an annotation": (
        "calvin",
        lambda p: write_annotations(
            p / "training",
            {
                "language": {"ann": ["a", "b", "li\ufffdt"], "task": ["a", "b", "c"], "emb": np.zeros((3, 1, 8))},
                "info": {"episodes": [], "indx": [(0, 20), (30, 52), (60, 84)]},
            },
        ),
        "instruction", frame(60), 2, None, "holds U+FFFD",
    ),
    "truncated hdf5": (
        "hdf5", lambda p: damage.truncate(p / "1.hdf5"), "damaged_file", "1.hdf5", None, None, "not readable as HDF5",
    ),
    "hdf5 array that is missing": (
        "hdf5",
        lambda p: _remove(p / "0.hdf5"),
        "columns", "0.hdf5", None, None, "no array 'actions'",
    ),
    "shifted lengths of hdf5": (
        "hdf5",
        lambda p: edit_hdf5(p / "0.hdf5", "data/demo_1/obs/robot0_eef_pos", lambda values: values[:-1]),
        "lengths", "0.hdf5", None, None, "actions has 20 steps, but obs/robot0_eef_pos has 19",
    ),
    "NaN action in hdf5": (
        "hdf5",
        lambda p: edit_hdf5(p / "1.hdf5", "data/demo_0/actions", set_number(7, 2, np.nan)),
        "finite", "1.hdf5", 2, 7, "actions 'z' is nan",
    ),
    "out of range in hdf5": (
        "hdf5",
        lambda p: edit_hdf5(p / "1.hdf5", "data/demo_1/actions", set_number(4, 0, 1.5)),
        "range", "1.hdf5", 3, 4, "'x' is 1.5 0.05 m, declared are -1 to 1",
    ),
    "frozen camera in hdf5": (
        "hdf5",
        lambda p: edit_hdf5(p / "0.hdf5", "data/demo_0/obs/agentview_image", lambda v: np.repeat(v[:1], 20, axis=0)),
        "frozen_camera", "0.hdf5", 0, 0, "20 frames from step 0 to 19",
    ),
    "truncated tfrecord": (
        "rlds", lambda p: damage.truncate(p / SHARD), "damaged_file", SHARD, None, None, "ends after",
    ),
    "flipped byte in a tfrecord": (
        "rlds", lambda p: damage.flip_byte(p / SHARD, 700), "crc", SHARD, None, None,
        "record 0, at byte 0: the checksum",
    ),
    "missing tfrecord": (
        "rlds", lambda p: (p / SHARD).unlink(), "missing_file", SHARD, None, None, "it holds 2 records",
    ),
    "a record fewer": (
        "rlds",
        lambda p: damage.edit_json(
            p / "bridge_orig/1.0.0/dataset_info.json", lambda i: i["splits"][0].update(shardLengths=["2", "3"])
        ),
        "lengths", SHARD, None, None, "holds 2 records, dataset_info.json says 3",
    ),
    "row fewer than pictures": (
        "folder",
        lambda p: edit_lines(p / "episodes/1/steps.csv", lambda lines: lines[:-1]),
        "lengths", "episodes/1", None, None, "camera 'front' has 12 pictures, but steps.csv has 11 rows",
    ),
    "swapped timestamps in csv": (
        "folder",
        lambda p: edit_lines(p / "episodes/0/steps.csv", lambda n: [*n[:4], n[5], n[4], *n[6:]]),
        "timestamps", "episodes/0/steps.csv", None, None, "step 4: timestamp 0.3 does not come after 0.4",
    ),
    "a column that is missing": (
        "folder",
        lambda p: edit_lines(p / "episodes/1/steps.csv", lambda lines: [lines[0].replace("yaw", "jaw"), *lines[1:]]),
        "columns", "episodes/1/steps.csv", None, None, "unknown column 'yaw'; did you mean 'jaw'?",
    ),
    "missing table": (
        "folder", lambda p: (p / "episodes/1/steps.csv").unlink(), "missing_file", "episodes/1", None, None, "found 0",
    ),
    "missing picture": (
        "folder",
        lambda p: (p / "episodes/1/front/000007.png").unlink(),
        "missing_file", "episodes/1", None, None, "000008.png: frame 7 is missing before it",
    ),
    "statistics of v2.1 that are no text": (
        "v21_video",
        lambda p: (p / "meta/episodes_stats.jsonl").write_bytes(b"\xff{}"),
        "statistics", "meta/episodes_stats.jsonl", None, None, "meta/episodes_stats.jsonl",
    ),
    "truncated picture": (
        "folder",
        lambda p: damage.truncate(p / "episodes/1/front/000000.png"),
        "damaged_file", "episodes/1/front/000000.png", 1, 0, "000000.png",
    ),
    "truncated parquet of v2.1": (
        "v21_image", lambda p: damage.truncate(p / V21_DATA), "damaged_file", V21_DATA, 1, None, "not readable",
    ),
    "truncated mp4 of v2.1": (
        "v21_video", lambda p: damage.truncate(p / V21_VIDEO), "damaged_file", V21_VIDEO, 1, None, "not readable",
    ),
    "missing mp4 of v2.1": (
        "v21_video", lambda p: (p / V21_VIDEO).unlink(), "missing_file", V21_VIDEO, 1, None, "episodes 1",
    ),
    "NaN of v2.1": (
        "v21_video", lambda p: damage.set_cell(p / V21_DATA, 3, "action", float("nan"), 0), "finite",
        V21_DATA, 1, 3, "nan",
    ),
    "a task that v2.1 does not list": (
        "v21_video",
        lambda p: edit_lines(p / "meta/tasks.jsonl", lambda lines: lines[:1]),
        "tasks", V21_DATA, 1, 0, "task_index is 1, but tasks.jsonl has [0]",
    ),
    "a line of v2.1 that is no JSON": (
        "v21_video",
        lambda p: edit_lines(p / "meta/episodes.jsonl", lambda lines: [lines[0], lines[1][:9]]),
        "description", "meta/episodes.jsonl", None, None, "line 2",
    ),
}  # fmt: skip


def test_statistics_per_episode_that_disagree_are_a_warning(tmp_path: Path) -> None:
    path = old_lerobot("v21_video")(tmp_path / "set")
    damage.set_cell(path / V21_DATA, 3, "action", 4.5, 0)
    warning = found(path, "v21_video").warnings[0]
    file = path / "meta/episodes_stats.jsonl"
    assert (warning.check, warning.file, warning.episode, warning.key) == ("statistics", file, 1, "action")
    assert "episode 1: max of 'action' is [2.0428, 2.1178], but its numbers give [4.5, 2.1178]" in warning.message


def _remove(file: Path) -> None:
    with h5py.File(file, "r+") as stored:
        del stored["data/demo_1/actions"]


@pytest.mark.parametrize("case", CASES)
def test_every_damage_is_found(tmp_path: Path, case: str) -> None:
    name, spoil, check, file, episode, step, message = CASES[case]
    path = tmp_path / "set"
    CLEAN[name](path)
    spoil(path)
    report = found(path / "bridge_orig" if name == "rlds" else path, name)
    place = (check, path / file, episode, step)
    same = [one for one in report.faults if (one.check, one.file, one.episode, one.step) == place]
    fault = next((one for one in same if message in one.message), None)
    assert fault, [(one.check, str(one.file), one.episode, one.step, one.message) for one in report.faults]


HARM: dict[str, Callable[[Path, np.random.Generator], Any]] = {
    "truncate": lambda file, rng: damage.truncate(file, rng.random()),
    "empty": lambda file, rng: file.write_bytes(b""),
    "delete": lambda file, rng: file.unlink(),
    "noise": lambda file, rng: file.write_bytes(rng.bytes(500)),
    "flip": lambda file, rng: damage.flip_byte(file, int(rng.integers(file.stat().st_size))),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", CLEAN)
def test_nothing_crashes_it(tmp_path: Path, name: str, harm: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name + harm)))
    path = tmp_path / "set"
    CLEAN[name](path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    HARM[harm](files[rng.integers(len(files))], rng)
    report = find_faults(path, FORMATS.get(name, name), options(name), all_frames=False, show_progress=False)
    assert report.checks
