"""CALVIN as it is released: one file per frame, and annotations that say which frames show which task.

::

    task_ABC_D/
      training/                         one split
        episode_0000000.npz             one frame: rgb_static [200, 200, 3] and rgb_gripper [84, 84, 3] uint8,
        episode_0000001.npz               rel_actions [7], actions [7], robot_obs [15], scene_obs [24], depth_*
        …                                 (CALVIN calls a frame an episode)
        ep_start_end_ids.npy            int [recordings, 2], first and last frame of each recording
        lang_annotations/
          auto_lang_ann.npy             see `calvin_annotations`
      validation/                       the same

An episode here is one annotation. Those of one recording overlap.

**How many steps.** An annotation (start, end) has the steps start … end - 1, so `end - start` of them: CALVIN's
annotator writes `end = start + number of frames`, CALVIN's own loader reads up to end - 1, and the original RoboVLMs
masks frame `end`. That frame shows what the action of the last step led to; its own action leads out of the
annotation.

Source: https://github.com/mees/calvin (dataset/README.md, calvin_agent/utils/automatic_lang_annotator_mp.py and
datasets/disk_dataset.py) and https://github.com/mees/calvin_env (robot/robot.py, utils/utils.py).
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from robovlms.actions.calvin import calvin_action_space
from robovlms.actions.contract import CameraSpec
from robovlms.actions.pose import world_to_tcp_frame
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.calvin_annotations import read_annotations
from robovlms.data.sources.calvin_frames import CalvinFrames
from robovlms.data.sources.episode_check import check_finite
from robovlms.errors import ConfigError, DataError, unknown_name

ANNOTATIONS = "lang_annotations/auto_lang_ann.npy"
RECORDINGS = "ep_start_end_ids.npy"
SPLITS = ("training", "validation")
CAMERA_KEYS = {"static": "rgb_static", "wrist": "rgb_gripper"}
STATE = "robot_obs"
PROPRIO_NAMES = (
    *("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw"),  # m and rad, in the world
    "gripper_width",  # m
    *(f"joint_{n}" for n in range(7)),  # rad
    "gripper_action",  # -1 close, +1 open
)

_NUM_SIZES = 100  # frames whose file size is part of the fingerprint


class CalvinSource(EpisodeSource):
    """One split of CALVIN; each language annotation is an episode.

    Opening reads the annotations, the list of recordings and the header of one frame. That a frame is missing is found
    when it is read.

    Actions are by default CALVIN's `rel_actions`, the change of the tcp's pose in the world: ±1 is 0.02 m, or 0.05 rad
    of an Euler angle. They are kept in these units, which CALVIN's environment takes. `actions` are the pose to reach,
    in m and rad; its roll is near ±pi in CALVIN and jumps there.

    Args:
        path: a split's folder, or the one that holds the splits.
        split: which split, if `path` holds several; None = "training".
        action: "rel_actions" or "actions".
        tcp_frame: turn `rel_actions` into what `world_to_tcp_frame` makes of them with the pose of the same step.
        exclude_tasks: tasks to leave out.
        cache_mb: most that is kept of the frames read last, in MiB and per process.

    Raises:
        DataError: if there is no CALVIN dataset, it is damaged, or nothing is left of it.
        ConfigError: if options are unknown or contradict each other.
    """

    def __init__(
        self,
        path: Path | str,
        split: str | None = None,
        action: str = "rel_actions",
        tcp_frame: bool = False,
        exclude_tasks: Sequence[str] = (),
        cache_mb: int | float = 64,
    ) -> None:
        self.path = _split_folder(Path(path), split)
        self.action_space = calvin_action_space(action, tcp_frame)
        self._action, self._tcp_frame, self._excluded = action, tcp_frame, tuple(exclude_tasks)
        annotations = read_annotations(self.path / ANNOTATIONS)
        _check_spans(self.path, annotations.spans)
        kept = _kept(self.path, annotations.tasks, self._excluded)
        self._tasks = [annotations.tasks[number] for number in kept]
        self._sentences = [annotations.sentences[number] for number in kept]
        spans = np.array([annotations.spans[number] for number in kept], np.int64)
        self._starts, self._lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
        self._frames = CalvinFrames(self.path, int(cache_mb * 2**20))
        self.cameras = _cameras(self._frames, int(self._starts[0]))
        self.proprio_names = PROPRIO_NAMES
        self.provenance = {"dataset": "CALVIN", "split": self.path.name, "action": action, "tcp_frame": tcp_frame}

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return any((folder / ANNOTATIONS).is_file() for folder in (path, *(path / split for split in SPLITS)))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    @property
    def starts(self) -> np.ndarray:
        """Number of the first frame of each episode, int64 [episodes]."""
        return self._starts

    @property
    def num_cached_bytes(self) -> int:
        """Bytes of frames kept in memory."""
        return self._frames.num_bytes

    @cached_property
    def fingerprint(self) -> str:
        described = [(self.path / name).read_bytes() for name in (ANNOTATIONS, RECORDINGS)]
        some = np.unique(np.linspace(0, len(self) - 1, _NUM_SIZES).astype(np.int64))
        files = [self._frames.file(frame) for frame in self._starts[some].tolist()]
        sizes = [f"{file.name} {file.stat().st_size if file.is_file() else 'missing'}" for file in files]
        options = repr((self._action, self._tcp_frame, sorted(self._excluded)))
        return hashlib.sha256(b"\n".join([*described, "\n".join([*sizes, options]).encode()])).hexdigest()

    def task(self, episode: int) -> str:
        return self._tasks[episode]

    def instruction(self, episode: int) -> str:
        return self._sentences[episode]

    def file(self, episode: int) -> Path:
        return self._frames.file(int(self._starts[episode]))

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < self._lengths[episode]):
                raise DataError(f"{self.path}: episode {episode} has {self._lengths[episode]} steps, asked for {asked}")
        images = {name: self._image_key(name) for name in cameras}
        of_action = (self._action, STATE) if self._tcp_frame else (self._action,)
        data = self._unpacked(episode, {STATE, *images.values()}, frames, set(of_action), steps)
        actions = self._gather(data, self._action, steps)
        if self._tcp_frame and len(steps):
            actions = world_to_tcp_frame(actions, self._gather(data, STATE, steps))
        return Steps(
            images={name: self._gather(data, key, frames) for name, key in images.items()},
            proprio=self._numbers(episode, STATE, self._gather(data, STATE, frames), frames, PROPRIO_NAMES),
            actions=self._numbers(episode, self._action, actions, steps, self.action_space.names),
        )

    def _unpacked(
        self, episode: int, of_frames: set[str], frames: np.ndarray, of_steps: set[str], steps: np.ndarray
    ) -> dict[int, dict[str, np.ndarray]]:
        """Arrays of each step that is asked for; each file is opened once."""
        looked_at, acted = set(frames.tolist()), set(steps.tolist())
        data = {}
        for step in sorted(looked_at | acted):
            keys = (of_frames if step in looked_at else set()) | (of_steps if step in acted else set())
            try:
                data[step] = self._frames.read(
                    int(self._starts[episode]) + step, {key: self._expected[key] for key in sorted(keys)}
                )
            except DataError as error:
                raise DataError(f"{error} (step {step} of episode {episode})") from error
        return data

    @cached_property
    def _expected(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape and kind of every array."""
        images = {CAMERA_KEYS[one.name]: ((one.height, one.width, 3), np.uint8) for one in self.cameras}
        numbers = {STATE: ((len(PROPRIO_NAMES),), np.floating), self._action: ((self.action_space.size,), np.floating)}
        return images | numbers

    def _gather(self, data: dict[int, dict[str, np.ndarray]], key: str, steps: np.ndarray) -> np.ndarray:
        """Arrays of one key in the order of `steps`, [k, …]; numbers as float64."""
        shape, kind = self._expected[key]
        gathered = np.empty((len(steps), *shape), np.uint8 if kind is np.uint8 else np.float64)
        for place, step in enumerate(steps.tolist()):
            gathered[place] = data[step][key]
        return gathered

    def _numbers(
        self, episode: int, key: str, values: np.ndarray, steps: np.ndarray, names: tuple[str, ...]
    ) -> np.ndarray:
        is_finite = np.isfinite(values).all(axis=1)
        if not is_finite.all():
            file = self._frames.file(int(self._starts[episode] + steps[~is_finite][0]))
            check_finite(values, f"{file}: episode {episode}", key, names, steps)
        return values.astype(np.float32)

    def _image_key(self, camera: str) -> str:
        known = [one.name for one in self.cameras]
        if camera not in known:
            raise DataError(unknown_name("camera", camera, known))
        return CAMERA_KEYS[camera]


