"""A checkpoint is a folder with everything needed to act, and a sub-folder with everything needed to go on training.

::

    step_000900/
    ├── model.safetensors     weights
    ├── config.yaml           the run's configuration
    ├── contract.json         what robot or simulator must match
    ├── parity.safetensors    raw observations and the actions they must give, for `robovlms verify`
    ├── parameters.json       size of each part, and how much of it was trained
    ├── vlm/                  configuration and tokenizer of a transformers VLM, if it is one
    └── training/
        ├── optimizer.safetensors   moments, by parameter name
        ├── random.safetensors      state of torch's generator
        ├── state.json              step, and which parameters never had a gradient
        └── data.json               where streams stand, and which windows could not be read

It is written under a temporary name, flushed to disk and renamed, so a folder with a final name is complete. Nothing is
pickled.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robovlms.actions.contract import PolicyContract
from robovlms.config import RunConfig
from robovlms.errors import CheckpointError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_weights, read_text, write_policy_files
from robovlms.run_folder import CHECKPOINTS, TEMPORARY, atomic_folder, checkpoints_of, remove_folder


def save_checkpoint(
    folder: Path,
    model: BaseRoboVLM,
    contract: PolicyContract,
    config: RunConfig,
    parity: Callable[[Path], None],
    optimizer: torch.optim.Optimizer,
    step: int,
    data_state: dict[str, Any],
) -> None:
    """Write one checkpoint, atomically.

    Args:
        folder: final name.
        model: the policy.
        contract: what it was trained on.
        config: of the run.
        parity: writes the parity samples into a given file.
        optimizer: its moments.
        step: optimiser steps done.
        data_state: where the data stands, from `GRDataModule.state`.
    """
    with atomic_folder(folder) as temporary:
        write_policy_files(temporary, model, contract, config, parity)
        (temporary / "training").mkdir()
        _save_training_state(temporary / "training", model, optimizer, step)
        (temporary / "training" / "data.json").write_text(json.dumps(data_state))


def prune_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints of a run, and what an interruption left half-written."""
    for folder in checkpoints_of(run)[:-keep]:
        remove_folder(folder)
    for folder in (run / CHECKPOINTS).glob(f"{TEMPORARY}*"):
        shutil.rmtree(folder)


def load_training_state(
    folder: Path, model: BaseRoboVLM, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    """Restore weights, optimiser and random state exactly; return the number of steps done and the data's state.

    Raises:
        CheckpointError: if the checkpoint does not fit the model.
    """
    load_weights(model, folder / "model.safetensors")
    training = folder / "training"
    moments = _read_tensors(training / "optimizer.safetensors")
    state = _read_state(training / "state.json")
    for name, parameter in _trained(model).items():
        if name in state["without_gradient"]:
            continue
        keys = {key: f"{name}/{key}" for key in ("step", "exp_avg", "exp_avg_sq")}
        missing = [key for key in keys.values() if key not in moments]
        if missing:
            raise CheckpointError(f"{training / 'optimizer.safetensors'}: missing {missing[0]!r}")
        optimizer.state[parameter] = {key: moments.pop(full).to(parameter.device) for key, full in keys.items()}
    if moments:
        raise CheckpointError(f"{training / 'optimizer.safetensors'}: unknown {min(moments)!r}")
    torch.set_rng_state(_read_tensors(training / "random.safetensors")["torch"])
    return state["step"], _read_data_state(training / "data.json")


def _save_training_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    moments = {
        f"{name}/{key}": value.contiguous()
        for name, parameter in _trained(model).items()
        for key, value in optimizer.state[parameter].items()
    }
    save_file(moments, folder / "optimizer.safetensors")
    save_file({"torch": torch.get_rng_state()}, folder / "random.safetensors")
    without = [name for name, parameter in _trained(model).items() if not optimizer.state[parameter]]
    (folder / "state.json").write_text(json.dumps({"step": step, "without_gradient": without}))


def _read_state(file: Path) -> dict[str, Any]:
    try:
        state = json.loads(read_text(file))
        return {"step": int(state["step"]), "without_gradient": set(state["without_gradient"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _read_data_state(file: Path) -> dict[str, Any]:
    try:
        state = json.loads(read_text(file))
        return {"lanes": dict(state["lanes"]), "num_lanes": int(state["num_lanes"]), "bad": list(state["bad"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
