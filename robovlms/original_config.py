"""Training configurations of the original RoboVLMs (JSON with `parent` inheritance) read as ours.

Every key that the original knows is either translated, or ignored for a reason that is reported, see
`robovlms.original_keys`. A value that would change the numbers and has no counterpart here is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robovlms.config import RunConfig, TrainConfig, load_config
from robovlms.errors import ConfigError, unknown_name
from robovlms.original_keys import IGNORED, KNOWN, ONLY, SECTIONS, TRANSLATED

VLMS = {  # by `robovlm_name`
    "RoboFlamingo": "flamingo",
    "RoboKosMos": "kosmos",
    "RoboLLaVA": "llava",
    "RoboMoonDream": "moondream",
    "RoboPaligemma": "paligemma",
    "RoboQwen": "qwen",
    "RoboUform": "uform",
}
# Text around the instruction, by `tokenizer_type`; begin and end marks of the tokenizer come on top of it.
PROMPTS = {
    "flamingo": "<image>{instruction}<|endofchunk|>{eos}",
    "kosmos": "<grounding>An image of a robot {instruction}",
    "llava": "{instruction}",
    "moondream": "<|endoftext|>{instruction}",
    "paligemma": "{eos}{instruction}\n",
    "qwen": "{instruction}",
    "uform": "<image> {instruction}",
}
_PHI_STYLE = ("flamingo", "kosmos", "moondream", "paligemma", "uform")  # tokenizer types that share one
HEADS = {"FCDecoder": "fc", "LSTMDecoder": "lstm", "GPTDecoder": "gpt", "DiscreteDecoder": "discrete"}
_DEFAULT_LAYERS = {"GPTDecoder": 8}  # of the original's constructors; 4 otherwise
HISTORIES = {"post": "policy_head", "pre": "interleaved", "video": "video"}
_DISCRETE_PROMPT = "Input: What {action} should the robot take to {{instruction}}?\nOutput: \n{{eos}}"


@dataclass(frozen=True, kw_only=True)
class OriginalConfig:
    """A configuration of the original, in our terms.

    Attributes:
        run: what was translated.
        used: key of the file -> what it became.
        ignored: key of the file -> why it plays no part.
        image_size: height and width in pixels that the original resized to; None = not given.
        action_dim: numbers per action, the gripper last.
        norm_min, norm_max: physical range of the arm that is [-1, 1] to the policy.
        use_hand_rgb: whether there is a hand camera, before the static one.
        is_calvin: whether it was trained on CALVIN.
        is_tcp_relative: whether actions are relative to the tool's frame.
    """

    run: RunConfig
    used: dict[str, str]
    ignored: dict[str, str]
    image_size: int | None
    action_dim: int
    norm_min: float
    norm_max: float
    use_hand_rgb: bool
    is_calvin: bool
    is_tcp_relative: bool


def read_original(path: Path) -> OriginalConfig:
    """Read a training configuration of the original.

    Raises:
        ConfigError: if a file is missing or no JSON, a key is unknown, or a value has no counterpart here.
    """
    values = _read_with_parents(path, ())
    flat = _flatten(values, path)
    _check(flat, path)
    sections = {name: values.get(name) or {} for name in SECTIONS}
    translated = _translate({**values, **sections}, path)
    try:
        run = load_config(None, translated)
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).removeprefix('override ')}") from None
    low, high = run.data.action_range or (-1.0, 1.0)
    return OriginalConfig(
        run=run,
        used={key: TRANSLATED[key] for key in flat if key in TRANSLATED},
        ignored={key: IGNORED[key] for key in flat if key in IGNORED},
        image_size=_whole(flat, "image_size", path),
        action_dim=_whole(flat, "act_head.action_dim", path) or 7,
        norm_min=low,
        norm_max=high,
        use_hand_rgb=bool(values.get("use_hand_rgb")),
        is_calvin=_is_calvin(values),
        is_tcp_relative=bool(values.get("tcp_rel")),
    )


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """A file's values over those of its `parent`, which is looked for beside it and in the working directory."""
    if path.resolve() in children:
        raise ConfigError(f"{path}: `parent` leads back to the file itself")
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys with values, got {type(values).__name__}")
    if "__override__" in _all_keys(values):
        raise ConfigError(f"{path}: `__override__` is read by a part of the original only; write the values out")
    parent = values.get("parent")
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: parent: expected a path, got {json.dumps(parent)}")
    found = next((place for place in (path.parent / parent, Path(parent)) if place.is_file()), None)
    if found is None:
        raise ConfigError(f"{path}: its parent {parent!r} is neither beside it nor in the working directory")
    return _merge(_read_with_parents(found, (*children, path.resolve())), values)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _all_keys(values: Mapping[str, Any]) -> set[str]:
    return set(values).union(*(_all_keys(value) for value in values.values() if isinstance(value, Mapping)))


