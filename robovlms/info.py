"""`robovlms info`: what a dataset, a configuration, a checkpoint or a run holds.

Only the parameters of a configuration need torch: its policy is built without memory for the weights. What a checkpoint
or a run holds is read from its files.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import RunConfig, flatten, load_config
from robovlms.errors import CheckpointError, RoboVLMsError
from robovlms.extras import missing_dependency
from robovlms.parameter_table import PARAMETERS, PartSize, load_sizes, parameter_table
from robovlms.run_folder import checkpoints_of

_WIDTH_IN_FILE = 120  # characters, where output is no terminal
_ASSUMED_NUMBERS = 7  # of an action and of the proprioception, where there is no dataset to ask


def show_info(path: Path, console: Console | None = None) -> None:
    """Print what `path` holds.

    Args:
        path: dataset folder, configuration file, checkpoint folder or run folder.
        console: where to print; None prints to standard output.

    Raises:
        RoboVLMsError: nothing that can be shown is there, or it is damaged.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_IN_FILE
    if path.suffix in (".yaml", ".yml"):
        _show_config(path, console)
    elif (path / "meta" / "info.json").is_file():
        _show_dataset(path, console)
    elif (path / "model.safetensors").is_file():
        _show_checkpoint(path, console)
    elif (path / "checkpoints").is_dir():
        _show_run(path, console)
    else:
        seen = "does not exist" if not path.exists() else "holds none of these"
        raise RoboVLMsError(
            f"{path} {seen}; expected a dataset (with meta/info.json), a checkpoint (with model.safetensors), "
            "a run (with checkpoints/) or a configuration (.yaml)"
        )


# ---------------------------------------------------------------------------------------------------- configuration


def _show_config(path: Path, console: Console) -> None:
    config = load_config(path)
    changed = _changes(config)
    table = _table("key", "value", "default, where it differs")
    for key, value in flatten(config).items():
        row = (key, str(value), str(changed[key]) if key in changed else "")
        table.add_row(*map(escape, row), style="bold" if key in changed else "")
    _show(f"Configuration {path}", table, console)
    console.print(f"{len(changed)} of {table.row_count} values differ from the default")
    _show_sizes_of_config(config, console)


def _changes(config: RunConfig) -> dict[str, Any]:
    """Dotted key -> default, for every value that differs from it."""
    values = flatten(config)
    return {key: default for key, default in flatten(RunConfig()).items() if values[key] != default}


def _show_sizes_of_config(config: RunConfig, console: Console) -> None:
    pretrained = config.model.vlm.pretrained
    if pretrained is not None:
        console.print(
            f"\nParameters are not counted here: that needs the configuration of the weights {pretrained!r}. "
            "Training prints the counts at its start and keeps them in each checkpoint.",
            markup=False,
            soft_wrap=True,
        )
        return
    dataset = config.data.path
    is_there = dataset is not None and (dataset / "meta" / "info.json").is_file()
    numbers = (
        f"with the actions of {dataset}"
        if is_there
        else f"assuming actions and proprioception of {_ASSUMED_NUMBERS} numbers"
    )
    try:
        space, proprio_dim = _numbers_of(dataset) if is_there else (_assumed_space(), _ASSUMED_NUMBERS)
        sizes = _sizes_of_config(config, space, proprio_dim)
    except ModuleNotFoundError as error:
        reason = missing_dependency(error) or error
        console.print(f"\nParameters are not counted: {reason}", markup=False, soft_wrap=True)
    else:
        _show(f"Parameters, {numbers}", parameter_table(sizes), console)


def _sizes_of_config(config: RunConfig, space: ActionSpace, proprio_dim: int) -> list[PartSize]:
    import torch

    from robovlms.model.tuning import count_parameters
    from robovlms.model.vlm import build_policy

    with torch.device("meta"):
        return count_parameters(build_policy(config.model, space, proprio_dim))


def _numbers_of(path: Path) -> tuple[ActionSpace, int]:
    from robovlms.data.sources.registry import open_source

    source = open_source(path)
    return source.action_space, len(source.proprio_names)


def _assumed_space() -> ActionSpace:
    arm = [ActionDimension(name=f"arm_{i}", unit="1", low=-1, high=1) for i in range(_ASSUMED_NUMBERS - 1)]
    gripper = ActionDimension(name="gripper", unit="1", low=-1, high=1, kind="gripper")
    return ActionSpace(dimensions=(*arm, gripper), frame="tcp", is_delta=True, gripper_opens="positive", control_hz=1)


# ---------------------------------------------------------------------------------------------------------- dataset


def _show_dataset(path: Path, console: Console) -> None:
    from robovlms.data.sources.registry import open_source

    source = open_source(path)
    groups: dict[tuple[str, str], list[int]] = {}
    for episode, length in enumerate(source.lengths.tolist()):
        groups.setdefault((source.task(episode), source.instruction(episode)), []).append(length)
    table = _table("task", "instruction", "episodes", "frames", "shortest", "longest", numbers=4)
    for (task, instruction), lengths in sorted(groups.items()):
        sizes = (len(lengths), sum(lengths), min(lengths), max(lengths))
        table.add_row(escape(task), escape(instruction), *map(str, sizes))
    table.add_section()
    table.add_row("all", "", str(len(source)), str(source.lengths.sum()))
    _show(f"Dataset {path}", table, console)
    _show_cameras(source.cameras, console)
    _show_actions(source.action_space, source.statistics["action"], console)
    if source.proprio_names:
        _show_proprio(source.proprio_names, source.statistics["proprio"], console)
    _show_pairs("Provenance", source.provenance, console)


