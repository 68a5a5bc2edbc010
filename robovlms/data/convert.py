"""Any dataset as a LeRobot v3.0 dataset, which opens at once and gives any window quickly.

Meaning of the actions, names, instructions and seeds are kept; where the data came from is added to the provenance. An
interrupted conversion goes on where it was and ends with the same bytes.
"""

import dataclasses
from pathlib import Path
from typing import Any

from robovlms.actions.contract import CameraSpec
from robovlms.data.sources.base import Episode, EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter, Storage
from robovlms.data.sources.registry import SOURCES
from robovlms.errors import ConfigError, DataError
from robovlms.progress import ProgressBar
from robovlms.resize import resize_frames

_STEPS_PER_CHECKPOINT = 20_000  # a minute or two of work; files end there, some 200 MB with two cameras


def convert_dataset(
    source: EpisodeSource,
    out: Path,
    *,
    storage: Storage = "video",
    image_size: int | None = None,
    num_episodes: int | None = None,
    skip_unreadable: bool = False,
    show_progress: bool = True,
    steps_per_checkpoint: int = _STEPS_PER_CHECKPOINT,
) -> Path:
    """Write a dataset in the LeRobot v3.0 layout.

    Args:
        source: any dataset.
        out: folder to create; must not exist, or be empty.
        storage: "video" is small and fast, and lossy; "png" keeps every pixel; "raw" too, without packing them, which
            is read fastest and takes most room.
        image_size: height and width of the new frames in pixels, as `data.image_size` does it in training; None keeps
            each camera's.
        num_episodes: how many episodes, from the first; None takes all.
        skip_unreadable: leave out episodes that cannot be read and say which in the provenance, instead of stopping.
        show_progress: whether to show how far it is.
        steps_per_checkpoint: what an interruption may cost at most.

    Returns:
        `out`.

    Raises:
        ConfigError: if a number is not positive.
        DataError: if the folder exists, an episode cannot be read, or frames do not suit the storage.
    """
    if num_episodes is not None and not 1 <= num_episodes <= len(source):
        raise ConfigError(f"num_episodes: expected 1 … {len(source)}, got {num_episodes}")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size: expected a positive number of pixels, got {image_size}")
    origin = _origin(source) | {"image_size": image_size, "num_episodes": num_episodes}
    settings = origin | {"storage": storage, "skip_unreadable": skip_unreadable, "per_checkpoint": steps_per_checkpoint}
    writer = LeRobotWriter(
        out,
        action_space=source.action_space,
        cameras=tuple(_resized_camera(camera, image_size) for camera in source.cameras),
        proprio_names=source.proprio_names,
        fps=source.action_space.control_hz,
        robot_type=_robot_type(source),
        storage=storage,
        provenance=dict(source.provenance),
        settings=settings,
    )
    with writer:
        left_out = _write_all(source, writer, num_episodes or len(source), settings, show_progress)
        writer.provenance["converted_from"] = origin | ({"left_out": left_out} if left_out else {})
    return out


def _write_all(
    source: EpisodeSource, writer: LeRobotWriter, num_episodes: int, settings: dict[str, Any], show_progress: bool
) -> list[int]:
    """Write what is not written yet; return the episodes that were left out."""
    begin, left_out = writer.progress.get("next", 0), list(writer.progress.get("left_out", []))
    steps = source.lengths[:num_episodes]
    title, kept = f"converting {source.path.name}", writer.num_frames
    with ProgressBar(
        title, int(steps.sum()), done=int(steps[:begin].sum()), unit="steps", is_shown=show_progress
    ) as bar:
        for i in range(begin, num_episodes):
            episode = _read(source, i, settings["skip_unreadable"], show_progress)
            if episode is None:
                left_out.append(i)
            else:
                writer.add_episode(_resized(episode, settings["image_size"]))
            if writer.num_frames - kept >= settings["per_checkpoint"]:
                writer.checkpoint({"next": i + 1, "left_out": left_out})
                kept = writer.num_frames
            bar.advance(int(steps[i]), info=f"{len(left_out)} episodes left out" if left_out else "")
    return left_out


def _read(source: EpisodeSource, episode: int, skip_unreadable: bool, show_progress: bool) -> Episode | None:
    """An episode; None if it cannot be read and that is not to stop the conversion."""
    try:
        if source.lengths[episode] == 0:
            raise DataError(f"{source.file(episode)}: episode {episode} has no step")
        return source.read_episode(episode)
    except DataError as error:
        if not skip_unreadable:
            raise DataError(f"{error}; to leave such episodes out: --skip_unreadable") from error
        if show_progress:
            print(f"left out: {error}", flush=True)
        return None


def _resized(episode: Episode, image_size: int | None) -> Episode:
    if image_size is None:
        return episode
    images = {name: resize_frames(frames, image_size, image_size) for name, frames in episode.steps.images.items()}
    return dataclasses.replace(episode, steps=dataclasses.replace(episode.steps, images=images))


def _resized_camera(camera: CameraSpec, image_size: int | None) -> CameraSpec:
    return camera if image_size is None else dataclasses.replace(camera, height=image_size, width=image_size)


def _origin(source: EpisodeSource) -> dict[str, Any]:
    """Where the data comes from; no folder of this machine but the last."""
    format = next((name for name, kind in SOURCES.items() if kind is type(source)), type(source).__name__)
    return {
        "format": format,
        "name": str(source.provenance.get("name") or source.path.absolute().name),
        "fingerprint": source.fingerprint,
    }


def _robot_type(source: EpisodeSource) -> str:
    known = source.description.info.get("robot_type") if isinstance(source, LeRobotSource) else None
    return str(known or source.provenance.get("robot", "unknown"))
