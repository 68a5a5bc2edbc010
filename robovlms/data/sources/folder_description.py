"""`dataset.yaml`: what a plain folder of frames and tables means."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError, DataError
from robovlms.typed_yaml import build, check_types, read_yaml, require

DESCRIPTION = "dataset.yaml"


@dataclass(frozen=True, kw_only=True)
class FolderDescription:
    """What `dataset.yaml` says.

    Attributes:
        action_space: meaning of the action numbers; the name of a dimension is that of its column.
        cameras: camera -> where an episode keeps its frames: a folder of pictures, a pattern such as "front_*.png", or
            a video.
        proprio: columns with the robot's state.
        instruction: of every episode that does not say its own.
        instruction_column: column that holds it.
        robot: name of the robot; part of what makes a camera's pictures.
    """

    action_space: ActionSpace
    cameras: dict[str, Any]  # of texts, as the check below makes sure
    proprio: tuple[str, ...] = ()
    instruction: str | None = None
    instruction_column: str | None = None
    robot: str = "folder"

    def __post_init__(self) -> None:
        for camera, pattern in self.cameras.items():
            is_text = isinstance(pattern, str) and pattern != ""
            require(is_text, f"cameras.{camera}: expected a folder, a pattern or a video, got {pattern!r}")
        require(
            self.instruction is None or self.instruction_column is None,
            f"instruction is {self.instruction!r} and instruction_column {self.instruction_column!r}; give one of them",
        )
        names = self.proprio
        require(len(set(names)) == len(names), f"proprio: expected different columns, got {list(names)}")


@dataclass(frozen=True, kw_only=True)
class EpisodeNote:
    """What `episode.yaml` or `episode.json` says.

    Attributes:
        instruction: what the robot was asked to do.
        task: name, for grouping; None = the instruction.
    """

    instruction: str | None = None
    task: str | None = None


def read_description(path: Path) -> FolderDescription:
    """Read `dataset.yaml`.

    Raises:
        DataError: if it is damaged; names what is missing, or the nearest known key.
    """
    return _read(path, FolderDescription)


def read_note(path: Path) -> EpisodeNote:
    """Read `episode.yaml` or `episode.json`, which YAML reads as well.

    Raises:
        DataError: if it is damaged; names the nearest known key.
    """
    return _read(path, EpisodeNote)


def _read(path: Path, section: type) -> Any:
    try:
        values = check_types(section, read_yaml(path), where=f"{path}: ")
        _require_all(section, values, f"{path}: ")
        return build(section, values)
    except ConfigError as error:
        said = str(error)
        raise DataError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _require_all(section: type, values: dict[str, Any], where: str) -> None:
    """Every field without a default must be there, also within the action space."""
    for field in dataclasses.fields(section):
        has_default = field.default is not dataclasses.MISSING
        require(has_default or values.get(field.name) is not None, f"{where}{field.name} is missing")
    if section is FolderDescription:
        _require_all(ActionSpace, values["action_space"], f"{where}action_space.")
    if section is ActionSpace:
        for i, dimension in enumerate(values["dimensions"]):
            _require_all(ActionDimension, dimension, f"{where}dimensions[{i}].")
