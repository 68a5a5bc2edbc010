"""Loading a policy from a checkpoint folder, drawn in `robovlms.train.checkpoint`, which writes it."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from robovlms.actions.contract import PolicyContract
from robovlms.config import RunConfig, load_config
from robovlms.errors import CheckpointError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_policy

STEP_PREFIX = "step_"


def checkpoints_of(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob(f"{STEP_PREFIX}*"))


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint at `path`, or the newest one of the run at `path`.

    Raises:
        CheckpointError: if there is none.
    """
    if (path / "model.safetensors").is_file():
        return path
    found = checkpoints_of(path)
    if not found:
        reason = "holds no checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{path} {reason}; expected a checkpoint (a folder with model.safetensors) or a run (with checkpoints/)"
        )
    return found[-1]


def load_policy(path: Path) -> tuple[BaseRoboVLM, PolicyContract, RunConfig]:
    """Load the policy of a checkpoint (or of the newest checkpoint of a run), in evaluation mode on the CPU.

    Raises:
        CheckpointError: if a file is missing, damaged, or of another model; names the file and the first wrong key.
    """
    folder = find_checkpoint(path)
    config = load_config(folder / "config.yaml")
    contract = PolicyContract.from_json(read_text(folder / "contract.json"))
    assets = folder / "vlm"
    model = build_policy(
        config.model, contract.action_space, len(contract.proprio_names), assets=assets if assets.is_dir() else None
    )
    load_weights(model, folder / "model.safetensors")
    if model.prompt_encoder.fingerprint != contract.tokenizer_fingerprint:
        raise CheckpointError(f"{folder}: the tokenizer differs from the one of training")
    return model.eval(), contract, config


def load_weights(model: nn.Module, file: Path) -> None:
    """Load `file` into `model`, every key matched.

    Raises:
        CheckpointError: names the first keys that are missing, unknown or of another shape.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    try:
        load_model(model, file, strict=True)
    except (RuntimeError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CheckpointError(f"{file} does not fit the model: " + "; ".join(lines[:3])) from error


def read_text(file: Path) -> str:
    """Read a file of a checkpoint.

    Raises:
        CheckpointError: if it cannot be read.
    """
    try:
        return file.read_text()
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from error