def _show_cameras(cameras: Iterable[CameraSpec], console: Console) -> None:
    table = _table("name", "height × width", "source")
    for camera in cameras:
        table.add_row(escape(camera.name), f"{camera.height} × {camera.width} px", escape(camera.source))
    _show("Cameras", table, console)


def _show_actions(space: ActionSpace, statistics: FeatureStatistics, console: Console) -> None:
    reference = "relative" if space.is_delta else "absolute"
    title = f"Actions: {space.control_hz:g} Hz, frame {space.frame}, {reference}, rotation {space.rotation}"
    if space.gripper_dims:
        title += f", gripper opens towards {space.gripper_opens}"
    table = _table("name", "unit", "kind", "low", "high", *_MOMENTS, numbers=2 + len(_MOMENTS))
    for i, dimension in enumerate(space.dimensions):
        limits = f"{dimension.low:g}", f"{dimension.high:g}"
        table.add_row(escape(dimension.name), escape(dimension.unit), dimension.kind, *limits, *_moments(statistics, i))
    _show(title, table, console)


def _show_proprio(names: Iterable[str], statistics: FeatureStatistics, console: Console) -> None:
    table = _table("name", *_MOMENTS, numbers=len(_MOMENTS))
    for i, name in enumerate(names):
        table.add_row(escape(name), *_moments(statistics, i))
    _show("Proprioception", table, console)


_MOMENTS = ("min", "q01", "mean", "q99", "max", "std")


def _moments(statistics: FeatureStatistics, dimension: int) -> list[str]:
    return [f"{getattr(statistics, name)[dimension]:.4g}" for name in _MOMENTS]


# ------------------------------------------------------------------------------------------------ checkpoint and run


def _show_run(path: Path, console: Console) -> None:
    checkpoints = checkpoints_of(path)
    names = ", ".join(folder.name for folder in checkpoints) or "none yet"
    console.print(f"Run {path}: checkpoints {names}", markup=False)
    metrics = path / "metrics.jsonl"
    rows = [line for line in metrics.read_text().splitlines() if line.endswith("}")] if metrics.is_file() else []
    if rows:
        newest = {key: value for row in rows for key, value in json.loads(row).items()}
        _show_pairs("Newest value of each metric", newest, console)
    if checkpoints:
        _show_checkpoint(checkpoints[-1], console)
    elif (path / PARAMETERS).is_file():
        _show("Parameters", parameter_table(_sizes(path)), console)


def _show_checkpoint(path: Path, console: Console) -> None:
    contract = PolicyContract.from_json(_read(path / "contract.json"))
    in_file = _sizes_in_file(path / "model.safetensors")
    _show(f"Checkpoint {path}", parameter_table(_sizes(path)) if (path / PARAMETERS).is_file() else in_file, console)
    facts = {
        "step": _step(path),
        "window_size": contract.window_size,
        "fwd_pred_next_n": contract.fwd_pred_next_n,
        "action_scheme": contract.action_scheme,
        "proprio_scheme": contract.proprio_scheme if contract.proprio_names else "no proprioception",
        "prompt_template": contract.prompt_template,
        "tokenizer": contract.tokenizer_fingerprint,
        "fingerprint": contract.fingerprint,
    }
    _show_pairs("Contract", facts, console)
    _show_cameras(contract.cameras, console)
    _show_actions(contract.action_space, contract.action_statistics, console)
    if contract.proprio_statistics is not None:
        _show_proprio(contract.proprio_names, contract.proprio_statistics, console)
    config = load_config(path / "config.yaml")
    values = flatten(config)
    _show_pairs("Configuration, where it differs from the default", {k: values[k] for k in _changes(config)}, console)


def _step(path: Path) -> str:
    state = path / "training" / "state.json"
    if not state.is_file():
        return "unknown, without training state"
    try:
        return str(json.loads(_read(state))["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{state} is damaged: {error}") from error


def _sizes(folder: Path) -> list[PartSize]:
    file = folder / PARAMETERS
    try:
        return load_sizes(_read(file))
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _sizes_in_file(file: Path) -> Table:
    """Number of weights of each part of a model, from the file's header alone."""
    sizes: dict[str, int] = {}
    for key, entry in _read_header(file).items():
        names = key.split(".")
        part = ".".join(names[: 2 if names[0] == "backbone" else 1])
        sizes[part] = sizes.get(part, 0) + math.prod(entry["shape"])
    table = _table("part", "parameters", numbers=1)
    for part, size in sizes.items():
        table.add_row(escape(part), f"{size:,}")
    table.add_section()
    table.add_row("all", f"{sum(sizes.values()):,}")
    return table


def _read_header(file: Path) -> dict[str, Any]:
    """Name -> shape and type of each tensor of a safetensors file.

    Source: https://github.com/huggingface/safetensors, "Format": a 64-bit little-endian length, then JSON.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError(f"the header claims {length} bytes")
            header = json.loads(stream.read(length))
        tensors = [entry for key, entry in header.items() if key != "__metadata__"]
        expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
        if expected != file.stat().st_size:
            raise ValueError(f"expected {expected} bytes, got {file.stat().st_size}")
        return {key: entry for key, entry in header.items() if key != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error


# ----------------------------------------------------------------------------------------------------------- tables


def _table(*columns: str, numbers: int = 0) -> Table:
    """A table whose last `numbers` columns are aligned right."""
    table = Table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i >= len(columns) - numbers else "left")
    return table


def _show_pairs(title: str, pairs: Mapping[str, Any], console: Console) -> None:
    table = _table("what", "value")
    for key, value in pairs.items():
        table.add_row(escape(key), escape(value if isinstance(value, str) else json.dumps(value, default=str)))
    _show(title, table, console)


def _show(title: str, table: Table, console: Console) -> None:
    console.print(f"\n[bold]{escape(title)}", soft_wrap=True)
    console.print(table)
