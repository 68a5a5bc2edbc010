"""Write RLDS folders as TensorFlow Datasets does, with the `tfrecord` package and protobuf."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from tfrecord.writer import TFRecordWriter


def example_class() -> Any:
    """tf.train.Example, from a description of its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="test", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int | str, str]) -> None:
        entry = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            added = entry.field.add(name=field, number=number, label=3 if label == "many" else 1)
            if isinstance(kind, str):
                added.type, added.type_name = 11, f".test.{kind}"
            else:
                added.type = kind

    message("BytesList", ("value", 1, 12, "many"))
    message("FloatList", ("value", 1, 2, "many"))
    message("Int64List", ("value", 1, 3, "many"))
    message(
        "Feature",
        ("bytes_list", 1, "BytesList", "one"),
        ("float_list", 2, "FloatList", "one"),
        ("int64_list", 3, "Int64List", "one"),
    )
    message("Entry", ("key", 1, 9, "one"), ("value", 2, "Feature", "one"))
    message("Features", ("feature", 1, "Entry", "many"))
    message("Example", ("features", 1, "Features", "one"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Example"))


def encode(values: Mapping[str, Any], example: Any) -> bytes:
    """Serialise key -> list of bytes, or array of floats or integers, with protobuf."""
    made = example()
    for key, entries in values.items():
        feature = made.features.feature.add(key=key).value
        kind, numbers = _kind(entries)
        getattr(feature, {"byte": "bytes_list", "float": "float_list", "int": "int64_list"}[kind]).value.extend(numbers)
    return made.SerializeToString()


def _kind(entries: Any) -> tuple[str, list[Any]]:
    if not isinstance(entries, np.ndarray):
        return "byte", list(entries)
    if entries.dtype.kind == "f":
        return "float", entries.ravel().tolist()
    return "int", entries.ravel().astype(int).tolist()


def picture(pixels: np.ndarray, encoding: str = "png") -> bytes:
    """A frame as bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, encoding, **({"quality": 95} if encoding == "jpeg" else {}))
    return file.getvalue()


def bridge_episode(episode: int, length: int, *, size: int = 8, instruction: str | None = None) -> dict[str, Any]:
    """An episode with the keys of bridge_orig: frames whose first pixel is (episode, step, camera)."""
    rng = np.random.default_rng(episode)
    frames = {}
    for camera in range(2):
        pixels = rng.integers(0, 256, (length, size, size, 3), np.uint8)
        pixels[:, 0, 0] = [(episode, step, camera) for step in range(length)]
        frames[f"steps/observation/image_{camera}"] = [picture(frame) for frame in pixels]
    step = np.arange(length, dtype=np.float32)
    actions = np.stack([step / 100, -step / 100, np.full(length, episode / 100), *[step * 0] * 3, step % 2], axis=1)
    text = f"do thing {episode}" if instruction is None else instruction
    return {
        **frames,
        "steps/action": actions.astype(np.float32),
        "steps/observation/state": np.stack([step + i for i in range(7)], axis=1).astype(np.float32),
        "steps/language_instruction": [text.encode()] * length,
        "steps/is_first": (step == 0).astype(np.int64),
        "steps/is_last": (step == length - 1).astype(np.int64),
        "steps/is_terminal": (step == length - 1).astype(np.int64),
        "episode_metadata/file_path": [f"/raw/{episode}.npy".encode()],
    }


def rt1_episode(episode: int, length: int, *, size: int = 10) -> dict[str, Any]:
    """An episode with the keys of fractal20220817_data."""
    rng = np.random.default_rng(100 + episode)
    gripper = np.zeros((length, 1), np.float32)
    gripper[length // 2] = 1.0  # close
    pixels = rng.integers(0, 256, (length, size, size + 2, 3), np.uint8)
    return {
        "steps/observation/image": [picture(frame, "jpeg") for frame in pixels],
        "steps/observation/natural_language_instruction": [f"pick {episode}".encode()] * length,
        "steps/observation/base_pose_tool_reached": rng.random((length, 7)).astype(np.float32),
        "steps/observation/gripper_closed": np.zeros((length, 1), np.float32),
        "steps/action/world_vector": rng.normal(0, 0.02, (length, 3)).astype(np.float32),
        "steps/action/rotation_delta": rng.normal(0, 0.05, (length, 3)).astype(np.float32),
        "steps/action/gripper_closedness_action": gripper,
        "steps/is_first": (np.arange(length) == 0).astype(np.int64),
    }


def write_rlds(
    path: Path, shards: Sequence[Sequence[Mapping[str, Any]]], *, name: str = "bridge_orig", version: str = "1.0.0"
) -> Path:
    """Write a split "train" of episodes given as key -> values.

    Returns:
        The folder with the version.
    """
    folder = path / name / version
    folder.mkdir(parents=True)
    for number, episodes in enumerate(shards):
        writer = TFRecordWriter(str(folder / f"{name}-train.tfrecord-{number:05d}-of-{len(shards):05d}"))
        for episode in episodes:
            writer.write({key: _kind(values)[::-1] for key, values in episode.items()})
        writer.close()
    split = {
        "name": "train",
        "shardLengths": [str(len(episodes)) for episodes in shards],
        "numBytes": "1",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    description = {"name": name, "version": version, "fileFormat": "tfrecord", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(description))
    keys = sorted(shards[0][0])
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": {key: {} for key in keys}}}))
    return folder
