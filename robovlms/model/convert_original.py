"""`robovlms convert original`: a checkpoint of the original RoboVLMs becomes one of ours, to the same numbers.

::

    CHECKPOINT ── original_tensors ─┬─ backbone ── put into the VLM's folder, loaded as its publisher's ─┐
                                    └─ act_head, action_token, vision_resampler ─────────────────────────┼─ policy ─┐
    CONFIG ────── original_config ──┬─ model, data, train ───────────────────────────────────────────────┘          │
                                    └─ ranges, cameras, frame ── contract ──────────────────────────────────────── OUT

Adapters are added to the weights that they lie beside. The action token is one vector, repeated for every query.
"""

import dataclasses
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor

from robovlms.actions.calvin import calvin_action_space
from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import LoRAConfig, ModelConfig, RunConfig, TokenizerConfig, VLMConfig
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.backbone.base import Backbone
from robovlms.model.backbone.flamingo_keys import from_original_layout
from robovlms.model.backbone.released import read_config
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import write_policy
from robovlms.model.head.original import load_original
from robovlms.model.original_tensors import OriginalTensors, merge_adapters, read_tensors
from robovlms.model.parity import ObservationWindow, save_parity
from robovlms.model.vlm import build_policy, policy_class
from robovlms.original_config import OriginalConfig, read_original
from robovlms.run_folder import TEMPORARY
from robovlms.types import Observation

