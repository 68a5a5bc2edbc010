"""Write small folders in the format in which CALVIN is released; every frame says in its pixels which one it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_calvin(
    path: Path,
    spans: Sequence[tuple[int, int]],
    tasks: Sequence[str],
    *,
    frames_size: int = 16,
    wrist_size: int | None = None,
    instructions: Sequence[str] | None = None,
    recordings: Sequence[tuple[int, int]] | None = None,
) -> Path:
    """Write one split of CALVIN: its frames, language annotations and recordings.

    Args:
        path: the split's folder, for example `tmp_path / "training"`.
        spans: (start, end) of each annotation, as CALVIN writes them: it has frames start to end - 1.
        tasks: task of each annotation.
        frames_size: height and width of the static camera; 200 in the released data.
        wrist_size: of the camera at the gripper, 84 in the released data; None = as the static one.
        instructions: what was asked for; None makes one of the task.
        recordings: (first, last) frame of each recording; None = one per annotation, with frame `end` as its last.

    Returns:
        `path`.
    """
    path.mkdir(parents=True)
    recordings = list(spans) if recordings is None else list(recordings)
    for frame in sorted({frame for first, last in recordings for frame in range(first, last + 1)}):
        sizes = frames_size, frames_size if wrist_size is None else wrist_size
        np.savez_compressed(path / f"episode_{frame:07d}.npz", **calvin_frame(frame, *sizes))
    sentences = [f"please {task.replace('_', ' ')}" for task in tasks] if instructions is None else list(instructions)
    annotations = {
        "language": {"ann": sentences, "task": list(tasks), "emb": np.zeros((len(tasks), 1, 8), np.float32)},
        "info": {"episodes": [], "indx": [(int(start), int(end)) for start, end in spans]},
    }
    write_annotations(path, annotations)
    np.save(path / "ep_start_end_ids.npy", np.array(recordings, np.int64))
    np.save(path / "scene_info.npy", {"calvin_scene_D": list(recordings[0])}, allow_pickle=True)
    return path


def write_annotations(path: Path, annotations: Any) -> Path:
    """Write whatever object as the annotation file of a split, as CALVIN does: a pickle in an array."""
    file = path / "lang_annotations" / "auto_lang_ann.npy"
    file.parent.mkdir(exist_ok=True)
    np.save(file, annotations, allow_pickle=True)
    return file


def calvin_frame(frame: int, static_size: int, wrist_size: int) -> dict[str, np.ndarray]:
    """Arrays of one frame; pixel [0, 0] is (frame // 256 % 256, frame % 256, camera), the others are noise."""
    rng = np.random.default_rng(frame)
    static = rng.integers(0, 256, (static_size, static_size, 3), np.uint8)
    wrist = rng.integers(0, 256, (wrist_size, wrist_size, 3), np.uint8)
    static[0, 0], wrist[0, 0] = [(frame // 256 % 256, frame % 256, camera) for camera in (0, 1)]
    gripper = 1.0 if frame % 20 < 10 else -1.0
    robot_obs = calvin_robot_obs(frame)
    target = np.concatenate([calvin_robot_obs(frame + 1)[:6], [gripper]])
    relative = np.clip((target[:6] - robot_obs[:6]) * np.repeat([50.0, 20.0], 3), -1, 1)
    return {
        "rgb_static": static,
        "rgb_gripper": wrist,
        "actions": target,
        "rel_actions": np.concatenate([relative, [gripper]]),
        "robot_obs": robot_obs,
        "scene_obs": rng.normal(size=24),
    }


def calvin_robot_obs(frame: int) -> np.ndarray:
    """Proprioception of one frame, float64 [15]: the gripper looks down and wanders."""
    phase = 0.1 * frame
    position = 0.1 * np.array([np.sin(phase), np.cos(phase), np.sin(2 * phase)]) + [0.0, -0.1, 0.5]
    angles = 0.2 * np.array([np.sin(phase), np.cos(phase), np.sin(3 * phase)]) + [2.8, 0.0, 1.5]
    return np.concatenate([position, angles, [0.08], np.linspace(-1, 1, 7) * np.cos(phase), [1.0]])
