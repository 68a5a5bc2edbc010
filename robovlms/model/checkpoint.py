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
from robovlms.run_folder import find_checkpoint


def load_policy(path: str | Path) -> tuple[BaseRoboVLM, PolicyContract, RunConfig]:
    """Load the policy of a checkpoint (or of the newest checkpoint of a run), in evaluation mode on the CPU.

    Raises:
        CheckpointError: if a file is missing, damaged, or of another model; names the file and the first wrong key.
    """
    folder = find_checkpoint(Path(path))
    config = load_config(folder / "config.yaml")
    contract = PolicyContract.from_json(read_text(folder / "contract.json"))
    assets = folder / "vlm"
    model = build_policy(
        config.model, contract.action_space, len(contract.proprio_names), assets=assets if assets.is_dir() else None
    )
    load_weights(model, folder / "model.safetensors")
    _check_contract(model, contract, config, folder)
    return model.eval(), contract, config


def _check_contract(model: BaseRoboVLM, contract: PolicyContract, config: RunConfig, folder: Path) -> None:
    """Refuse a contract that says something else than the model it lies beside."""
    prompts = model.prompt_encoder
    pairs = {
        "prompt_template": (contract.prompt_template, prompts.template),
        "tokenizer_fingerprint": (contract.tokenizer_fingerprint, prompts.fingerprint),
        "window_size": (contract.window_size, config.model.window_size),
        "fwd_pred_next_n": (contract.fwd_pred_next_n, config.model.fwd_pred_next_n),
        "size of action_statistics": (len(contract.action_statistics.min), contract.action_space.size),
    }
    differing = [f"{name} is {ours!r}, the model's is {its!r}" for name, (ours, its) in pairs.items() if ours != its]
    if differing:
        raise CheckpointError(f"{folder / 'contract.json'} does not fit the model: {'; '.join(differing)}")


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