# The original normalises the pictures of every VLM as CLIP does.
# Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, released code.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CAMERAS = {"static": 200, "wrist": 84}  # CALVIN's cameras: side in pixels
_CONTROL_HZ = 30.0  # CALVIN
_CALVIN_DIM = 7
_WEIGHT_FILES = re.compile(r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx)(\.index\.json)?$")
# VLMs that lie in the checkpoint in parts, or under names that are not their publisher's.
_LAYOUTS: dict[str, Callable[[dict[str, Tensor], str], dict[str, Tensor]]] = {"flamingo": from_original_layout}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        out: the checkpoint.
        loaded: part -> numbers loaded.
        dropped: reason -> tensors left out.
        used: key of the configuration -> what it became.
        ignored: key of the configuration -> why it plays no part.
    """

    out: Path
    loaded: dict[str, int]
    dropped: dict[str, int]
    used: dict[str, str]
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
    name = original.run.model.vlm.name
    tensors = read_tensors(checkpoint, has_more_parts=name in _LAYOUTS)
    backbone = _build_backbone(original, tensors, vlm, out)
    run = _without_adapters(_settle_prompt(original.run, backbone))
    policy = build_policy(run.model, _action_space(original), 0, backbone=backbone).eval()
    _load_rest(policy, tensors)
    contract = _contract(original, policy)
    windows = _parity_windows(contract)
    write_policy(out, policy, contract, run, lambda file: save_parity(file, policy, contract, windows))
    return Conversion(
        out=out, loaded=_count(policy), dropped=tensors.dropped, used=original.used, ignored=original.ignored
    )


def _count(policy: BaseRoboVLM) -> dict[str, int]:
    """Part -> numbers in it."""
    sizes: dict[str, int] = {}
    for name, parameter in policy.named_parameters():
        part = name.partition(".")[0]
        sizes[part] = sizes.get(part, 0) + parameter.numel()
    return {part: size for part, size in sizes.items() if size}


def _without_adapters(run: RunConfig) -> RunConfig:
    """They have become part of the weights."""
    return dataclasses.replace(run, model=dataclasses.replace(run.model, lora=LoRAConfig()))


def _settle_prompt(run: RunConfig, backbone: Backbone) -> RunConfig:
    """A discrete prompt begins and ends with one mark each, whoever adds it: the tokenizer or the text."""
    config, tokenizer = run.model, backbone.tokenizer
    if config.head != "discrete":
        return run
    template = config.tokenizer.prompt_template
    begin, end = (getattr(tokenizer, name, None) for name in ("bos_token", "eos_token"))
    if end is None:
        template = template.replace("{eos}", "").rstrip()
    elif backbone.add_special_tokens and tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id:
        template = template.replace("{eos}", "")
    if begin is not None and not backbone.add_special_tokens:
        template = begin + template
    settled = dataclasses.replace(config.tokenizer, prompt_template=template)
    return dataclasses.replace(run, model=dataclasses.replace(config, tokenizer=settled))


# ---------------------------------------------------------------------------------------------------------- backbone


def _build_backbone(original: OriginalConfig, tensors: OriginalTensors, vlm: Path, out: Path) -> Backbone:
    """Put the tensors into the VLM's folder, and load that as its publisher's."""
    if not vlm.is_dir():
        raise ConfigError(f"--vlm {vlm} is no folder; it must hold the VLM's config.json and tokenizer")
    config = original.run.model
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out.parent) as temporary:
        folder = Path(temporary) / "vlm"
        shutil.copytree(vlm, folder, ignore=lambda _, names: [n for n in names if _WEIGHT_FILES.match(n)])
        _write_image_settings(folder, original.image_size)
        save_file(_publishers(config, tensors), folder / "model.safetensors", {"format": "pt"})
        source = VLMConfig(name=config.vlm.name, pretrained=str(folder), image_size=original.image_size)
        build = policy_class(config.vlm.name).backbone_class.build
        with _naming({str(folder): str(vlm)}, tensors.file):
            backbone = build(source, TokenizerConfig(), torch.float32, None)
    backbone.normalise_images(_MEAN, _STD)
    _check_image_size(backbone, original.image_size)
    _check_tie(backbone, tensors.file)
    return backbone


def _publishers(config: ModelConfig, tensors: OriginalTensors) -> dict[str, Tensor]:
    """The VLM's tensors under its publisher's names; none shares its memory with another."""
    translate = _LAYOUTS.get(config.vlm.name)
    if translate is None:
        named = {key.removeprefix("backbone."): tensor for key, tensor in tensors.backbone.items()}
        named = merge_adapters(named, config.lora.rank, config.lora.alpha, tensors.file)
    else:
        named = translate(tensors.backbone, str(tensors.file))
    tensors.backbone.clear()  # a large VLM is there often enough
    places = [tensor.untyped_storage().data_ptr() for tensor in named.values()]
    return {
        key: tensor.clone() if places.count(place) > 1 else tensor.contiguous()
        for (key, tensor), place in zip(named.items(), places, strict=True)
    }


@contextmanager
def _naming(places: dict[str, str], file: Path) -> Iterator[None]:
    """Errors name the checkpoint; a tensor that the VLM has no use for is one."""

    def told(error: Exception) -> str:
        text = str(error)
        for temporary, real in places.items():
            text = text.replace(temporary, real)
        return f"{file}: {text}"

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*holds weights that .* has no use for")
        try:
            yield
        except ConfigError as error:
            raise ConfigError(told(error)) from None
        except (UserWarning, CheckpointError) as error:
            raise CheckpointError(told(error)) from None


def _write_image_settings(folder: Path, image_size: int | None) -> None:
    """The VLM's own image settings play no part in the original, and need not be there."""
    file = folder / "preprocessor_config.json"
    if image_size is None:
        if file.is_file():
            return
        image_size = _image_size_of(folder)
    square = {"height": image_size, "width": image_size}
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": image_size},
        "crop_size": square,
        "image_mean": _MEAN,
        "image_std": _STD,
    }
    file.write_text(json.dumps(settings))


def _image_size_of(folder: Path) -> int:
    """What the VLM's vision tower takes; 224, which most take, where the configuration does not say it."""
    size = (read_config(folder).get("vision_config") or {}).get("image_size")
    return size if isinstance(size, int) else 224


def _check_tie(backbone: Backbone, file: Path) -> None:
    config = getattr(getattr(backbone, "model", None), "config", None)
    if getattr(config, "tie_word_embeddings", False) and backbone.output_embedding is not None:
        raise CheckpointError(
            f"{file}: word embedding and output layer are one tensor in this VLM, but two that differ in the file"
        )