def _flatten(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Dotted keys; only the sections whose keys mean something here are opened."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key not in SECTIONS:
            flat[key] = value
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{name}": entry for name, entry in value.items()}
        elif value is not None:
            raise ConfigError(f"{path}: {key}: expected keys with values, got {json.dumps(value)}")
    return flat


def _check(flat: Mapping[str, Any], path: Path) -> None:
    for key, value in flat.items():
        if key not in KNOWN:
            raise ConfigError(f"{path}: " + unknown_name("key", key, KNOWN))
        if key in ONLY and not any(value is choice or value == choice for choice in ONLY[key]):
            expected = " or ".join(json.dumps(choice) for choice in ONLY[key][:1])
            raise ConfigError(f"{path}: {key} is {json.dumps(value)}; only {expected} has a counterpart here")


def _whole(flat: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = flat.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"{path}: {key}: expected a whole number of at least 1, got {json.dumps(value)}")
    return value


def _is_calvin(values: Mapping[str, Any]) -> bool:
    dataset = values.get("train_dataset")
    return isinstance(dataset, Mapping) and dataset.get("type") == "DiskCalvinDataset"


def _translate(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Our dotted keys and values; where the original says null, its default or ours counts."""
    given = {
        key: {k: v for k, v in value.items() if v is not None} if key in SECTIONS else value
        for key, value in values.items()
        if value is not None
    }
    return {**_policy(given, path), **_vlm(given, path), **_trained_parts(given), **_training(given, path)}


def _choice(table: Mapping[str, str], key: str, value: Any, path: Path) -> str:
    if not isinstance(value, str) or value not in table:
        raise ConfigError(f"{path}: {key}: " + unknown_name("value", str(value), table))
    return table[value]


def _policy(values: dict[str, Any], path: Path) -> dict[str, Any]:
    head = values["act_head"]
    name = _choice(HEADS, "act_head.type", head.get("type"), path)
    history = _choice(HISTORIES, "act_head.history_type", head.get("history_type", "post"), path)
    window = values.get("window_size", 1)
    if name == "discrete":  # the original puts the frames of a discrete policy into one sequence
        history = "interleaved"
    if window == 1 and name in ("fc", "discrete"):
        history = "one_step"
    source = _token_source(head, name, path)
    reads_queries = source == "action" and name != "discrete"
    return {
        "model.history": history,
        "model.head": name,
        "model.window_size": window,
        "model.fwd_pred_next_n": values.get("fwd_pred_next_n", 1),
        "model.latent": 1 if name == "discrete" else head.get("latent", 1),
        "model.token_source": source,
        "model.repeat_text": history == "interleaved",
        "model.original_layout": True,
        "model.hide_action_tokens": reads_queries and bool(head.get("fill_zero", False)),
        "model.use_proprio": False,
        "model.head_hidden_size": head.get("hidden_size", 1024),
        "model.head_num_layers": head.get("num_layers") or _DEFAULT_LAYERS.get(head["type"], 4),
        "model.num_bins": head.get("n_bin", 256),
        "model.gripper_loss_weight": values.get("arm_gripper_loss_ratio", 0.01),
        "model.resampler.num_latents": 64 if values.get("use_vision_resampler") else 0,
        "evaluate.execute_steps": 1,
    }


def _token_source(head: Mapping[str, Any], name: str, path: Path) -> Any:
    space, down_sample = head.get("action_space"), head.get("down_sample", "none")
    spaces = ("discrete",) if name == "discrete" else ("continuous", "down_sample")
    if space is not None and space not in spaces:
        expected = " or ".join(spaces)
        raise ConfigError(f"{path}: act_head.action_space is {space!r}; with {head['type']} it must be {expected}")
    if name == "discrete":
        return "action"
    if (space == "down_sample") != (down_sample == "pooling") or down_sample not in ("none", "pooling"):
        raise ConfigError(
            f"{path}: act_head.down_sample {down_sample!r} does not go with action_space {space or 'continuous'!r}"
        )
    return head.get("token_source", "all") if space == "down_sample" else "action"


def _vlm(values: dict[str, Any], path: Path) -> dict[str, Any]:
    tokenizer, vlm = values["tokenizer"], values["vlm"]
    kind = tokenizer.get("tokenizer_type", "kosmos")
    prompt = _choice(PROMPTS, "tokenizer.tokenizer_type", kind, path)
    if values["act_head"].get("type") == "DiscreteDecoder":
        prompt = _discrete_prompt(values, kind, path)
    if "robovlm_name" in values or "model" not in values:
        name = _choice(VLMS, "robovlm_name", values.get("robovlm_name"), path)
    else:
        name = _choice({own: own for own in VLMS.values()}, "model", values["model"], path)
    return {
        "model.vlm.name": name,
        "model.vlm.pretrained": vlm.get("pretrained_model_name_or_path"),
        "model.tokenizer.pretrained": tokenizer.get("pretrained_model_name_or_path"),
        "model.tokenizer.max_text_len": tokenizer.get("max_text_len", 128),
        "model.tokenizer.prompt_template": prompt,
    }


def _discrete_prompt(values: dict[str, Any], kind: str, path: Path) -> str:
    if kind not in _PHI_STYLE:
        raise ConfigError(f"{path}: prompts of discrete policies are known for {_PHI_STYLE}, not for {kind!r}")
    steps = (_whole(values, "fwd_pred_next_n", path) or 1) + _is_calvin(values)  # CALVIN asks for one step too many
    return _DISCRETE_PROMPT.format(action="action" if steps == 1 else f"{steps} step actions")


def _trained_parts(values: dict[str, Any]) -> dict[str, Any]:
    """What the original trains. Its `freeze_backbone` leaves vision tower and embedding to switches of their own."""
    setup, name = values["train_setup"], values.get("robovlm_name")
    layers = setup.get("train_decoder_layers", -1)
    last = layers if layers != -1 else (0 if setup.get("freeze_backbone") else None)
    is_flamingo = name == "RoboFlamingo"
    if is_flamingo and last is None and not setup.get("train_full_decoder"):
        last = 0  # gated blocks, resampler and embedding
    has_lora, train_vision = bool(setup.get("lora_enable")), bool(setup.get("train_vision", True))
    adapted = ["text", "vision"] if name == "RoboKosMos" and train_vision else ["text"]  # by the names of its layers
    return {
        "model.freeze_vision": not train_vision,
        "model.freeze_text_embedding": not setup.get("train_text_embedding", True),
        "model.freeze_resampler": bool(setup.get("freeze_resampler", False))
        or (is_flamingo and not setup.get("train_resampler", True)),
        "model.train_decoder_layers": None if has_lora else last,
        "model.lora.rank": setup.get("lora_r", 64) if has_lora else 0,
        "model.lora.alpha": setup.get("lora_alpha", 16),
        "model.lora.dropout": setup.get("lora_dropout", 0.0),
        "model.lora.towers": adapted,
        "model.gradient_checkpointing": bool(setup.get("gradient_checkpointing", False)),
    }


def _training(values: dict[str, Any], path: Path) -> dict[str, Any]:
    batch_size = values.get("batch_size", 1)
    if isinstance(batch_size, list) and len(batch_size) != 1:
        raise ConfigError(f"{path}: batch_size {batch_size} is one of several datasets; give one number")
    scales = {"constant": 1.0, "cosine": 0.0, "half-cosine": values.get("min_lr_scale", 0.01)}
    scheduler = str(values.get("scheduler", "constant"))
    if scheduler not in scales:
        raise ConfigError(f"{path}: " + unknown_name("scheduler", scheduler, scales))
    clip = values.get("gradient_clip_val") or values["trainer"].get("gradient_clip_val")
    translated = {
        "train.seed": values.get("seed", 0),
        "train.learning_rate": values.get("learning_rate", 1e-4),
        "train.weight_decay": values.get("weight_decay", 0.0),
        "train.min_lr_scale": scales[scheduler],
        "train.gradient_clip_norm": clip or None,
        "train.precision": "bf16" if values["train_setup"].get("precision") == "bf16" else "fp32",
        "data.batch_size": batch_size[0] if isinstance(batch_size, list) else batch_size,
        "data.num_workers": values.get("num_workers", 0),
        "data.cameras": ["wrist", "static"] if values.get("use_hand_rgb") else ["static"],
        **_steps(values, path),
    }
    if values.get("norm_action"):
        translated["data.action_range"] = [values.get("norm_min", -1.0), values.get("norm_max", 1.0)]
    if values.get("use_mu_law"):
        translated["data.action_mu"] = values.get("mu_val", 255)
    return translated


def _steps(values: dict[str, Any], path: Path) -> dict[str, int]:
    """The original counts epochs unless `max_steps` is positive; our number must not be below that of the warm-up."""
    warmup = (_whole(values, "warmup_steps", path) or 0) if values.get("warmup_steps") else 0
    max_steps = values["trainer"].get("max_steps", -1)
    if max_steps in (-1, 0):
        max_steps = max(TrainConfig().max_steps, warmup)
    return {"train.warmup_steps": warmup, "train.max_steps": max_steps}
