"""The files of a released checkpoint: configuration and tensors, from a folder or the Hugging Face hub."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robovlms.errors import CheckpointError

_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.safetensors")
_PICKLES = ("*.bin", "*.pt")
_CONTAINERS = ("model_state_dict", "state_dict")  # under which a training checkpoint keeps the weights


def locate(source: str | Path) -> Path:
    """The folder itself, or that of a downloaded hub repository.

    Raises:
        CheckpointError: if there is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(str(source), allow_patterns=_SMALL_FILES))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(str(source), allow_patterns=[*_SMALL_FILES, *_PICKLES]))
    except (HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{str(source)!r} is no folder, and not found on the hub: {reason}") from error
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`.

    Raises:
        CheckpointError: if it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no config.json") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected an object, got {type(config).__name__}")
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return name -> tensor of all weight files: safetensors if there are any, else `.bin` and `.pt`.

    Raises:
        CheckpointError: if there are none, or one is missing or damaged.
    """
    files = _weight_files(folder, ".safetensors") or _weight_files(folder, ".bin") + _weight_files(folder, ".pt")
    if not files:
        raise CheckpointError(f"{folder} has no weights: expected *.safetensors, *.bin or *.pt")
    state: dict[str, Tensor] = {}
    for file in files:
        tensors = _read_file(file)
        twice = sorted(state.keys() & tensors.keys())
        if twice:
            raise CheckpointError(f"{file} holds {twice[0]!r}, as another file of {folder} does; keep one of them")
        state |= tensors
    return state


def has_weights(folder: Path) -> bool:
    """Whether a folder holds any weight file."""
    return any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", *_PICKLES))


def _weight_files(folder: Path, ending: str) -> list[Path]:
    """What an index lists, or all files with this ending."""
    indices = sorted(folder.glob(f"*{ending}.index.json"))
    if not indices:
        return sorted(folder.glob(f"*{ending}"))
    names = sorted(set(json.loads(indices[0].read_text())["weight_map"].values()))
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{indices[0]} lists {name!r}, which is not there")
    return [folder / name for name in names]


def _read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of one file; a pickle is read as data, never as code."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers' own kinds of errors are many
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"cannot read the weights {path}: {reason}") from error
    for container in _CONTAINERS:
        content = content.get(container, content)
    return {name.removeprefix("module."): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
