"""`robovlms convert original`: a checkpoint of the original RoboVLMs becomes one of ours, to the same numbers.

::

    module. model.backbone.*            the VLM, under the names that its publisher gave        ── backbone
            model.act_head.*            the head, under our names                                ── act_head
            model.action_token          one vector, repeated for every query                     ── action_token
            model.vision_resampler.*    the resampler, under our names                           ── vision_resampler
            model.lm_head.*, model.model.*   copies of the head and of the VLM                   ── compared, dropped

Every tensor is used, or dropped by a named rule; anything else is an error.
"""

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.backbone.flamingo_keys import from_original_layout
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import write_policy
from robovlms.model.head.original import load_original
from robovlms.model.parity import ObservationWindow, save_parity
from robovlms.model.vlm import build_policy, policy_class
from robovlms.original_config import OriginalConfig, read_original
from robovlms.types import Observation

# The original normalises the pictures of every VLM as CLIP does.
# Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, released code.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CAMERAS = {"static": 200, "wrist": 84}  # CALVIN's cameras: side in pixels
_CONTROL_HZ = 30.0  # CALVIN
_PARTS = ("backbone", "act_head", "action_token", "vision_resampler")
_WEIGHT_FILES = re.compile(r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx)(\.index\.json)?$")
# Tensors that carry nothing learned.
_CONSTANTS = re.compile(r"^backbone\..*(\.position_ids|\.rotary_emb\.inv_freq|embed_positions\.weights)$")
# VLMs whose tensors the original renamed or duplicated.
_LAYOUTS: dict[str, Callable[[dict[str, Tensor], str], dict[str, Tensor]]] = {"flamingo": from_original_layout}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        out: the checkpoint.
        loaded: part -> numbers loaded.
        dropped: reason -> tensors left out.
        ignored: key of the configuration -> why it plays no part.
    """

    out: Path
    loaded: dict[str, int]
    dropped: dict[str, int]
    ignored: dict[str, str]


def convert_original(checkpoint: Path, config: Path, vlm: Path, out: Path) -> Conversion:
    """Write a checkpoint of ours.

    Args:
        checkpoint: `.pt`, `.ckpt` or `.safetensors` of the original.
        config: its training JSON.
        vlm: folder with the VLM's configuration and tokenizer; weights in it are not needed.
        out: folder to write; must not exist.

    Raises:
        ConfigError: if the configuration has no counterpart here, or `out` exists.
        CheckpointError: names the first tensor that is missing, unknown or of another shape.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; choose another --out")
    original = read_original(config)
    tensors, dropped = _parts(read_state(checkpoint), checkpoint)
    backbone = _build_backbone(original, tensors.pop("backbone"), vlm, checkpoint)
    policy = build_policy(original.run.model, _action_space(original), 0, backbone=backbone).eval()
    _load_rest(policy, tensors, dropped, checkpoint)
    contract = _contract(original, policy)
    windows = _parity_windows(contract)
    write_policy(out, policy, contract, original.run, lambda file: save_parity(file, policy, contract, windows))
    loaded = dict.fromkeys(_PARTS, 0)
    for name, parameter in policy.named_parameters():
        loaded[name.partition(".")[0]] += parameter.numel()
    return Conversion(out=out, loaded={k: v for k, v in loaded.items() if v}, dropped=dropped, ignored=original.ignored)


