"""Record tests/fixtures/lerobot with the lerobot library itself, and read a dataset with it for comparison.

lerobot replaces torch, so it lives in an environment of its own; version 0.3.3 writes format v2.1, 0.4.4 writes v3.0::

    python -m venv VENV && VENV/bin/pip install lerobot==0.4.4
    HF_HUB_OFFLINE=1 VENV/bin/python scripts/record_lerobot_fixture.py record tests/fixtures/lerobot
    HF_HUB_OFFLINE=1 VENV/bin/python scripts/record_lerobot_fixture.py read OUR_DATASET

`record` writes VERSION_video (AV1, as lerobot does by default) and VERSION_image (PNG within parquet), and
`expected.json` with every number. Frame i of a camera shows the bits of its number as squares of 16 pixels; the number
of a frame is 100 * episode + step, plus 1000 for the camera "wrist".
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION, LeRobotDataset

FPS, LENGTHS = 10, (10, 7)
TASKS = ("pick up the cube", "open the drawer")
CAMERAS = {"observation.images.top": 0, "observation.images.wrist": 1000}


def squares(number: int) -> np.ndarray:
    """A picture of 16 bits, uint8 [64, 64, 3]."""
    bits = (number >> np.arange(16)) & 1
    gray = bits.reshape(4, 4).repeat(16, axis=0).repeat(16, axis=1) * 255
    return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)


def numbers(episode: int) -> dict[str, np.ndarray]:
    """State [k, 3] and action [k, 2] of an episode, float32."""
    rng = np.random.default_rng(episode)
    shapes = {"observation.state": 3, "action": 2}
    return {key: rng.normal(size=(LENGTHS[episode], size)).astype(np.float32) for key, size in shapes.items()}


def features(use_videos: bool) -> dict[str, dict]:
    picture = {"dtype": "video" if use_videos else "image", "shape": (64, 64, 3)}
    names = {"observation.state": ["a", "b", "c"], "action": ["x", "gripper"]}
    vectors = {key: {"dtype": "float32", "shape": (len(n),), "names": n} for key, n in names.items()}
    return vectors | {key: {**picture, "names": ["height", "width", "channels"]} for key in CAMERAS}


def record(out: Path, use_videos: bool) -> None:
    shutil.rmtree(out, ignore_errors=True)
    dataset = LeRobotDataset.create(
        "fixture/tiny", FPS, features(use_videos), root=out, robot_type="so100", use_videos=use_videos
    )
    for episode, task in enumerate(TASKS):
        values = numbers(episode)
        for step in range(LENGTHS[episode]):
            frame = {key: column[step] for key, column in values.items()}
            frame |= {key: squares(100 * episode + step + offset) for key, offset in CAMERAS.items()}
            add_frame(dataset, frame, task)
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


def add_frame(dataset: LeRobotDataset, frame: dict[str, np.ndarray], task: str) -> None:
    """The task is an argument in v2.1 and a key in v3.0."""
    if CODEBASE_VERSION == "v2.1":
        dataset.add_frame(frame, task=task)
    else:
        dataset.add_frame({**frame, "task": task})


def record_all(out: Path) -> None:
    for storage in ("video", "image"):
        folder = out / f"{CODEBASE_VERSION.replace('.', '')}_{storage}"
        record(folder, storage == "video")
        shutil.rmtree(folder / "images", ignore_errors=True)
    episodes = [
        {"task": task, "length": LENGTHS[i]} | {key: column.tolist() for key, column in numbers(i).items()}
        for i, task in enumerate(TASKS)
    ]
    content = {"fps": FPS, "robot_type": "so100", "cameras": CAMERAS, "episodes": episodes}
    (out / "expected.json").write_text(json.dumps(content, indent=1) + "\n")


def read(path: Path) -> None:
    """Print every number of every row as JSON, and of each picture its shape and mean."""
    dataset = LeRobotDataset("any/name", root=path, video_backend="pyav")
    print(json.dumps({"episodes": dataset.num_episodes, "frames": dataset.num_frames, "fps": dataset.fps}))
    for i in range(len(dataset)):
        row = dataset[i]
        shown = {key: round(value.double().mean().item(), 4) for key, value in row.items() if key.count(".images.")}
        shapes = {f"{key} shape": list(row[key].shape) for key in shown}
        plain = {key: value for key, value in row.items() if key not in shown}
        plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in plain.items()}
        print(json.dumps(plain | shown | shapes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "read"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    {"record": record_all, "read": read}[arguments.what](arguments.path)
