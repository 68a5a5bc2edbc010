"""The tensors of a checkpoint of the original RoboVLMs: read as data, sorted by part, copies compared and dropped.

::

    module. model.backbone.*            the VLM, under the names that its publisher gave        ── backbone
            model.act_head.*            the head                                                 ── act_head
            model.action_token          one vector                                               ── action_token
            model.vision_resampler.*    the resampler                                            ── vision_resampler
            model.vision_encoder.*, …   other parts of a VLM that is more than its backbone.*    ── backbone
            model.lm_head.*             the head once more                                       ── compared, dropped
            model.model.*               the VLM, or its decoder, once more                       ── compared, dropped

Every tensor is in a part, or dropped by a rule that has a name; anything else is an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from robovlms.errors import CheckpointError

State = dict[str, Tensor]
_CONTAINERS = ("state_dict", "model_state_dict")
_PARTS = ("backbone", "act_head", "action_token", "vision_resampler")
_DROPPED = {  # pattern of a name -> why nothing is lost
    re.compile(r"backbone\..*(\.position_ids|\.rotary_emb\.inv_freq|embed_positions\.weights)"): "constants",
    re.compile(r"act_head\.gpt\..*\.attn\.(bias|masked_bias)"): "constants",
    re.compile(r"clip_norm_head\..*"): "of a loss that is off",
}
_COPIES = {"lm_head": "act_head", "model": "backbone"}
_WRAPPER = "base_model.model."  # what adapters put around a model


@dataclass(frozen=True, kw_only=True)
class OriginalTensors:
    """A checkpoint of the original.

    Attributes:
        file: where it is.
        backbone: the VLM's tensors; their names begin with "backbone.", except for parts that lie beside it.
        act_head: the head's tensors, name -> tensor.
        vision_resampler: the resampler's, likewise; empty without one.
        action_token: [d]; None without one.
        dropped: reason -> number of tensors that were left out.
    """

    file: Path
    backbone: State
    act_head: State
    vision_resampler: State
    action_token: Tensor | None
    dropped: dict[str, int] = field(default_factory=dict)


def read_tensors(file: Path, has_more_parts: bool = False) -> OriginalTensors:
    """Read a checkpoint and sort its tensors.

    Args:
        file: `.pt`, `.ckpt` or `.safetensors`.
        has_more_parts: whether the VLM has parts beside its backbone.*.

    Raises:
        CheckpointError: if it cannot be read, is of something else, or holds a tensor of which nothing is known.
    """
    state = _without_prefixes(read_state(file), file)
    parts: dict[str, State] = {part: {} for part in _PARTS}
    dropped: dict[str, int] = {}
    for key, tensor in state.items():
        reason = _reason_to_drop(key, tensor, state, file)
        part, _, name = key.partition(".")
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
        elif part in _PARTS[1:]:
            parts[part][name] = tensor
        elif part == "backbone" or has_more_parts:
            parts["backbone"][key] = tensor
        else:
            raise CheckpointError(f"{file}: nothing is known of the tensor {key!r}; expected {', '.join(_PARTS)}")
    if not any(key.startswith("backbone.") for key in parts["backbone"]):
        raise CheckpointError(f"{file} is no checkpoint of the original: it has no backbone.*")
    return OriginalTensors(
        file=file,
        backbone=parts["backbone"],
        act_head=parts["act_head"],
        vision_resampler=parts["vision_resampler"],
        action_token=parts["action_token"].get(""),
        dropped=dropped,
    )


def read_state(file: Path) -> State:
    """Tensors of a checkpoint; a pickle is read as data, never as code.

    Raises:
        CheckpointError: if it cannot be read, or holds no tensors.
    """
    if file.is_dir():
        raise CheckpointError(
            f"{file} is a folder; put its shards together with the zero_to_fp32.py that DeepSpeed left in it"
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    except Exception as error:  # what a damaged or dangerous pickle raises is not listed anywhere
        raise CheckpointError(
            f"{file} cannot be read as data alone (weights_only): {str(error).splitlines()[0]}; if you trust it, save "
            "its state_dict as .safetensors"
        ) from error
    for key in _CONTAINERS:
        if isinstance(content, dict) and key in content:
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{file} holds no state_dict: expected names with tensors")
    return content


def _without_prefixes(state: State, file: Path) -> State:
    """Old files lack the prefix `model.`, which is also the name of a part."""
    names = {key: key.removeprefix("module.") for key in state}
    if any(name.startswith("model.backbone.") for name in names.values()):
        names = {key: name.removeprefix("model.") for key, name in names.items()}
    plain = {names[key]: tensor for key, tensor in state.items()}
    if len(plain) != len(state):
        raise CheckpointError(f"{file}: the same tensor is there with and without the prefix 'model.'")
    return plain


def _reason_to_drop(key: str, tensor: Tensor, state: State, file: Path) -> str | None:
    for pattern, reason in _DROPPED.items():
        if pattern.fullmatch(key):
            return reason
    part, _, name = key.partition(".")
    if part not in _COPIES:
        return None
    source = _COPIES[part]
    if not any(torch.equal(twin, tensor) for twin in _twins(name, source, state)):
        raise CheckpointError(f"{file}: {key!r} should be a copy of {source}*, but differs from it")
    return f"copies of {source}.*"


def _twins(name: str, source: str, state: State) -> list[Tensor]:
    """Tensors of a part that a copy may be of: the copy may be of the whole part, or of a module in it."""
    exact = state.get(f"{source}.{name}")
    if exact is not None:
        return [exact]
    name = name.removeprefix(_WRAPPER)
    ending = f".{name}"
    return [tensor for key, tensor in state.items() if key.startswith(f"{source}.") and key.endswith(ending)]


def merge_adapters(tensors: Mapping[str, Tensor], rank: int, alpha: float, file: Path) -> State:
    """Add low-rank adapters to the weights that they lie beside: W + alpha / rank · B A.

    Args:
        tensors: name -> tensor, under the names of peft where a module is adapted.
        rank: of the adapters as configured; 0 = none expected.
        alpha: as configured.
        file: where they come from, for messages.

    Raises:
        CheckpointError: if there are adapters of another rank, or half of one.

    Source: Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685, section 4.1.
    """
    merged = {key.replace(_WRAPPER, "", 1).replace(".base_layer.", "."): tensor for key, tensor in tensors.items()}
    for key in [key for key in merged if ".lora_A." in key]:
        module, _, adapter = key.partition(".lora_A.")
        down, up = merged.pop(key), merged.pop(f"{module}.lora_B.{adapter}", None)
        weight = merged.get(f"{module}.weight")
        if up is None or weight is None or len(down) != rank:
            raise CheckpointError(
                f"{file}: {key!r} of rank {len(down)} needs lora_B and a weight beside it, and train_setup.lora_enable "
                f"with lora_r {len(down)} in the configuration, which has {rank}"
            )
        merged[f"{module}.weight"] = weight.float() + alpha / rank * up.float() @ down.float()
    return merged
