"""The policy in a checkpoint folder, drawn in `robovlms.train.checkpoint`: written, and loaded again."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from robovlms.actions.contract import PolicyContract
from robovlms.config import RunConfig, dump_config, load_config
from robovlms.errors import CheckpointError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.tuning import count_parameters
from robovlms.model.vlm import build_policy
from robovlms.parameter_table import PARAMETERS, dump_sizes
from robovlms.run_folder import atomic_folder, find_checkpoint


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
        config.model, contract.head_space, len(contract.proprio_names), assets=assets if assets.is_dir() else None
    )
    load_weights(model, folder / "model.safetensors")
    _check_finite(model, folder / "model.safetensors")
    _check_contract(model, contract, config, folder)
    return model.eval(), contract, config


def write_policy(
    folder: Path, model: BaseRoboVLM, contract: PolicyContract, config: RunConfig, parity: Callable[[Path], None]
) -> None:
    """Write a checkpoint without training state, atomically; arguments as in `write_policy_files`."""
    with atomic_folder(folder) as temporary:
        write_policy_files(temporary, model, contract, config, parity)


def write_policy_files(
    folder: Path, model: BaseRoboVLM, contract: PolicyContract, config: RunConfig, parity: Callable[[Path], None]
) -> None:
    """Write what is needed to act into an empty folder.

    Args:
        folder: to write into.
        model: the policy.
        contract: what it was trained on.
        config: of the run.
        parity: writes the parity samples into a given file.
    """
    save_model(model, str(folder / "model.safetensors"))
    (folder / "config.yaml").write_text(dump_config(config))
    (folder / "contract.json").write_text(contract.to_json())
    (folder / PARAMETERS).write_text(dump_sizes(count_parameters(model)))
    parity(folder / "parity.safetensors")
    model.backbone.save_assets(folder / "vlm")


def _check_finite(model: nn.Module, file: Path) -> None:
    """Refuse weights that no robot may act on."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not parameter.isfinite().all():
            raise CheckpointError(f"{file}: {name} holds numbers that are not finite")


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
