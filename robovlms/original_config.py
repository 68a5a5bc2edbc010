"""Training configurations of the original RoboVLMs (JSON with `parent` inheritance) read as ours.

Every key that the original knows is either translated, or ignored for a reason that is reported. A value that would
change the numbers and has no counterpart here is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robovlms.config import RunConfig, load_config
from robovlms.errors import ConfigError, unknown_name

VLMS = {
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
_CALVIN = "DiskCalvinDataset"  # asks for one step more than it predicts

_UNREAD = "the original does not read it"
_ITS_PATH = "a path of the machine that trained"
_EPOCHS = "counts epochs; how many steps that is depends on the dataset: set train.max_steps and train.warmup_steps"
_OTHER_LOSS = "weight of a loss that is not used"
_DATA = "describes the dataset: set data.path"
IGNORED: dict[str, str] = {
    **dict.fromkeys(("task_name", "exp_name", "output_root", "log_root", "cache_root"), _ITS_PATH),
    **dict.fromkeys(("model_url", "model_path", "model_load_path", "model_load_source", "resume", "config"), _ITS_PATH),
    **dict.fromkeys(("llava", "llava_config", "qwen", "deepspeed_config"), _ITS_PATH),
    **dict.fromkeys(("model_config", "image_mean", "image_std", "data_scale", "optimizer", "warmup_ratio"), _UNREAD),
    **dict.fromkeys(("use_time_causal_attn", "use_mim_obs_loss", "use_pixel_loss", "use_obs_queries"), _UNREAD),
    **dict.fromkeys(("vision_masked_ratio", "use_tube_mask", "discrete_action_history", "train_weights"), _UNREAD),
    **dict.fromkeys(("cap_loss_ratio", "fwd_loss_ratio", "kl_div_ratio"), _OTHER_LOSS),
    **dict.fromkeys(("clip_norm_ratio", "vl_cotrain_ratio"), _OTHER_LOSS),
    "model": "the same as robovlm_name",
    "seq_len": "only counts what is logged",
    "mu_val": "use_mu_law is off",
    "x_mean": "regular_action is off",
    "x_std": "regular_action is off",
    "warmup_epochs": _EPOCHS,
    "vision_encoder": "the VLM folder says it",
    "vision_resampler": "the original ignores it: 6 layers, 64 latents, 8 heads of 64",
    "act_head.fwd_pred_next_n": "overwritten by the top-level value, as in the original",
    "act_head.window_size": "overwritten by the top-level value, as in the original",
    "act_head.with_history": _UNREAD,
    "act_head.policy_rnn_dropout_p": "acts in training only; training here has no dropout in the LSTM",
    "train_setup.load_vl_param": "weights come from the checkpoint",
    "train_setup.train_full_decoder": "train_decoder_layers says it",
    "train_setup.reinit": "acts before training only",
    "train_setup.lora_bias": "biases stay frozen",
    **{f"train_setup.{name}": _UNREAD for name in (
        "freeze_mm_mlp_adapter", "tune_mm_mlp_adapter", "mm_use_im_start_end", "mm_use_im_patch_token",
        "mm_projector_lr",
    )},
    "train_setup.bits": _UNREAD,
    "tokenizer.type": "the VLM folder says it",
    "tokenizer.additional_special_tokens": "the VLM's adapter adds them",
    **{f"tokenizer.{name}": _UNREAD for name in (
        "use_local_files", "use_img_start_end", "image_start_token", "image_end_token", "use_act_start_end",
        "action_start_token", "action_end_token", "use_bbox_start_end", "bbox_start_token", "bbox_end_token",
    )},
    "vlm.type": "the VLM folder says it",
    "vlm.name": "the same as robovlm_name",
    "vlm.residual": _UNREAD,
    **{f"trainer.{name}": "a setting of the original's training framework" for name in (
        "accelerator", "strategy", "logger", "use_distributed_sampler", "log_every_n_steps", "val_check_interval",
        "check_val_every_n_epoch", "limit_val_batches", "limit_train_batches", "num_sanity_val_steps", "devices",
        "num_nodes", "benchmark",
    )},
    "trainer.precision": "train_setup.precision says it",
    "trainer.max_epochs": _EPOCHS,
    "trainer.accumulate_grad_batches": "gradients are not accumulated: choose data.batch_size",
    **{f"{split}_dataset": _DATA for split in ("train", "val")},
}  # fmt: skip
# Keys whose value must be one of these, because anything else changes the numbers and has no counterpart here.
ONLY: dict[str, tuple[Any, ...]] = {
    "act_encoder": (None,),
    "fwd_head": (None,),
    "use_clip_norm": (False, None),
    "use_mu_law": (False, None),
    "regular_action": (False, None),
    "train_setup.predict_action": (True,),
    "train_setup.predict_forward": (False, None),
    "train_setup.predict_forward_hand": (False, None),
    "train_setup.predict_caption": (False, None),
    "train_setup.train_resampler": (True, None),
    "act_head.min_action": (-1, -1.0, None),
    "act_head.max_action": (1, 1.0, None),
}
_TRANSLATED = {
    "robovlm_name", "parent", "window_size", "fwd_pred_next_n", "arm_gripper_loss_ratio", "seed", "batch_size",
    "num_workers", "learning_rate", "min_lr_scale", "weight_decay", "warmup_steps", "scheduler", "gradient_clip_val",
    "use_hand_rgb", "use_vision_resampler", "image_size", "norm_action", "norm_min", "norm_max", "tcp_rel",
    "act_head.type", "act_head.hidden_size", "act_head.action_dim", "act_head.down_sample", "act_head.latent",
    "act_head.action_space", "act_head.token_source", "act_head.history_type", "act_head.fill_zero",
    "act_head.num_layers", "act_head.n_bin",
    "train_setup.precision", "train_setup.train_vision", "train_setup.freeze_backbone",
    "train_setup.train_decoder_layers", "train_setup.train_text_embedding", "train_setup.freeze_resampler",
    "train_setup.lora_enable", "train_setup.lora_r", "train_setup.lora_alpha", "train_setup.lora_dropout",
    "train_setup.gradient_checkpointing",
    "tokenizer.pretrained_model_name_or_path", "tokenizer.tokenizer_type", "tokenizer.max_text_len",
    "vlm.pretrained_model_name_or_path", "trainer.gradient_clip_val", "trainer.max_steps",
}  # fmt: skip
KNOWN = _TRANSLATED | set(IGNORED) | set(ONLY)
_SECTIONS = ("act_head", "train_setup", "tokenizer", "vlm", "trainer")


@dataclass(frozen=True, kw_only=True)
class OriginalConfig:
    """A configuration of the original, in our terms.

    Attributes:
        run: what was translated.
        ignored: key of the file -> why it plays no part.
        image_size: height and width in pixels that the original resized to; None = not given.
        action_dim: numbers per action, the gripper last.
        norm_min, norm_max: physical range of the arm that is [-1, 1] to the policy.
        use_hand_rgb: whether there is a hand camera, before the static one.
        is_tcp_relative: whether actions are relative to the tool's frame.
    """

    run: RunConfig
    ignored: dict[str, str]
    image_size: int | None
    action_dim: int
    norm_min: float
    norm_max: float
    use_hand_rgb: bool
    is_tcp_relative: bool


def read_original(path: Path) -> OriginalConfig:
    """Read a training configuration of the original.

    Raises:
        ConfigError: if a file is missing or no JSON, a key is unknown, or a value has no counterpart here.
    """
    values = _read_with_parents(path, ())
    flat = _flatten(values)
    _check(flat, path)
    head, setup = values.get("act_head") or {}, values.get("train_setup") or {}
    try:
        run = load_config(None, _translate(values, head, setup, path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    is_normalised = values.get("norm_action", False)
    return OriginalConfig(
        run=run,
        ignored={key: IGNORED[key] for key in flat if key in IGNORED},
        image_size=values.get("image_size"),
        action_dim=head.get("action_dim", 7),
        norm_min=values.get("norm_min", -1.0) if is_normalised else -1.0,
        norm_max=values.get("norm_max", 1.0) if is_normalised else 1.0,
        use_hand_rgb=bool(values.get("use_hand_rgb")),
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
    parent = values.get("parent")
    if parent is None:
        return values
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


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; only the sections whose keys mean something here are opened."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in _SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    return flat


def _check(flat: Mapping[str, Any], path: Path) -> None:
    for key, value in flat.items():
        if key not in KNOWN:
            raise ConfigError(f"{path}: " + unknown_name("key", key, KNOWN))
        if key in ONLY and not any(value is choice or value == choice for choice in ONLY[key]):
            expected = " or ".join(json.dumps(choice) for choice in ONLY[key][:1])
            raise ConfigError(f"{path}: {key} is {json.dumps(value)}; only {expected} has a counterpart here")


def _translate(values: dict[str, Any], head: dict[str, Any], setup: dict[str, Any], path: Path) -> dict[str, Any]:
    return {
        **_policy(values, head, path),
        **_vlm(values, head, path),
        **_trained_parts(values, setup),
        **_training(values, setup, path),
    }


def _choice(table: Mapping[str, str], key: str, value: Any, path: Path) -> str:
    if value not in table:
        raise ConfigError(f"{path}: {key}: " + unknown_name("value", str(value), table))
    return table[value]


def _policy(values: dict[str, Any], head: dict[str, Any], path: Path) -> dict[str, Any]:
    kind = head.get("type")
    history = _choice(HISTORIES, "act_head.history_type", head.get("history_type", "post"), path)
    name = _choice(HEADS, "act_head.type", kind, path)
    window = values.get("window_size", 1)
    if name == "discrete":  # the original puts the frames of a discrete policy into one sequence
        history = "interleaved"
    if window == 1 and name in ("fc", "discrete"):
        history = "one_step"
    space = head.get("action_space", "discrete" if name == "discrete" else "continuous")
    pooled = space == "down_sample"
    if pooled != (head.get("down_sample") == "pooling") and name != "discrete":
        raise ConfigError(
            f"{path}: act_head.down_sample {head.get('down_sample')!r} does not go with action_space {space!r}"
        )
    return {
        "model.history": history,
        "model.head": name,
        "model.window_size": window,
        "model.fwd_pred_next_n": values.get("fwd_pred_next_n", 1),
        "model.latent": head.get("latent", 1),
        "model.token_source": head.get("token_source", "all") if pooled else "action",
        "model.repeat_text": history == "interleaved",
        "model.original_layout": True,
        "model.hide_action_tokens": bool(head.get("fill_zero", False)),
        "model.use_proprio": False,
        "model.head_hidden_size": head.get("hidden_size", 1024),
        "model.head_num_layers": head.get("num_layers") or _DEFAULT_LAYERS.get(str(kind), 4),
        "model.num_bins": head.get("n_bin", 256),
        "model.gripper_loss_weight": values.get("arm_gripper_loss_ratio", 0.01),
        "model.resampler.num_latents": 64 if values.get("use_vision_resampler") else 0,
        "evaluate.execute_steps": 1,
    }


def _vlm(values: dict[str, Any], head: dict[str, Any], path: Path) -> dict[str, Any]:
    tokenizer, vlm = values.get("tokenizer") or {}, values.get("vlm") or {}
    kind = tokenizer.get("tokenizer_type", "kosmos")
    prompt = _choice(PROMPTS, "tokenizer.tokenizer_type", kind, path)
    if head.get("type") == "DiscreteDecoder":
        if kind not in _PHI_STYLE:
            raise ConfigError(f"{path}: prompts of discrete policies are known for {_PHI_STYLE}, not for {kind!r}")
        steps = values.get("fwd_pred_next_n", 1) + ((values.get("train_dataset") or {}).get("type") == _CALVIN)
        prompt = _DISCRETE_PROMPT.format(action="action" if steps == 1 else f"{steps} step actions")
    return {
        "model.vlm.name": _choice(VLMS, "robovlm_name", values.get("robovlm_name"), path),
        "model.vlm.pretrained": vlm.get("pretrained_model_name_or_path"),
        "model.tokenizer.pretrained": tokenizer.get("pretrained_model_name_or_path"),
        "model.tokenizer.max_text_len": tokenizer.get("max_text_len", 128),
        "model.tokenizer.prompt_template": prompt,
    }


def _trained_parts(values: dict[str, Any], setup: dict[str, Any]) -> dict[str, Any]:
    """What the original trains. Its `freeze_backbone` leaves vision tower and embedding to switches of their own."""
    layers = setup.get("train_decoder_layers", -1)
    last = layers if layers not in (None, -1) else (0 if setup.get("freeze_backbone") else None)
    if values.get("robovlm_name") == "RoboFlamingo" and last is None and not setup.get("train_full_decoder"):
        last = 0  # gated blocks, resampler and embedding
    has_lora = bool(setup.get("lora_enable"))
    return {
        "model.freeze_vision": not setup.get("train_vision", True),
        "model.freeze_text_embedding": not setup.get("train_text_embedding", True),
        "model.freeze_resampler": bool(setup.get("freeze_resampler", False)),
        "model.train_decoder_layers": None if has_lora else last,
        "model.lora.rank": setup.get("lora_r", 64) if has_lora else 0,
        "model.lora.alpha": float(setup.get("lora_alpha", 16)),
        "model.lora.dropout": setup.get("lora_dropout", 0.0),
        "model.gradient_checkpointing": bool(setup.get("gradient_checkpointing", False)),
    }


def _training(values: dict[str, Any], setup: dict[str, Any], path: Path) -> dict[str, Any]:
    batch_size = values.get("batch_size", 1)
    if isinstance(batch_size, list) and len(batch_size) != 1:
        raise ConfigError(f"{path}: batch_size {batch_size} is one of several datasets; give one number")
    scheduler = values.get("scheduler", "constant")
    scales = {"constant": 1.0, "cosine": 0.0, "half-cosine": values.get("min_lr_scale", 0.01)}
    if scheduler not in scales:
        raise ConfigError(f"{path}: " + unknown_name("scheduler", str(scheduler), scales))
    trainer = values.get("trainer") or {}
    clip = values.get("gradient_clip_val") or trainer.get("gradient_clip_val")
    max_steps = trainer.get("max_steps", -1)
    translated = {
        "train.seed": values.get("seed", 0),
        "train.learning_rate": values.get("learning_rate", 1e-4),
        "train.weight_decay": float(values.get("weight_decay", 0.0)),
        "train.min_lr_scale": scales[scheduler],
        "train.gradient_clip_norm": clip or None,
        "train.precision": "bf16" if setup.get("precision") == "bf16" else "fp32",
        "train.warmup_steps": values.get("warmup_steps", 0),
        "data.batch_size": batch_size[0] if isinstance(batch_size, list) else batch_size,
        "data.num_workers": values.get("num_workers", 0),
        "data.cameras": ["wrist", "static"] if values.get("use_hand_rgb") else ["static"],
    }
    if values.get("norm_action"):
        translated["data.action_range"] = [values.get("norm_min", -1.0), values.get("norm_max", 1.0)]
    if max_steps and max_steps > 0:
        translated["train.max_steps"] = max_steps
    return translated
