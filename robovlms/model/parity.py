"""Parity samples: a few raw observations and the actions a checkpoint must give for them, on any machine."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from robovlms.actions.contract import PolicyContract
from robovlms.errors import CheckpointError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.inference import ObservationEncoder
from robovlms.types import Observation

ObservationWindow = list[Observation]


def predict_window(encoder: ObservationEncoder, window: ObservationWindow) -> np.ndarray:
    """The chunk, float32 [n, a] in physical units, after seeing the window's observations in order."""
    stream = encoder.model.stream()
    with torch.inference_mode():
        for observation in window:
            features = stream.step(encoder.frames([observation]), [0])
    return encoder.actions(*features)[0]


def save_parity(file: Path, model: BaseRoboVLM, contract: PolicyContract, windows: list[ObservationWindow]) -> None:
    """Write windows of equal length and what the policy answers to each.

    Args:
        file: `parity.safetensors`: per camera `images.<name>` uint8 [s, t, h, w, 3], `proprio` float32 [s, t, p],
            `actions` float32 [s, n, a]; the instructions are in the metadata.
        model: in evaluation mode.
        contract: of the policy.
        windows: s windows of t observations.
    """
    encoder = ObservationEncoder(model, contract)
    tensors = {
        f"images.{camera.name}": np.stack([[o.images[camera.name] for o in window] for window in windows])
        for camera in contract.cameras
    }
    if contract.proprio_names:
        tensors["proprio"] = np.stack([[o.proprio for o in window] for window in windows])
    tensors["actions"] = np.stack([predict_window(encoder, window) for window in windows])
    instructions = json.dumps([window[0].instruction for window in windows])
    save_file(tensors, file, metadata={"instructions": instructions})


def load_parity(file: Path) -> tuple[list[ObservationWindow], np.ndarray]:
    """Return the windows and the expected actions, float32 [s, n, a].

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
            instructions = json.loads(opened.metadata()["instructions"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    cameras = {name.removeprefix("images."): tensors[name] for name in tensors if name.startswith("images.")}
    length = next(iter(cameras.values())).shape[1]
    windows = [
        [
            Observation(
                images={name: frames[s, t] for name, frames in cameras.items()},
                proprio=tensors["proprio"][s, t] if "proprio" in tensors else None,
                instruction=instruction,
                timestamp_s=0.0,
            )
            for t in range(length)
        ]
        for s, instruction in enumerate(instructions)
    ]
    return windows, tensors["actions"]
