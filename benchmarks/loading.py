"""How fast windows of a dataset reach the trainer, against the bare decoder.

Four questions, on data that this script makes in a temporary folder:

- delivered: windows of 8 frames × 2 cameras at 224 px through `GRDataModule` with one worker, ÷ decoding the same
  frames of the same windows with PyAV (video) or Pillow (PNG) in a bare loop, one thread each; target >= 0.8;
- calvin: windows of a folder of npz files as CALVIN is released, and of its conversions; target >= 5 × the frames/s;
- growth: one window of a dataset of 100,000 frames ÷ one of 1,000 frames; target <= 1.1;
- opening: a dataset of 1,000,000 frames in 20,000 episodes, its description only; target < 2 s, < 200 MB.

    python benchmarks/loading.py --json OUT

What is compared is measured in turn, a few batches each, and the median over the rounds counts, so that a drifting
machine slows both alike. What runs in this process alone (calvin, growth) is measured in seconds of the processor.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from machine import describe
from PIL import Image

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.convert import convert_dataset
from robovlms.data.datamodule import GRDataModule
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.order import WindowOrder
from robovlms.data.sources.base import Episode, EpisodeSource, Steps
from robovlms.data.sources.calvin import CalvinSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.data.text import ByteTokenizer, PromptEncoder

ROOT = Path(__file__).parents[1]
WINDOW, CAMERAS, BATCH = 8, ("static", "wrist"), 16
FPS = 20.0
_CACHE_MB = 4  # so little that random windows hardly meet again, as in a dataset of a million frames


def pictures(length: int, size: int, seed: int, noise_levels: int = 2) -> np.ndarray:
    """Frames [length, size, size, 3] of a camera that pans over a smooth scene; noise as of a sensor, 0 as rendered."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    scene = np.asarray(coarse.resize((2 * size, 2 * size), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = rng.integers(-noise_levels, noise_levels + 1, (4, size, size, 3)).astype(np.int16)
    places = [
        (size // 2 + int(size / 3 * np.sin(0.05 * t)), size // 2 + int(size / 3 * np.cos(0.03 * t)))
        for t in range(length)
    ]
    frames = [scene[y : y + size, x : x + size] + noise[t % 4] for t, (y, x) in enumerate(places)]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def write_dataset(path: Path, *, episodes: int, length: int, size: int, storage: str) -> Path:
    """Episodes of two cameras and seven numbers."""
    space = ActionSpace(
        dimensions=tuple(ActionDimension(name=f"joint_{i}", unit="rad", low=-1.0, high=1.0) for i in range(7)),
        frame="base",
        is_delta=True,
        control_hz=FPS,
    )
    cameras = tuple(CameraSpec(name=name, height=size, width=size, source="benchmark") for name in CAMERAS)
    rng = np.random.default_rng(0)
    with LeRobotWriter(
        path, action_space=space, cameras=cameras, proprio_names=tuple("abcdefg"), fps=FPS, robot_type="none",
        storage=storage, provenance={},
    ) as writer:  # fmt: skip
        for index in range(episodes):
            images = {name: pictures(length, size, 2 * index + i) for i, name in enumerate(CAMERAS)}
            numbers = rng.uniform(-1, 1, (2, length, 7)).astype(np.float32)
            steps = Steps(images=images, proprio=numbers[0], actions=numbers[1])
            writer.add_episode(Episode(task="t", instruction="pick up the cup", steps=steps))
    return path


def windows(source: EpisodeSource, cameras: tuple[str, ...] = CAMERAS) -> BaseTaskDataset:
    """Windows of 8 frames with chunks of 8 actions."""
    normalizer = Normalizer.from_statistics("min_max", source.statistics["action"])
    return BaseTaskDataset(
        source,
        window_size=WINDOW,
        fwd_pred_next_n=8,
        cameras=cameras,
        action_codec=ActionCodec(space=source.action_space, normalizer=normalizer),
        proprio_normalizer=Normalizer.from_statistics("mean_std", source.statistics["proprio"]),
        prompt_encoder=PromptEncoder(ByteTokenizer(), "{instruction}", 64),
    )


def in_turn(
    actions: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each action; they alternate."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            begin = clock()
            action()
            seconds[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


# -------------------------------------------------------------------------------------------------------- delivered


def delivered(folder: Path, storage: str, rounds: int) -> dict[str, float]:
    """Frames/s of the loader and of the bare decoder, and their ratio."""
    path = write_dataset(folder / storage, episodes=10, length=120, size=224, storage=storage)
    dataset = windows(LeRobotSource(path))
    module = GRDataModule(train_dataset=dataset, batch_size=BATCH, num_workers=1)
    batches = module.train_batches()
    order, position = WindowOrder([range(len(dataset))], seed=0), iter(range(10**9))
    bare = BareVideo(path) if storage == "video" else BarePictures(path)

    def load() -> None:
        for _ in islice(batches, 4):
            pass

    def decode() -> None:
        for _ in range(4 * BATCH):
            bare.window(dataset, order.window(next(position)))

    load()  # the worker starts and has its files open
    decode()
    seconds = in_turn({"delivered": load, "bare": decode}, rounds)
    del batches
    num_frames = 4 * BATCH * WINDOW * len(CAMERAS)
    rates = {f"{name}_frames_per_s": num_frames / value for name, value in seconds.items()}
    return {**rates, "ratio": seconds["bare"] / seconds["delivered"]}


class BareVideo:
    """What anybody would write with PyAV: seek to the window, decode on, take its frames."""

    def __init__(self, path: Path) -> None:
        self.files = {name: sorted(path.glob(f"videos/observation.images.{name}/*/*.mp4")) for name in CAMERAS}
        assert all(len(files) == 1 for files in self.files.values()), "one file per camera keeps the loop simple"
        self.containers = {name: av.open(str(files[0])) for name, files in self.files.items()}
        for container in self.containers.values():
            container.streams.video[0].codec_context.thread_count = 1
        self.to_rgb = VideoReformatter()  # one for all frames, in one thread: faster than `frame.to_ndarray` alone

    def window(self, dataset: BaseTaskDataset, index: int) -> list[np.ndarray]:
        episode, now = dataset.place(index)
        first = int(dataset.source.lengths[:episode].sum())
        begin = first + max(0, now - WINDOW + 1)
        return [self._frames(container, begin, first + now) for container in self.containers.values()]

    def _frames(self, container: av.container.InputContainer, begin: int, end: int) -> np.ndarray:
        stream = container.streams.video[0]
        container.seek(round(begin / FPS / stream.time_base), stream=stream)
        frames = []
        for frame in container.decode(stream):
            number = round(frame.time * FPS)
            if number >= begin:
                frames.append(self.to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray())
            if number >= end:
                return np.stack(frames)
        raise AssertionError("the video is too short")


class BarePictures:
    """Pillow on the encoded pictures, which lie in memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        tables = [pq.read_table(file) for file in sorted(path.glob("data/*/*.parquet"))]
        self.encoded = {
            name: [row["bytes"] for table in tables for row in table[f"observation.images.{name}"].to_pylist()]
            for name in CAMERAS
        }

    def window(self, dataset: BaseTaskDataset, index: int) -> list[np.ndarray]:
        episode, now = dataset.place(index)
        first = int(dataset.source.lengths[:episode].sum())
        rows = range(first + max(0, now - WINDOW + 1), first + now + 1)
        return [
            np.stack([np.asarray(Image.open(io.BytesIO(self.encoded[name][row])).convert("RGB")) for row in rows])
            for name in CAMERAS
        ]


# ----------------------------------------------------------------------------------------------------------- calvin


def calvin(folder: Path, rounds: int) -> dict[str, float]:
    """Frames/s of npz files and of their conversions, whole windows at random, hardly any met again."""
    path = write_calvin(folder / "calvin" / "training", episodes=6, length=64)
    npz = CalvinSource(path, cache_mb=_CACHE_MB)
    sources: dict[str, EpisodeSource] = {"npz": npz}
    for storage in ("raw", "video"):
        converted = convert_dataset(npz, folder / f"converted_{storage}", storage=storage, show_progress=False)
        sources[storage] = LeRobotSource(converted, cache_mb=_CACHE_MB)
    random = np.random.default_rng(0)

    def read(source: EpisodeSource) -> Callable[[], None]:
        def some() -> None:
            for episode, begin in random.integers(0, [len(npz), 64 - WINDOW], (32, 2)).tolist():
                steps = np.arange(begin, begin + WINDOW)
                source.read(episode, steps, steps, CAMERAS)

        return some

    def as_the_original() -> None:
        """What the original RoboVLMs unpacks for windows of 8 frames and chunks of 10 actions, nothing done with it."""
        for episode, begin in random.integers(0, [len(npz), 64 - WINDOW - 10], (32, 2)).tolist():
            for frame in range(64 * episode + begin, 64 * episode + begin + WINDOW + 10):
                with np.load(path / f"episode_{frame:07d}.npz") as file:
                    [file[key] for key in ("rgb_static", "rgb_gripper", "rel_actions", "robot_obs", "scene_obs")]

    actions = {name: read(source) for name, source in sources.items()} | {"original": as_the_original}
    for action in actions.values():
        action()
    seconds = in_turn(actions, rounds, time.process_time)
    num_frames = 32 * WINDOW * len(CAMERAS)
    sizes = {name: sum(file.stat().st_size for file in one.path.rglob("*.*")) for name, one in sources.items()}
    return {
        **{f"{name}_frames_per_s": num_frames / value for name, value in seconds.items()},
        **{f"{name}_kB_per_step": size / 1000 / npz.lengths.sum() for name, size in sizes.items()},
        **{f"{name}_to_npz": seconds["npz"] / seconds[name] for name in ("raw", "video")},
        **{f"{name}_to_original": seconds["original"] / seconds[name] for name in ("raw", "video")},
    }


def write_calvin(path: Path, *, episodes: int, length: int) -> Path:
    """A split as it is released: 200 px and 84 px cameras, a compressed file per frame."""
    path.mkdir(parents=True)
    spans = [(i * length, (i + 1) * length) for i in range(episodes)]
    rng = np.random.default_rng(0)
    for index, (start, end) in enumerate(spans):
        static, wrist = (pictures(length + 1, size, 2 * index + i, 0) for i, size in enumerate((200, 84)))
        for step in range(length + (end == spans[-1][1])):
            np.savez_compressed(
                path / f"episode_{start + step:07d}.npz",
                rgb_static=static[step],
                rgb_gripper=wrist[step],
                actions=rng.uniform(-1, 1, 7),
                rel_actions=np.append(rng.uniform(-1, 1, 6), 1.0),
                robot_obs=rng.uniform(-1, 1, 15),
                scene_obs=rng.uniform(-1, 1, 24),
            )
    annotations = {
        "language": {
            "ann": ["push the block"] * episodes,
            "task": ["push"] * episodes,
            "emb": np.zeros((episodes, 1, 8)),
        },
        "info": {"episodes": [], "indx": spans},
    }
    (path / "lang_annotations").mkdir()
    np.save(path / "lang_annotations" / "auto_lang_ann.npy", annotations, allow_pickle=True)
    np.save(path / "ep_start_end_ids.npy", np.array([(0, spans[-1][1])]))
    return path


# --------------------------------------------------------------------------------------------------- growth, opening


def growth(folder: Path, rounds: int, episodes: tuple[int, int] = (10, 1000)) -> dict[str, float]:
    """Milliseconds of a random window in a small and in a large dataset of the same kind of episodes."""
    random = np.random.default_rng(0)
    actions = {}
    for number in episodes:
        path = write_dataset(folder / f"growth{number}", episodes=number, length=100, size=32, storage="video")
        dataset = windows(LeRobotSource(path))

        def read(dataset: BaseTaskDataset = dataset) -> None:
            for index in random.integers(0, len(dataset), 50).tolist():
                dataset.sample(index)

        for index in range(50, len(dataset), 100):  # each row group once, as an epoch does
            dataset.sample(index)
        actions[f"{100 * number}_frames"] = read
    seconds = in_turn(actions, 3 * rounds, time.process_time)
    small, large = seconds.values()
    return {**{f"{name}_ms": 1000 * value / 50 for name, value in seconds.items()}, "ratio": large / small}


def opening(folder: Path) -> dict[str, float]:
    """Seconds and memory of opening a million frames, in a process of its own."""
    sys.path.insert(0, str(ROOT / "tests" / "data"))
    from big_metadata import write_big_metadata

    write_big_metadata(folder / "big", 20_000)
    code = """
import sys, time
from pathlib import Path
from robovlms.data.sources.lerobot import LeRobotSource
def kilobytes():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS")).split()[1])
before = kilobytes()
begin = time.perf_counter()
source = LeRobotSource(sys.argv[1])
assert source.lengths.sum() == 1_000_000 and source.instruction(19_999)
print(time.perf_counter() - begin, (kilobytes() - before) / 1000)
"""
    runs = [
        subprocess.run([sys.executable, "-c", code, str(folder / "big")], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds, megabytes = zip(*(map(float, run.stdout.split()) for run in runs), strict=True)
    return {"seconds": statistics.median(seconds), "megabytes": statistics.median(megabytes)}


def measure(folder: Path, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Each question and its figures."""
    for storage in ("video", "png"):
        yield f"delivered_{storage}", delivered(folder, storage, rounds)
    yield "calvin", calvin(folder, rounds)
    yield "growth", growth(folder, rounds)
    yield "opening", opening(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, figures in measure(Path(folder), flags.rounds):
            result[name] = {key: round(float(value), 3) for key, value in figures.items()}
            print(name, result[name], flush=True)
    if flags.json:
        flags.json.write_text(json.dumps({**result, **describe(ROOT)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
