"""The `meta` folder of a LeRobot v3.0 dataset, written when all episodes are there; `info.json` comes last."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.video import CODEC, PIXEL_FORMAT
from robovlms.data.statistics import summarize

if TYPE_CHECKING:
    from robovlms.data.sources.lerobot_writer import LeRobotWriter

_ROWS_PER_FILE = 10_000  # episodes; 2 kB each


def write_meta(folder: Path, writer: "LeRobotWriter") -> None:
    """Write all of `meta` for the episodes that `writer` has taken."""
    (folder / "meta").mkdir()
    _write_json(folder / layout.STATS, _statistics(writer))
    _write_tasks(folder / layout.TASKS, list(writer.instructions))
    _write_episodes(folder, writer.rows)
    _write_json(folder / layout.ROBOVLMS, _ours(writer))
    _write_json(folder / layout.INFO, _info(writer))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _statistics(writer: "LeRobotWriter") -> dict[str, Any]:
    numbers = {key: summarize(np.concatenate(kept)) for key, kept in writer.numbers.items()}
    pictures = {
        key: histogram.summarize(sum(row.get(f"stats/{key}/count", [0])[0] for row in writer.rows))
        for key, histogram in writer.histograms.items()
        if histogram.counts.any()
    }
    return numbers | pictures


def _ours(writer: "LeRobotWriter") -> dict[str, Any]:
    return {
        "action_space": dataclasses.asdict(writer.action_space),
        "cameras": [dataclasses.asdict(camera) for camera in writer.cameras],
        "proprio_names": writer.proprio_names,
        "provenance": writer.provenance,
    }


def _info(writer: "LeRobotWriter") -> dict[str, Any]:
    return {
        "codebase_version": layout.VERSION,
        "robot_type": writer.robot_type,
        "total_episodes": len(writer.rows),
        "total_frames": writer.num_frames,
        "total_tasks": len(writer.instructions),
        "chunks_size": layout.FILES_PER_CHUNK,
        "data_files_size_in_mb": writer.data_file_mb,
        "video_files_size_in_mb": writer.video_file_mb,
        "fps": writer.fps,
        "splits": {"train": f"0:{len(writer.rows)}"},
        "data_path": layout.DATA,
        "video_path": layout.VIDEO if writer.storage == "video" else None,
        "features": _features(writer),
    }


def _features(writer: "LeRobotWriter") -> dict[str, Any]:
    def numbers(names: tuple[str, ...]) -> dict[str, Any]:
        return {"dtype": "float32", "shape": [len(names)], "names": list(names)}

    features = {layout.STATE: numbers(writer.proprio_names)} if writer.proprio_names else {}
    features[layout.ACTION] = numbers(writer.action_space.names)
    for camera in writer.cameras:
        shape, names = [camera.height, camera.width, 3], ["height", "width", "channels"]
        features[layout.IMAGES + camera.name] = {"dtype": "image", "shape": shape, "names": names}
        if writer.storage == "video":
            features[layout.IMAGES + camera.name] |= {"dtype": "video", "info": _video_info(shape, writer.fps)}
    indices = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in layout.INDEX_FEATURES.items()}
    return features | indices


def _video_info(shape: list[int], fps: int | float) -> dict[str, Any]:
    height, width, channels = shape
    described = {"height": height, "width": width, "codec": CODEC, "pix_fmt": PIXEL_FORMAT, "fps": fps}
    video = {f"video.{name}": value for name, value in described.items()}
    return {**video, "video.channels": channels, "has_audio": False, "is_depth_map": False}


def _write_tasks(path: Path, instructions: list[str]) -> None:
    """As pandas writes a frame with the column task_index and the index "task"."""
    table = pa.table({"task_index": pa.array(range(len(instructions)), pa.int64()), "task": instructions})
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [_pandas_column(None, "unicode", "object") | {"metadata": {"encoding": "UTF-8"}}],
        "columns": [_pandas_column(*column) for column in columns],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def _pandas_column(name: str | None, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _write_episodes(folder: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, first in enumerate(range(0, len(rows), _ROWS_PER_FILE)):
        part = rows[first : first + _ROWS_PER_FILE]
        place = layout.chunk_and_file(number)
        columns = {name: [row.get(name) for row in part] for name in names}
        columns |= {f"meta/episodes/{name}": [value] * len(part) for name, value in place.items()}
        path = folder / layout.EPISODES.format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: _column(name, values) for name, values in columns.items()}), path)


def _column(name: str, values: list[Any]) -> pa.Array:
    """A column of the episode table; nulls alone would have no type, so those that may be null have theirs."""
    types = {"seed": pa.int64(), "chunk_index": pa.int64(), "file_index": pa.int64()}
    types |= {"from_timestamp": pa.float64(), "to_timestamp": pa.float64()}
    return pa.array(values, type=types.get(name.split("/")[-1]))
