"""Checks of the mp4 files of a LeRobot dataset; frames are counted without decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from robovlms.data.checks.fault import Fault
from robovlms.data.checks.lerobot_folder import EpisodeRow, LeRobotFolder

_FPS_TOLERANCE = 0.02  # share by which the rate in the file may differ


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a video's index says.

    Attributes:
        num_frames: packets with pictures.
        fps: frames per second.
        height, width: in pixels.
    """

    num_frames: int
    fps: float
    height: int
    width: int


def video_facts(file: Path) -> VideoFacts:
    """Read the index of a video.

    Raises:
        av.FFmpegError, OSError, IndexError, ValueError: if it is damaged or holds no video.
    """
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("its header does not say how it is encoded")
        num_frames = sum(packet.size > 0 for packet in container.demux(stream))
        return VideoFacts(
            num_frames=num_frames, fps=float(stream.average_rate or 0), height=stream.height, width=stream.width
        )


def check_videos(folder: LeRobotFolder) -> Iterator[Fault]:
    """Every video is there, opens, has the size and the rate of the dataset and a frame for every step."""
    for key in folder.video_keys:
        files: dict[Path, list[EpisodeRow]] = {}
        for row in folder.episodes:
            if key in row.videos:
                files.setdefault(row.videos[key][0], []).append(row)
        for file, rows in files.items():
            yield from _check_video(folder, key, file, rows)


def _check_video(folder: LeRobotFolder, key: str, file: Path, rows: list[EpisodeRow]) -> Iterator[Fault]:
    place = {"file": file, "key": key, "episode": rows[0].index}
    if not file.is_file():
        text = f"{file} is missing; it shows episodes {rows[0].index} to {rows[-1].index}"
        yield Fault(check="missing_file", message=text, **place)
        return
    try:
        facts = video_facts(file)
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        text = f"{file}: not readable as video: {error}"
        yield Fault(check="damaged_file", message=" ".join(text.split()), **place)
        return
    yield from _check_size(folder, key, file, facts)
    if abs(facts.fps - folder.fps) > _FPS_TOLERANCE * folder.fps:
        yield Fault(
            check="fps",
            expected=f"{folder.fps:g}",
            seen=f"{facts.fps:g}",
            message=f"{file}: {facts.fps:g} frames per second, but the dataset has {folder.fps:g}",
            **place,
        )
        return  # how many frames there should be is not known
    yield from _check_count(folder, key, file, rows, facts)


def _check_size(folder: LeRobotFolder, key: str, file: Path, facts: VideoFacts) -> Iterator[Fault]:
    shape = sorted(folder.features[key].get("shape") or [])
    if len(shape) == 3 and sorted([facts.height, facts.width, 3]) != shape:
        yield Fault(
            check="frame_size",
            file=file,
            key=key,
            expected=str(folder.features[key]["shape"]),
            seen=str([facts.height, facts.width, 3]),
            message=f"{file}: frames are {facts.height} x {facts.width}, but info.json says "
            f"{folder.features[key]['shape']}",
        )


def _check_count(
    folder: LeRobotFolder, key: str, file: Path, rows: list[EpisodeRow], facts: VideoFacts
) -> Iterator[Fault]:
    """The last episode must end where the video does."""
    ends = [round(row.videos[key][1] * folder.fps) + row.length for row in rows]
    for row, end in zip(rows, ends, strict=True):
        if end > facts.num_frames:
            begin = end - row.length
            yield Fault(
                check="video_frames",
                file=file,
                episode=row.index,
                step=max(0, facts.num_frames - begin),
                key=key,
                expected=f"{end} frames",
                seen=f"{facts.num_frames} frames",
                message=f"{file}: {facts.num_frames} frames, but episode {row.index} has {row.length} steps and ends "
                f"with frame {end}",
            )
    if ends and max(ends) < facts.num_frames:
        yield Fault(
            check="video_frames",
            severity="warning",
            file=file,
            key=key,
            expected=f"{max(ends)} frames",
            seen=f"{facts.num_frames} frames",
            message=f"{file}: {facts.num_frames} frames, but its episodes show only {max(ends)}",
        )