def _check_image_size(backbone: Backbone, image_size: int | None) -> None:
    height, width = backbone.image_size
    try:
        with torch.inference_mode():
            backbone.encode_images(torch.zeros(1, 3, height, width))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the vision tower in --vlm does not take images of {height} × {width} pixels (image_size is {image_size} "
            f"in --config): {str(error).splitlines()[0]}"
        ) from error


# ------------------------------------------------------------------------------------------------------ other weights


def _load_rest(policy: BaseRoboVLM, tensors: OriginalTensors) -> None:
    load_original(policy.act_head, tensors.act_head)
    _load_action_token(policy, tensors)
    file, found = tensors.file, tensors.vision_resampler
    if policy.vision_resampler is None:
        if found:
            raise CheckpointError(
                f"{file} has vision_resampler.*, but use_vision_resampler is off in the configuration"
            )
        return
    own = policy.vision_resampler.state_dict()
    for key in sorted(own.keys() | found.keys()):
        shapes = [list(one[key].shape) if key in one else "nothing" for one in (own, found)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(f"{file}: vision_resampler.{key}: expected {shapes[0]}, found {shapes[1]}")
    if _input_scale(policy) != 1:
        raise ConfigError("use_vision_resampler: that of a VLM that scales its inputs has no counterpart here")
    policy.vision_resampler.load_state_dict(found)


def _load_action_token(policy: BaseRoboVLM, tensors: OriginalTensors) -> None:
    token, expected = tensors.action_token, policy.hidden_size
    if not policy.action_token.numel():
        if token is not None:
            tensors.dropped["action_token, which the policy does not read"] = 1
        return
    if token is None or list(token.shape) != [expected]:
        found = "nothing" if token is None else list(token.shape)
        raise CheckpointError(f"{tensors.file}: action_token: expected [{expected}], found {found}")
    policy.action_token.data.copy_(token.expand_as(policy.action_token) * _input_scale(policy))


def _input_scale(policy: BaseRoboVLM) -> float:
    """Gemma multiplied all its inputs by a constant when the original was written; now its word embedding does."""
    return float(getattr(policy.word_embedding, "embed_scale", 1.0))


# ---------------------------------------------------------------------------------------------------------- contract


def _action_space(original: OriginalConfig) -> ActionSpace:
    if original.is_calvin and original.action_dim == _CALVIN_DIM:
        return calvin_action_space(tcp_frame=original.is_tcp_relative)
    names = ("x", "y", "z", "roll", "pitch", "yaw")
    size = original.action_dim - 1
    names = names if size == len(names) else tuple(f"arm_{i}" for i in range(size))
    low, high = min(-1.0, original.norm_min), max(1.0, original.norm_max)
    arm = [ActionDimension(name=name, unit="relative", low=low, high=high) for name in names]
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
    prompts, place = policy.prompt_encoder, "calvin" if original.is_calvin else "original"
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
            CameraSpec(name=name, height=_CAMERAS[name], width=_CAMERAS[name], source=f"{place}/{name}")
            for name in cameras
        ),
        prompt_template=prompts.template,
        tokenizer_fingerprint=prompts.fingerprint,
        window_size=model.window_size,
        fwd_pred_next_n=model.fwd_pred_next_n,
        action_mu=original.run.data.action_mu,
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
    """What became of each part of the checkpoint and of each key of the configuration."""
    table = Table("of the original", "here", title=f"{conversion.out}", title_justify="left")
    for part, size in conversion.loaded.items():
        table.add_row(escape(part), f"{size:,} numbers loaded")
    for reason, count in conversion.dropped.items():
        table.add_row(f"{count} tensors", escape(f"left out: {reason}"))
    for prefix, keys in (("", conversion.used), ("ignored: ", conversion.ignored)):
        table.add_section()
        for text, names in _by_text(keys).items():
            table.add_row(escape(", ".join(names)), escape(f"{prefix}{text}"))
    return table


def _by_text(keys: dict[str, str]) -> dict[str, list[str]]:
    """Text -> the keys that it is said of."""
    grouped: dict[str, list[str]] = {}
    for key, text in sorted(keys.items()):
        grouped.setdefault(text, []).append(key)
    return grouped
