"""HDF5 datasets of robomimic, LIBERO and mobile bases; `hdf5_layouts` draws their files."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property, partial, reduce
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.episode_check import check_finite
from robovlms.data.sources.file_index import look_into
from robovlms.data.sources.hdf5_files import HDF5Files
from robovlms.data.sources.hdf5_layouts import LAYOUTS, Layout
from robovlms.data.sources.hdf5_look import ACTIONS, look, place
from robovlms.data.sources.natural_order import natural
from robovlms.errors import ConfigError, DataError, unknown_name

SUFFIXES = (".hdf5", ".h5")
MAX_VELOCITY = (0.5, 1.0)  # m/s and rad/s
_ARM = ("x", "y", "z", "rx", "ry", "rz")
_BASE = ("linear_x", "linear_y", "angular_z")
_GLANCE = 200  # entries of a folder that are looked at to see whether it is such a dataset
_ROUNDING = 1e-5  # by which a float32 may exceed a limit


class HDF5Source(EpisodeSource):
    """A file, or a folder of files and folders of files, in one of `LAYOUTS`.

    The first opening looks into every file; what it finds is kept in the user's cache folder. Later ones only look at
    the files' sizes.

    Args:
        path: file or folder.
        layout: key of `LAYOUTS`; "auto" looks into the files.
        instruction: of every episode, instead of what the files say.
        filter_key: which demos, for example "train" of `mask/train`; None takes all.
        flip_images: whether rows of pictures are read from the last to the first; None = as the layout needs it: yes
            for LIBERO, whose raw demonstrations are upside down, unless the file says "opencv"; no for the others.
        control_hz: actions per second; None = what the files say. Mobile bases often do not.
        max_velocity: of a mobile base, m/s and rad/s: the range of its actions; None = 0.5 and 1.0. Actions beyond it
            are refused when read.
        max_open: files kept open, per process.

    Raises:
        DataError: if there is no such dataset, a file is damaged, its arrays disagree in length, or files disagree.
        ConfigError: if an option is unknown, or missing.
    """

    def __init__(
        self,
        path: Path | str,
        layout: str = "auto",
        instruction: str | None = None,
        filter_key: str | None = None,
        flip_images: bool | None = None,
        control_hz: int | float | None = None,
        max_velocity: Sequence[int | float] | None = None,
        max_open: int = 16,
    ) -> None:
        self.path = Path(path)
        if layout not in ("auto", *LAYOUTS):
            raise ConfigError(unknown_name("layout", layout, ["auto", *LAYOUTS]))
        self._paths = files_in(self.path)
        if not self._paths:
            raise DataError(f"{self.path}: no file that ends with {' or '.join(SUFFIXES)}")
        self._facts = look_into(self.path, self._paths, f"hdf5 {layout}", partial(look, layout=layout))
        self.layout = self._agreed("layout")
        self._instruction, self._flip_images = instruction, flip_images
        self._demos = _demos(self.path, self._facts, filter_key)
        self._lengths = np.array([length for _, _, length in self._demos], np.int64)
        self.action_space = self._action_space(control_hz, max_velocity)
        self.cameras = self._cameras()
        self.proprio_names = tuple(name for key in self._agreed("features") for name in self._layout.features[key])
        options = {"layout": self.layout, "filter_key": filter_key, "flip_images": flip_images}
        self.provenance = {"dataset": self.layout, "files": len(self._paths), "options": options}
        self._files = HDF5Files(max_open)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        if not path.is_dir():
            return path.suffix in SUFFIXES
        entries = _glance(path)
        folders = (Path(entry) for entry in entries if entry.is_dir())
        return any(Path(entry).suffix in SUFFIXES for entry in (*entries, *chain.from_iterable(map(_glance, folders))))

    def __len__(self) -> int:
        return len(self._demos)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    @property
    def num_open(self) -> int:
        """Number of files open in this process."""
        return self._files.num_open

    @property
    def _layout(self) -> Layout:
        return LAYOUTS[self.layout]

    @cached_property
    def fingerprint(self) -> str:
        names = [str(file.relative_to(self.path)) for file in self._paths]
        sizes = [file.stat().st_size for file in self._paths]
        options = [self._instruction, self._flip_images, self._demos, self.action_space.control_hz]
        described = json.dumps([names, sizes, self._facts, options, self.action_space.high.tolist()], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    def task(self, episode: int) -> str:
        return self._about(episode)["task"]

    def instruction(self, episode: int) -> str:
        text = self._instruction or self._about(episode)["instruction"]
        if not text:
            raise DataError(f"{self.file(episode)}: no instruction in it, nor in its name; set the option instruction")
        return text

    def file(self, episode: int) -> Path:
        return self._paths[self._demos[episode][0]]

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        number, demo, length = self._demos[episode]
        path, facts = self._paths[number], self._facts[number]
        where = place(path, demo)
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < length):
                raise DataError(f"{where} has {length} steps, asked for {asked}")
        images = {name: facts["cameras"][name][0] for name in self._known(cameras) if name in facts["cameras"]}
        proprio = [self._numbers(path, demo, key, frames, self._layout.features[key]) for key in facts["features"]]
        actions = self._numbers(path, demo, ACTIONS, steps, self.action_space.names)
        if not self._layout.has_arm:
            self._check_velocity(where, actions, steps)
        return Steps(
            images={name: self._pictures(path, demo, key, frames, facts) for name, key in images.items()},
            proprio=np.concatenate(proprio, axis=1) if proprio else None,
            actions=actions,
        )

    # ------------------------------------------------------------------------------------------------------- reading

    def _numbers(self, path: Path, demo: str, key: str, steps: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        values = self._files.rows(path, f"{demo}/{key}", steps).astype(np.float32)
        if values.shape[1:] != (len(names),):
            raise DataError(
                f"{place(path, demo)}/{key}: expected {len(names)} numbers a step, found {list(values.shape[1:])}"
            )
        check_finite(values, place(path, demo), key, names, steps)
        return values

    def _pictures(self, path: Path, demo: str, key: str, steps: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
        pictures = self._files.rows(path, f"{demo}/{key}", steps)
        size = next(tuple(size) for array, *size in facts["cameras"].values() if array == key)
        if pictures.shape[1:] != (*size, 3) or pictures.dtype != np.uint8:
            raise DataError(
                f"{place(path, demo)}/{key}: expected uint8 [T, {size[0]}, {size[1]}, 3] as in the file's first "
                f"demonstration, found {pictures.dtype} [T, {', '.join(map(str, pictures.shape[1:]))}]"
            )
        return np.ascontiguousarray(pictures[:, ::-1]) if self._is_flipped(facts) else pictures

    def _is_flipped(self, facts: dict[str, Any]) -> bool:
        return facts["about"]["is_upside_down"] if self._flip_images is None else self._flip_images

    def _check_velocity(self, where: str, actions: np.ndarray, steps: np.ndarray) -> None:
        is_beyond = np.abs(actions) > self.action_space.high + _ROUNDING
        if is_beyond.any():
            row, column = np.argwhere(is_beyond)[0]
            dimension = self.action_space.dimensions[column]
            raise DataError(
                f"{where}, step {steps[row]}: action {dimension.name!r} is {actions[row, column]:g} {dimension.unit}, "
                f"beyond ±{dimension.high:g}; set the option max_velocity: [m/s, rad/s] to what the robot can do"
            )

    def _known(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        known = [camera.name for camera in self.cameras]
        for name in cameras:
            if name not in known:
                raise DataError(unknown_name("camera", name, known))
        return cameras

    # --------------------------------------------------------------------------------------------------- description

    def _about(self, episode: int) -> dict[str, Any]:
        return self._facts[self._demos[episode][0]]["about"]

    def _agreed(self, *keys: str) -> Any:
        """What all files say under a key, or a key of a key."""
        said = [reduce(dict.__getitem__, keys, facts) for facts in self._facts]
        for file, value in zip(self._paths, said, strict=True):
            if value != said[0]:
                name = ".".join(keys)
                raise DataError(f"{file}: {name} is {value}, but {said[0]} in {self._paths[0]}; open them apart")
        return said[0]

    def _action_space(self, control_hz: int | float | None, max_velocity: Sequence[int | float] | None) -> ActionSpace:
        hz = self._agreed("about", "control_hz") if control_hz is None else control_hz
        if hz is None:
            raise ConfigError(f"{self.path}: the files do not say their rate; set the option control_hz, in 1/s")
        size, frame = self._agreed("action"), self._agreed("about", "frame")
        if not self._layout.has_arm:
            return _base_space(self.path, size, float(hz), MAX_VELOCITY if max_velocity is None else max_velocity)
        if max_velocity is not None:
            raise ConfigError(f"{self.path}: max_velocity is for mobile bases; actions of {self.layout} are within ±1")
        if size != len(_ARM) + 1:
            raise DataError(f"{self.path}: actions have {size} numbers; one arm of robosuite has {len(_ARM) + 1}")
        return _arm_space(self._agreed("about", "output_max"), frame, float(hz))

    def _cameras(self) -> tuple[CameraSpec, ...]:
        """The cameras of all files; one of several sizes is refused."""
        sizes: dict[str, tuple[list[int], Path]] = {}
        for file, facts in zip(self._paths, self._facts, strict=True):
            for name, (_, *size) in facts["cameras"].items():
                known, other = sizes.setdefault(name, (size, file))
                if known != size:
                    raise DataError(
                        f"{file}: camera {name!r} has {size} pixels, but {known} in {other}; open them apart"
                    )
        is_usual = self._flip_images is None or all(
            facts["about"]["is_upside_down"] == self._flip_images for facts in self._facts
        )
        kind = self.layout if is_usual else f"{self.layout}/upside_down"
        return tuple(
            CameraSpec(name=name, height=height, width=width, source=f"{kind}/{name}")
            for name, ((height, width), _) in sorted(sizes.items())
        )


def files_in(path: Path) -> list[Path]:
    """HDF5 files: `path` itself, or those in it and one folder deeper, in natural order."""
    if path.is_file():
        return [path]
    found = [file for pattern in ("*", "*/*") for file in path.glob(pattern) if file.suffix in SUFFIXES]
    visible = [file for file in found if not file.name.startswith(".")]
    return sorted(visible, key=lambda file: natural(str(file.relative_to(path))))


def _glance(folder: Path) -> list[os.DirEntry[str]]:
    """Some entries of a folder, which may hold millions; none of one that may not be read."""
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, _GLANCE))
    except PermissionError:
        return []


def _demos(path: Path, facts: Sequence[dict[str, Any]], filter_key: str | None) -> list[tuple[int, str, int]]:
    """Number of the file, name and length of each demonstration."""
    known = {key for one in facts for key in one["masks"]}
    if filter_key is not None and filter_key not in known:
        raise ConfigError(f"{path}: " + unknown_name("filter_key", filter_key, known))
    chosen = []
    for number, one in enumerate(facts):
        mask = one["masks"].get(filter_key, [])
        chosen += [(number, demo, n) for demo, n in one["demos"] if filter_key is None or Path(demo).name in mask]
    if not chosen:
        raise DataError(f"{path}: filter_key {filter_key!r} leaves no demonstration")
    return chosen


def _arm_space(output_max: Sequence[float], frame: Any, hz: float) -> ActionSpace:
    units = [f"{scale:g} {unit}" for scale, unit in zip(output_max, ["m"] * 3 + ["rad"] * 3, strict=True)]
    arm = [ActionDimension(name=name, unit=unit, low=-1.0, high=1.0) for name, unit in zip(_ARM, units, strict=True)]
    return ActionSpace(
        dimensions=(*arm, ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")),
        frame=frame,
        is_delta=True,
        rotation="axis_angle",
        gripper_opens="negative",
        control_hz=hz,
    )


def _base_space(path: Path, size: int, hz: float, max_velocity: Sequence[int | float]) -> ActionSpace:
    """Velocities of a base in its own frame; a velocity counts as relative to where the base is."""
    if size not in (2, 3):
        raise DataError(f"{path}: actions have {size} numbers; a mobile base has {_BASE[:2]} or {_BASE}")
    if len(max_velocity) != 2:
        raise ConfigError(f"max_velocity: expected two numbers, m/s and rad/s, got {list(max_velocity)}")
    linear, angular = (float(limit) for limit in max_velocity)
    limits = ((linear, "m/s"), (linear, "m/s"), (angular, "rad/s"))
    return ActionSpace(
        dimensions=tuple(
            ActionDimension(name=name, unit=unit, low=-limit, high=limit, kind="base")
            for name, (limit, unit) in zip(_BASE[:size], limits, strict=False)
        ),
        frame="base",
        is_delta=True,
        control_hz=hz,
    )