def read_state(file: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint of the original; a pickle is read as data, never as code.

    Raises:
        CheckpointError: if it cannot be read, or holds no tensors.
    """
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
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and key in content:
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{file} holds no state_dict: expected names with tensors")
    return content


def _parts(state: dict[str, Tensor], file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, int]]:
    """Part -> its tensors; and what was dropped."""
    plain = {key.removeprefix("module.").removeprefix("model."): tensor for key, tensor in state.items()}
    if len(plain) != len(state):
        raise CheckpointError(f"{file}: the same tensor is there with and without the prefix 'model.'")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    dropped: dict[str, int] = {}
    for key, tensor in plain.items():
        reason = _reason_to_drop(key, tensor, plain, file)
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        part, _, name = key.partition(".")
        if part not in parts:
            raise CheckpointError(f"{file}: nothing is known of the tensor {key!r}; expected {', '.join(_PARTS)}")
        parts[part][name] = tensor.float() if tensor.is_floating_point() else tensor
    if not parts["backbone"] or not parts["act_head"]:
        raise CheckpointError(f"{file} is no checkpoint of the original: it has no backbone.* or no act_head.*")
    return parts, dropped


def _reason_to_drop(key: str, tensor: Tensor, state: dict[str, Tensor], file: Path) -> str | None:
    if _CONSTANTS.match(key):
        return "constants"
    for copy, source in (("lm_head.", "act_head."), ("model.", "backbone.")):
        if key.startswith(copy):
            twin = state.get(source + key.removeprefix(copy))
            if twin is None or not torch.equal(twin, tensor):
                raise CheckpointError(f"{file}: {key!r} should be a copy of {source}*, but differs from it")
            return f"copies of {source}*"
    return None


# ---------------------------------------------------------------------------------------------------------- backbone


def _build_backbone(original: OriginalConfig, tensors: dict[str, Tensor], vlm: Path, file: Path) -> Backbone:
    """Put the tensors into the VLM's folder, and load that as its publisher's."""
    if not vlm.is_dir():
        raise ConfigError(f"--vlm {vlm} is no folder; it must hold the VLM's config.json and tokenizer")
    config = original.run.model
    translate = _LAYOUTS.get(config.vlm.name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "vlm"
        shutil.copytree(vlm, folder, ignore=lambda _, names: [n for n in names if _WEIGHT_FILES.match(n)])
        _write_image_settings(folder, original.image_size)
        weights = tensors if translate is None else translate(tensors, str(file))
        save_file({k: v.clone() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
        build = policy_class(config.vlm.name).backbone_class.build
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a tensor that nobody takes is an error here
            try:
                backbone = build(
                    VLMConfig(name=config.vlm.name, pretrained=str(folder)), TokenizerConfig(), torch.float32, None
                )
            except UserWarning as warning:
                raise CheckpointError(f"{file}: {str(warning).replace(str(folder), str(vlm))}") from None
            except CheckpointError as error:
                raise CheckpointError(f"{file}: {str(error).replace(str(folder), str(vlm))}") from None
    backbone.normalise_images(_MEAN, _STD)
    return backbone


def _write_image_settings(folder: Path, image_size: int | None) -> None:
    """The VLM's own image settings play no part in the original."""
    if image_size is None:
        return
    square = {"height": image_size, "width": image_size}
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": image_size},
        "crop_size": square,
        "image_mean": _MEAN,
        "image_std": _STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


# ------------------------------------------------------------------------------------------------------ other weights


def _load_rest(policy: BaseRoboVLM, tensors: dict[str, dict[str, Tensor]], dropped: dict[str, int], file: Path) -> None:
    if any(True for _ in policy.act_head.parameters()) or tensors["act_head"]:
        load_original(policy.act_head, {f"act_head.{name}": value for name, value in tensors["act_head"].items()})
    token = tensors["action_token"].get("")
    if policy.action_token.numel():
        if token is None or token.shape[-1:] != policy.action_token.shape[-1:] or token.ndim != 1:
            found = "nothing" if token is None else list(token.shape)
            raise CheckpointError(f"{file}: action_token: expected [{policy.hidden_size}], found {found}")
        policy.action_token.data.copy_(token.expand_as(policy.action_token))
    elif token is not None:
        dropped["action_token, which the policy does not read"] = 1
    resampler = tensors["vision_resampler"]
    if policy.vision_resampler is not None:
        own = policy.vision_resampler.state_dict()
        for key in sorted(own.keys() | resampler.keys()):
            shapes = [list(one[key].shape) if key in one else "nothing" for one in (own, resampler)]
            if shapes[0] != shapes[1]:
                raise CheckpointError(f"{file}: vision_resampler.{key}: expected {shapes[0]}, found {shapes[1]}")
        policy.vision_resampler.load_state_dict(resampler)
    elif resampler:
        raise CheckpointError(f"{file} has vision_resampler.*, but use_vision_resampler is off in the configuration")


# ---------------------------------------------------------------------------------------------------------- contract


def _action_space(original: OriginalConfig) -> ActionSpace:
    names = ("x", "y", "z", "roll", "pitch", "yaw")
    size = original.action_dim - 1
    names = names if size == len(names) else tuple(f"arm_{i}" for i in range(size))
    arm = [ActionDimension(name=name, unit="relative", low=-1.0, high=1.0) for name in names]
    gripper = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")
    return ActionSpace(
        dimensions=(*arm, gripper),
        frame="tcp" if original.is_tcp_relative else "world",
        is_delta=True,
        rotation="euler_xyz",
        gripper_opens="positive",
        control_hz=_CONTROL_HZ,
    )


def _contract(original: OriginalConfig, policy: BaseRoboVLM) -> PolicyContract:
    size, model = original.action_dim, original.run.model
    low, high = (original.norm_min,) * size, (original.norm_max,) * size
    middle, half = (original.norm_min + original.norm_max) / 2, (original.norm_max - original.norm_min) / 2
    cameras = ("wrist", "static") if original.use_hand_rgb else ("static",)
    prompts = policy.prompt_encoder
    return PolicyContract(
        action_space=policy.action_space,
        action_scheme="min_max",
        action_statistics=FeatureStatistics(
            min=low, max=high, mean=(middle,) * size, std=(half,) * size, q01=low, q99=high, count=0
        ),
        proprio_names=(),
        proprio_scheme="none",
        proprio_statistics=None,
        cameras=tuple(
            CameraSpec(name=name, height=_CAMERAS[name], width=_CAMERAS[name], source=f"calvin/{name}")
            for name in cameras
        ),
        prompt_template=prompts.template,
        tokenizer_fingerprint=prompts.fingerprint,
        window_size=model.window_size,
        fwd_pred_next_n=model.fwd_pred_next_n,
    )


def _parity_windows(contract: PolicyContract) -> list[ObservationWindow]:
    """Generated pictures; there is no dataset to take any from."""
    rng, length = np.random.default_rng(0), min(contract.window_size, 3)

    def observation(instruction: str) -> Observation:
        images = {
            camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8) for camera in contract.cameras
        }
        return Observation(images=images, proprio=None, instruction=instruction, timestamp_s=0.0)

    return [[observation(text) for _ in range(length)] for text in ("push the blue block", "open the drawer")]


def table_of(conversion: Conversion) -> Table:
    """What was loaded, left out and ignored."""
    table = Table(title=f"{conversion.out}", title_justify="left")
    for column in ("what", "how much"):
        table.add_column(column, justify="right" if column == "how much" else "left")
    for part, size in conversion.loaded.items():
        table.add_row(f"{escape(part)}: numbers loaded", f"{size:,}")
    for reason, count in conversion.dropped.items():
        table.add_row(f"tensors left out: {escape(reason)}", str(count))
    reasons: dict[str, list[str]] = {}
    for key, reason in sorted(conversion.ignored.items()):
        reasons.setdefault(reason, []).append(key)
    for reason, keys in reasons.items():
        table.add_section()
        table.add_row(escape(f"keys ignored, {reason}: {', '.join(keys)}"), str(len(keys)))
    return table