def _split_folder(path: Path, split: str | None) -> Path:
    """The folder of the split: `path`, or one in it."""
    if (path / ANNOTATIONS).is_file():
        if split not in (None, path.name):
            raise ConfigError(f"split is {split!r}, but {path} is itself a split; leave split out, or name its parent")
        return path
    found = [name for name in SPLITS if (path / name / ANNOTATIONS).is_file()]
    if not found:
        raise DataError(f"{path}: no CALVIN dataset with language: expected {ANNOTATIONS} in it, or in training/")
    if (split or SPLITS[0]) not in found:
        raise DataError(f"{path}: " + unknown_name("split", split or SPLITS[0], found))
    return path / (split or SPLITS[0])


def _check_spans(path: Path, spans: Sequence[tuple[int, int]]) -> None:
    """Every annotation must lie within one recording."""
    file = path / RECORDINGS
    try:
        recordings = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing; it says which frames belong together") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: not readable: {error}") from error
    if recordings.ndim != 2 or recordings.shape[1] != 2 or not np.issubdtype(recordings.dtype, np.integer):
        raise DataError(f"{file}: expected integers [recordings, 2], found {recordings.dtype} {list(recordings.shape)}")
    recordings = recordings[np.argsort(recordings[:, 0], kind="stable")]
    places = np.searchsorted(recordings[:, 0], [start for start, _ in spans], side="right") - 1
    for number, ((start, end), place) in enumerate(zip(spans, places.tolist(), strict=True)):
        if place < 0 or end - 1 > recordings[place, 1]:
            near = recordings[max(place, 0)].tolist() if len(recordings) else "none"
            raise DataError(
                f"{path / ANNOTATIONS}: annotation {number} has frames {start} to {end - 1}, which is within no "
                f"recording of {RECORDINGS}; the nearest has {near}"
            )


def _kept(path: Path, tasks: Sequence[str], excluded: Sequence[str]) -> list[int]:
    """Numbers of the annotations that are not of an excluded task."""
    known = sorted(set(tasks))
    for task in excluded:
        if task not in known:
            raise ConfigError("exclude_tasks: " + unknown_name("task", task, known))
    kept = [number for number, task in enumerate(tasks) if task not in excluded]
    if not kept:
        raise DataError(f"{path / ANNOTATIONS}: no annotation is left of {len(tasks)}; exclude_tasks are {excluded}")
    return kept


def _cameras(frames: CalvinFrames, frame: int) -> tuple[CameraSpec, ...]:
    """The cameras that a frame has."""
    shapes = frames.shapes(frame)
    sizes = {name: shapes[key] for name, key in CAMERA_KEYS.items() if key in shapes}
    for name, shape in sizes.items():
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            file = frames.file(frame)
            raise DataError(f"{file}: {CAMERA_KEYS[name]}: expected [height, width, 3], found {list(shape)}")
    return tuple(
        CameraSpec(name=name, height=shape[0], width=shape[1], source=f"calvin/{name}")
        for name, shape in sorted(sizes.items())
    )
