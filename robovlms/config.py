"""The configuration of a run: frozen dataclasses, every value with one home; a YAML file holds only what differs.

::

    RunConfig
    ├── model: ModelConfig      backbone × history × head
    │   ├── vlm: VLMConfig
    │   ├── tokenizer: TokenizerConfig
    │   ├── resampler: ResamplerConfig
    │   └── lora: LoRAConfig
    ├── data: DataConfig
    ├── train: TrainConfig
    └── evaluate: EvaluateConfig

`load_config` reads the file, applies overrides such as "train.max_steps=100" and checks every key and type;
`dump_config` writes all values back.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robovlms.errors import ConfigError
from robovlms.typed_yaml import build, check_types, dump_yaml, merge, parse_overrides, read_yaml


@dataclass(frozen=True, kw_only=True)
class VLMConfig:
    """Which vision-language model, and where its weights come from.

    Attributes:
        name: key of `robovlms.model.vlm.POLICIES`, for example "tiny" or "paligemma".
        pretrained: hub id or folder for `from_pretrained`; None builds a randomly initialised model.
        image_size: height and width in pixels that frames are resized to; None takes the VLM's own, which only some can
            change.
        overrides: architecture values for the randomly initialised model; keys as in the backbone's own configuration.
    """

    name: str = "tiny"
    pretrained: str | None = None
    image_size: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How an instruction becomes token ids.

    Attributes:
        pretrained: hub id or folder of the tokenizer; None takes the VLM's own.
        prompt_template: text around the instruction, with the field `{instruction}`; None takes the VLM's own.
        max_text_len: longest prompt in tokens; a longer one is an error, never cut in silence.
    """

    pretrained: str | None = None
    prompt_template: str | None = None
    max_text_len: int = 128


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
    """A perceiver resampler between vision tower and decoder: any number of image tokens becomes a few.

    Attributes:
        num_latents: image tokens that it leaves; 0 = no resampler.
        depth: layers.
        num_heads: attention heads.
        head_dim: width of a head.
    """

    num_latents: int = 0
    depth: int = 6
    num_heads: int = 8
    head_dim: int = 64

    def __post_init__(self) -> None:
        _require(self.num_latents >= 0, f"model.resampler.num_latents must not be negative, got {self.num_latents}")
        for name in ("depth", "num_heads", "head_dim"):
            _require(getattr(self, name) >= 1, f"model.resampler.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters beside frozen weights.

    Attributes:
        rank: of the adapters; 0 = none.
        alpha: scale of the adapters times their rank.
        dropout: on the adapters' input, in [0, 1).
        towers: which parts of the VLM get them.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    towers: tuple[Literal["text", "vision"], ...] = ("text",)

    def __post_init__(self) -> None:
        _require(self.rank >= 0, f"model.lora.rank must not be negative, got {self.rank}")
        _require(0 <= self.dropout < 1, f"model.lora.dropout must lie in [0, 1), got {self.dropout}")
        _require(not self.rank or bool(self.towers), "model.lora.towers is empty but model.lora.rank is not 0")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The policy: backbone × history × head.

    Attributes:
        vlm: the backbone.
        tokenizer: the text side.
        history: "one_step" looks at one frame; "policy_head" encodes each frame by itself and lets the head put them
            together; "interleaved" puts the frames into one causal sequence; "video" shows all frames at once.
        head: key of `robovlms.model.head.HEADS`: "fc", "lstm", "gpt", "discrete" or "l1_chunk".
        decoder: how fc, lstm and gpt give an action: "regression" or "flow_matching".
        window_size: t, observations per window, the current one included; 1 for one_step.
        fwd_pred_next_n: n, actions predicted per observation.
        latent: number of learned action-query tokens per frame.
        token_source: what the head reads: "action" queries, or a max-pool of "all", "text" or "vision" tokens.
        repeat_text: interleaved only: repeat the instruction in every frame, as the original does, instead of once.
        original_layout: put images, queries and action tokens where the original RoboVLMs did; for its checkpoints.
        hide_action_tokens: action queries are seen by nobody; the original's `fill_zero`.
        use_proprio: whether proprioception enters the sequence as one token.
        resampler: between vision tower and decoder.
        head_hidden_size: width of the head's trunk.
        head_num_layers: layers of a recurrent trunk; ignored by the others.
        head_num_heads: attention heads of "gpt".
        num_bins: action tokens per number, for "discrete".
        freeze_backbone: train only head, action queries, proprioception and, unless frozen too, the resampler.
        freeze_vision: keep the vision tower fixed.
        freeze_text_embedding: keep the token embedding fixed.
        freeze_resampler: keep the resampler fixed.
        train_decoder_layers: of the VLM, train only so many of the decoder's last layers, and what is not frozen of
            vision tower, token embedding and resampler; None trains all.
        lora: adapters; with them the rest of the VLM is frozen, but for the resampler.
        base_bits: bits per weight of the frozen linear layers of the text tower; 16 leaves them as they are.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        gripper_loss_weight: weight of the gripper's cross-entropy beside the arm's Huber loss.
        huber_delta: error, in the normalised space, above which the arm loss grows linearly.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    history: Literal["one_step", "policy_head", "interleaved", "video"] = "one_step"
    head: str = "fc"
    decoder: Literal["regression", "flow_matching"] = "regression"
    window_size: int = 1
    fwd_pred_next_n: int = 8
    latent: int = 1
    token_source: Literal["action", "all", "text", "vision"] = "action"
    repeat_text: bool = False
    original_layout: bool = False
    hide_action_tokens: bool = False
    use_proprio: bool = True
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    head_hidden_size: int = 256
    head_num_layers: int = 4
    head_num_heads: int = 8
    num_bins: int = 256
    freeze_backbone: bool = False
    freeze_vision: bool = False
    freeze_text_embedding: bool = False
    freeze_resampler: bool = False
    train_decoder_layers: int | None = None
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    base_bits: Literal[16, 8, 4] = 16
    gradient_checkpointing: bool = False
    gripper_loss_weight: float = 0.01
    huber_delta: float = 1.0

    def __post_init__(self) -> None:
        counts = ("window_size", "fwd_pred_next_n", "latent", "head_hidden_size", "head_num_layers", "head_num_heads")
        for name in counts:
            _require(getattr(self, name) >= 1, f"model.{name} must be at least 1, got {getattr(self, name)}")
        _require(self.huber_delta > 0, f"model.huber_delta must be positive, got {self.huber_delta}")
        weight = self.gripper_loss_weight
        _require(weight >= 0, f"model.gripper_loss_weight must not be negative, got {weight}")
        length = self.tokenizer.max_text_len
        _require(length >= 1, f"model.tokenizer.max_text_len must be at least 1, got {length}")
        _require(
            self.history != "one_step" or self.window_size == 1,
            f"model.history is 'one_step' but model.window_size is {self.window_size}; "
            "set window_size: 1 or history: policy_head",
        )
        _require(
            not self.repeat_text or self.history == "interleaved",
            f"model.repeat_text is for history: interleaved, but model.history is {self.history!r}",
        )
        _require(
            self.token_source == "action" or self.history != "interleaved" or self.repeat_text,
            f"model.token_source {self.token_source!r} needs the text in every frame; set repeat_text: true",
        )
        _require(
            not self.original_layout or self.history != "interleaved" or self.repeat_text,
            "model.original_layout is the original's, which has the text in every frame; set repeat_text: true",
        )
        _require(
            not self.hide_action_tokens or self.token_source == "action",
            f"model.hide_action_tokens: with token_source {self.token_source!r} there are none; set it to false",
        )
        _require(self.num_bins >= 2, f"model.num_bins must be at least 2, got {self.num_bins}")
        layers = self.train_decoder_layers
        _require(layers is None or layers >= 0, f"model.train_decoder_layers must not be negative, got {layers}")
        _require(
            not (self.freeze_backbone and layers),
            f"model.freeze_backbone is true but model.train_decoder_layers is {layers}; leave one of them out",
        )
        rank = self.lora.rank
        _require(
            not rank or layers is None,
            f"model.lora.rank is {rank}, which freezes the VLM, but model.train_decoder_layers is {layers}; "
            "leave one of them out",
        )
        _require(
            not (rank and self.freeze_vision and "vision" in self.lora.towers),
            f"model.freeze_vision is true but model.lora.towers is {list(self.lora.towers)}; leave one of them out",
        )
        _require(
            self.base_bits == 16 or rank > 0 or self.freeze_backbone,
            f"model.base_bits is {self.base_bits}, which only frozen weights can have; set model.freeze_backbone: true "
            "or model.lora.rank",
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on and how it is fed.

    Attributes:
        path: dataset folder, LeRobot v3.0 layout.
        cameras: camera names in the order the policy takes them (the original's: wrist, static); None takes all of the
            dataset's, sorted.
        batch_size: windows per optimiser step.
        num_workers: loader processes; 0 loads in the training process.
        val_episodes: episodes per task held out for validation, the last ones.
        action_scheme: normalisation of the regression dimensions of an action to [-1, 1], what the heads can reach.
        action_range: physical range (low, high) of every regression dimension that is mapped to [-1, 1]; None takes
            the dataset's statistics, each dimension its own.
        proprio_scheme: normalisation of the proprioception.
        random_shift_px: random image shift in training, at most this many pixels each way, replicated at the border.
    """

    path: Path | None = None
    cameras: tuple[str, ...] | None = None
    batch_size: int = 128
    num_workers: int = 0
    val_episodes: int = 1
    action_scheme: Literal["min_max", "quantile"] = "min_max"
    action_range: tuple[float, float] | None = None
    proprio_scheme: Literal["min_max", "quantile", "mean_std", "none"] = "mean_std"
    random_shift_px: int = 4

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, f"data.batch_size must be at least 1, got {self.batch_size}")
        bounds = self.action_range
        _require(bounds is None or bounds[0] < bounds[1], f"data.action_range must rise, got {bounds}")
        for name in ("num_workers", "val_episodes", "random_shift_px"):
            _require(getattr(self, name) >= 0, f"data.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found.

    Attributes:
        out: run folder; holds `metrics.jsonl` and `checkpoints/`.
        seed: of initial weights, sample order and augmentation.
        max_steps: optimiser steps.
        learning_rate: peak learning rate of head and new tokens.
        backbone_learning_rate: peak learning rate of the backbone; None takes `learning_rate`.
        weight_decay: AdamW decay of matrices; biases, norms and embeddings are not decayed.
        warmup_steps: linear warm-up.
        min_lr_scale: share of the peak learning rate that the cosine ends at, in [0, 1].
        gradient_clip_norm: largest global gradient norm; None does not clip.
        precision: "bf16" computes matrix products in bfloat16 (weights stay float32); "auto" takes bf16 where the
            hardware has it.
        device: "auto" takes CUDA if there is one.
        save_every: steps between checkpoints; the last step is always saved.
        keep_checkpoints: how many checkpoints are kept, the newest ones.
        log_every: steps between lines of `metrics.jsonl`.
        val_every: steps between validation passes; 0 never validates.
    """

    out: Path = Path("runs/train")
    seed: int = 0
    max_steps: int = 1000
    learning_rate: float = 1e-3
    backbone_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_steps: int = 100
    min_lr_scale: float = 0.01
    gradient_clip_norm: float | None = 1.0
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    device: str = "auto"
    save_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 10
    val_every: int = 100

    def __post_init__(self) -> None:
        for name in ("max_steps", "save_every", "keep_checkpoints", "log_every"):
            _require(getattr(self, name) >= 1, f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_steps", "val_every", "weight_decay", "seed"):
            _require(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "backbone_learning_rate"):
            rate = getattr(self, name)
            _require(rate is None or 0 < rate < math.inf, f"train.{name} must be positive and finite, got {rate}")
        _require(0 <= self.min_lr_scale <= 1, f"train.min_lr_scale must lie in [0, 1], got {self.min_lr_scale}")
        _require(
            self.warmup_steps <= self.max_steps,
            f"train.warmup_steps is {self.warmup_steps} but train.max_steps is only {self.max_steps}; "
            "warm up for fewer steps or train for more",
        )
        clip = self.gradient_clip_norm
        _require(clip is None or clip > 0, f"train.gradient_clip_norm must be positive or null, got {clip}")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How a policy is tried in closed loop.

    Attributes:
        env: key of `robovlms.evaluate.envs.ENVIRONMENTS`.
        tasks: task names; empty takes the tasks of the dataset.
        episodes: episodes per task.
        seed: of the first episode of each task; episode i has seed + i.
        max_steps: an episode without success ends here.
        execute_steps: actions executed of each predicted chunk before the policy looks again.
        workers: parallel processes; the result does not depend on it.
        videos: episodes per task that are filmed.
        device: where the policies compute; "auto" takes CUDA if there is one. Each worker holds a policy of its own.
    """

    env: str = "metaworld"
    tasks: tuple[str, ...] = ()
    episodes: int = 20
    seed: int = 10_000
    max_steps: int = 500
    execute_steps: int = 4
    workers: int = 2
    videos: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("episodes", "max_steps", "execute_steps", "workers"):
            _require(getattr(self, name) >= 1, f"evaluate.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "videos"):
            _require(getattr(self, name) >= 0, f"evaluate.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, from data to evaluation.

    Attributes:
        model: the policy.
        data: what it learns from.
        train: how it learns.
        evaluate: how it is tried.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        _require(
            self.evaluate.execute_steps <= self.model.fwd_pred_next_n,
            f"evaluate.execute_steps is {self.evaluate.execute_steps} but model.fwd_pred_next_n is only "
            f"{self.model.fwd_pred_next_n}; a chunk holds fewer actions than are to be executed",
        )


def load_config(path: str | Path | None = None, overrides: Sequence[str] | Mapping[str, Any] = ()) -> RunConfig:
    """Read a run's configuration.

    Args:
        path: YAML file that holds what differs from the defaults, or a JSON of the original RoboVLMs; None starts from
            the defaults.
        overrides: what differs from the file: texts like "train.max_steps=100", or a mapping with dotted keys.

    Raises:
        ConfigError: the file is missing or no YAML, or a key is unknown, of the wrong type, or contradicts another one.
    """
    place = "" if path is None else f"{path}: "
    if path is None:
        values = {}
    elif Path(path).suffix == ".json":
        from robovlms.original_config import read_original  # that module makes a RunConfig, so it imports this one

        values = dataclasses.asdict(read_original(Path(path)).run)
    else:
        values = check_types(RunConfig, read_yaml(Path(path)), where=place)
    for override in parse_overrides([overrides] if isinstance(overrides, str) else overrides):
        values = merge(values, check_types(RunConfig, override, where="override "))
    try:
        return build(RunConfig, values)
    except ConfigError as error:
        with_overrides = " with overrides" if overrides else ""
        raise ConfigError(f"{path}{with_overrides}: {error}" if path else str(error)) from None


def dump_config(config: RunConfig) -> str:
    """Return YAML of every value; `load_config` makes an equal configuration of it."""
    return dump_yaml(config)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value for every value of a dataclass, in the order of its fields."""
    flat: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        key, value = f"{prefix}{entry.name}", getattr(config, entry.name)
        flat |= flatten(value, f"{key}.") if dataclasses.is_dataclass(value) else {key: value}
    return flat


def field_docs(section: type) -> dict[str, str]:
    """Return field name -> its documentation, from the "Attributes:" part of the class docstring."""
    docs: dict[str, str] = {}
    name = ""
    for line in (section.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        start = re.fullmatch(r" {8}(\w+): (.*)", line)
        if start:
            name, docs[start[1]] = start[1], start[2]
        elif line.strip():
            docs[name] += " " + line.strip()
    return docs


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
