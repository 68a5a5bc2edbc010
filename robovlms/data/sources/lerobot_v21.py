"""Read a dataset in the LeRobot v2.0 or v2.1 layout: a file per episode; `lerobot_layout` draws the folder."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_episodes import Episodes, Texts
from robovlms.errors import DataError

EPISODES, TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"


class LeRobotV21Source(LeRobotSource):
    """A LeRobot v2.0 or v2.1 dataset; arguments as of `LeRobotSource`.

    The statistics per episode that v2.1 keeps have no quantiles, so statistics are computed from all numbers, once.
    """

    format: ClassVar[str] = "lerobot_v21"

    def file(self, episode: int) -> Path:
        return self.path / self.description.info["data_path"].format(**self._place(episode))

    def _place(self, episode: int) -> dict[str, int]:
        chunk = int(episode) // int(self.description.info.get("chunks_size", layout.FILES_PER_CHUNK))
        return {"episode_chunk": chunk, "episode_index": int(episode)}

    def _read_episodes(self) -> Episodes:
        rows = read_lines(self.path / EPISODES, ("episode_index", "length", "tasks"))
        rows.sort(key=lambda row: row["episode_index"])
        total = self.description.info["total_episodes"]
        if [row["episode_index"] for row in rows] != list(range(total)):
            raise DataError(
                f"{self.path}: {layout.INFO} says {total} episodes, but {EPISODES} does not hold each of them once "
                f"({len(rows)} lines)"
            )
        zeros = np.zeros(total, np.int64)
        return Episodes(
            lengths=np.array([row["length"] for row in rows], np.int64),
            instructions=Texts.of(pa.array([row["tasks"] for row in rows], pa.list_(pa.string()))),
            tasks=None,
            seeds=None,
            chunks=zeros,
            files=zeros,
            begins=zeros,
            videos={},
        )

    def _instructions(self) -> dict[int, str]:
        return {row["task_index"]: row["task"] for row in read_lines(self.path / TASKS, ("task_index", "task"))}

    def _data_files(self) -> list[Path]:
        return [self.file(episode) for episode in range(len(self))]

    def _video(self, episode: int, key: str) -> tuple[Path, float] | None:
        pattern = self.description.info["video_path"]
        return self.path / pattern.format(video_key=key, **self._place(episode)), 0.0


def read_lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read a file of JSON lines, each an object with `keys`.

    Raises:
        DataError: names the first line that is not.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append({key: row[key] for key in keys})
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not readable as text: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: expected JSON with {list(keys)}: {type(error).__name__} {error}"
            ) from error
    return rows
