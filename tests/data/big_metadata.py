"""The description of a large LeRobot v3.0 dataset, without its data: to measure how long opening takes.

``python tests/data/big_metadata.py FOLDER`` writes one of 20,000 episodes and 1,000,000 frames, opens it and prints
seconds and memory.
"""

import argparse
import dataclasses
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CAMERAS = ("observation.images.static", "observation.images.wrist")
QUANTITIES = ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99")
STEPS_PER_EPISODE, EPISODES_PER_FILE = 50, 1000


def write_big_metadata(path: Path, num_episodes: int, *, num_files: int = 4, rows_per_group: int = 1000) -> Path:
    """Write `meta` of a dataset whose episodes are of 50 steps each, every one with an instruction of its own.

    Args:
        path: folder to create.
        num_episodes: e.
        num_files: files that the episode table is spread over.
        rows_per_group: episodes per row group; lerobot writes a few at a time.
    """
    (path / "meta").mkdir(parents=True)
    (path / "meta/info.json").write_text(json.dumps(_info(num_episodes)))
    (path / "meta/robovlms.json").write_text(json.dumps({"action_space": _action_space()}))
    for number, episodes in enumerate(np.array_split(np.arange(num_episodes), num_files)):
        file = path / f"meta/episodes/chunk-000/file-{number:03d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(_columns(episodes)), file, row_group_size=rows_per_group)
    return path


def _columns(episodes: np.ndarray) -> dict[str, pa.Array]:
    begins = episodes * STEPS_PER_EPISODE
    columns = {
        "episode_index": pa.array(episodes),
        "tasks": pa.array([[f"instruction number {i}"] for i in episodes.tolist()]),
        "length": pa.array(np.full(len(episodes), STEPS_PER_EPISODE)),
        "task_name": pa.array([f"task {i % 34}" for i in episodes.tolist()]),
        "dataset_from_index": pa.array(begins),
        "dataset_to_index": pa.array(begins + STEPS_PER_EPISODE),
    }
    for prefix in ("data", *(f"videos/{camera}" for camera in CAMERAS)):
        columns[f"{prefix}/chunk_index"] = pa.array(np.zeros(len(episodes), np.int64))
        columns[f"{prefix}/file_index"] = pa.array(episodes // EPISODES_PER_FILE)
    for camera in CAMERAS:
        columns[f"videos/{camera}/from_timestamp"] = pa.array(episodes % EPISODES_PER_FILE * 5.0)
    numbers = pa.array(np.random.default_rng(0).normal(size=(len(episodes), 7)).tolist())
    pixels = pa.array([[[[0.5]], [[0.25]], [[0.125]]]] * len(episodes))
    for quantity in QUANTITIES:
        columns |= {f"stats/{key}/{quantity}": numbers for key in ("action", "observation.state")}
        columns |= {f"stats/{key}/{quantity}": pixels for key in CAMERAS}
    return columns


def _action_space() -> dict[str, object]:
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    dimensions = [{"name": n, "unit": "1", "low": -1, "high": 1, "kind": "arm"} for n in names]
    return {"dimensions": dimensions, "frame": "world", "is_delta": True, "control_hz": 10}


def _info(num_episodes: int) -> dict[str, object]:
    vector = {"dtype": "float32", "shape": [7], "names": None}
    video = {"dtype": "video", "shape": [224, 224, 3], "names": ["height", "width", "channels"]}
    return {
        "codebase_version": "v3.0",
        "total_episodes": num_episodes,
        "total_frames": num_episodes * STEPS_PER_EPISODE,
        "fps": 10,
        "robot_type": "big",
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {"action": vector, "observation.state": vector, **dict.fromkeys(CAMERAS, video)},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What opening took: seconds, and growth of resident memory in MiB."""

    seconds: float
    mib: float


def measure_opening(path: Path) -> Cost:
    """Open a dataset in this process, which should not have opened one before."""
    from robovlms.data.sources.lerobot import LeRobotSource

    before, start = _peak_mib(), time.perf_counter()
    source = LeRobotSource(path)
    assert source.instruction(len(source) - 1)
    return Cost(seconds=time.perf_counter() - start, mib=_peak_mib() - before)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--rows-per-group", type=int, default=1000)
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        write_big_metadata(arguments.folder, arguments.episodes, rows_per_group=arguments.rows_per_group)
    print(json.dumps(dataclasses.asdict(measure_opening(arguments.folder))))
