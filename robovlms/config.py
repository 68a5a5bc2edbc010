"""The configuration of a run: frozen dataclasses, every value with one home; a YAML file holds only what differs.

::

    RunConfig
    ├── model: ModelConfig      backbone × history × head
    │   ├── vlm: VLMConfig
    │   ├── tokenizer: TokenizerConfig
    │   ├── resampler: ResamplerConfig
    │   └── lora: LoRAConfig
    ├── data: DataConfig
    │   ├── augment: AugmentConfig
    │   ├── vision_language: VisionLanguageConfig
    │   └── mixture: SourceConfig, any number
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

from robovlms.augment_config import AugmentConfig
from robovlms.errors import ConfigError
from robovlms.model_config import LoRAConfig, ModelConfig, ResamplerConfig, TokenizerConfig, VLMConfig
from robovlms.typed_yaml import build, check_types, dump_yaml, merge, parse_overrides, read_yaml, require

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "EvaluateConfig",
    "LoRAConfig",
    "ModelConfig",
    "ResamplerConfig",
    "RunConfig",
    "SourceConfig",
    "TokenizerConfig",
    "TrainConfig",
    "VLMConfig",
    "VisionLanguageConfig",
    "dump_config",
    "field_docs",
    "flatten",
    "load_config",
]


_ActionScheme = Literal["min_max", "quantile"]
_ProprioScheme = Literal["min_max", "quantile", "mean_std", "none"]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One dataset of a mixture.

    Attributes:
        path: folder or file.
        name: short name in messages, metrics and contracts; None takes the name of the folder.
        format: key of `robovlms.data.sources.registry.SOURCES`; "auto" looks at the files.
        options: keywords of that format.
        weight: share of the samples, relative to the others and to `data.mixture_by`.
        stream: read front to back through a shuffle pool, without an index; for sets too large to look at first.
        cameras: policy's camera -> this dataset's, where the names differ.
        rename: this dataset's action dimension -> the policy's. Dimensions of one name must mean the same thing.
    """

    path: Path
    name: str | None = None
    format: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    stream: bool = False
    cameras: dict[str, str] = field(default_factory=dict)
    rename: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(0 < self.weight < math.inf, f"data.mixture: weight of {self.path} must be positive, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class VisionLanguageConfig:
    """Questions and answers about images that keep a VLM's knowledge while it learns to act.

    Attributes:
        path: JSON or JSON-lines file in the format of LLaVA; None = none.
        images: folder of its images; None = the folder of the file.
        template: text around a question, up to where the answer begins, with the field `{question}`.
        system: text before the first question.
        max_text_len: tokens that are kept of a conversation.
        batch_size: conversations per optimiser step.
        weight: of their loss beside that of the actions (the original: 0.05, with a discrete head 0.5).
    """

    path: Path | None = None
    images: Path | None = None
    template: str = "{question}\n"
    system: str = ""
    max_text_len: int = 512
    batch_size: int = 8
    weight: float = 0.05

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_text_len"):
            value = getattr(self, name)
            require(value >= 1, f"data.vision_language.{name} must be at least 1, got {value}")
        require(self.weight > 0, f"data.vision_language.weight must be positive, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on and how it is fed.

    Attributes:
        path: dataset, folder or file; with `mix` the folder that holds a folder per dataset.
        format: key of `robovlms.data.sources.registry.SOURCES`; "auto" looks at the files.
        options: keywords of that format.
        stream: read `path` front to back through a shuffle pool, without an index.
        mix: name of a table of Open X-Embodiment sets, see `robovlms.data.sources.oxe`; None = the set at `path`.
        mixture: several datasets instead of `path`.
        mixture_by: what the weights of a mixture are shares of: samples drawn ("weight"), or what each set holds, times
            its weight ("frames", "episodes"); None = frames for a named mix, else weight.
        balance: within a dataset, draw each window equally often ("frame"), or each episode, whatever its length.
        robot: name of the set of a mixture whose robot the policy is for: its cameras, action space and statistics go
            into the contract; None takes the first.
        target_hz: rate that every dataset is brought to, actions per second; None keeps each one's own.
        cameras: camera names in the order the policy takes them (the original's: wrist, static); None takes all of the
            dataset's, sorted.
        image_size: height and width that every frame is resized to, in training and on the robot; None = as it is.
        batch_size: windows per optimiser step.
        num_workers: loader processes; 0 loads in the training process.
        val_episodes: episodes per task held out for validation, the last ones.
        action_scheme: normalisation of the regression dimensions of an action to [-1, 1], what the heads can reach; one
            for all, or one per dimension.
        action_range: physical range (low, high) of every regression dimension that is mapped to [-1, 1]; None takes
            the dataset's statistics, each dimension its own.
        action_mu: spreads small normalised actions by this mu-law (255 is usual), for data in which most actions are
            small and a few are not; None does not.
        proprio_scheme: normalisation of the proprioception, one for all, or one per number.
        augment: changes of the training images.
        pool_episodes: episodes that a stream mixes.
        stream_lanes: parts that a stream is read in; a multiple of ranks × workers.
        bad_budget: share of windows that may be unreadable before training stops; each is counted and replaced.
        check_conventions: compare the declared meaning of the actions with what states and actions show, at the start.
        vision_language: conversations about images, learned beside the actions.
    """

    path: Path | None = None
    format: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    mix: str | None = None
    mixture: tuple[SourceConfig, ...] = ()
    mixture_by: Literal["weight", "frames", "episodes"] | None = None
    balance: Literal["frame", "episode"] = "frame"
    robot: str | None = None
    target_hz: float | None = None
    cameras: tuple[str, ...] | None = None
    image_size: int | None = None
    batch_size: int = 128
    num_workers: int = 0
    val_episodes: int = 1
    action_scheme: _ActionScheme | tuple[_ActionScheme, ...] = "min_max"
    action_range: tuple[float, float] | None = None
    action_mu: float | None = None
    proprio_scheme: _ProprioScheme | tuple[_ProprioScheme, ...] = "mean_std"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    pool_episodes: int = 64
    stream_lanes: int = 4
    bad_budget: float = 0.001
    check_conventions: bool = True
    vision_language: VisionLanguageConfig = field(default_factory=VisionLanguageConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "pool_episodes", "stream_lanes"):
            require(getattr(self, name) >= 1, f"data.{name} must be at least 1, got {getattr(self, name)}")
        bounds = self.action_range
        require(bounds is None or bounds[0] < bounds[1], f"data.action_range must rise, got {bounds}")
        for name in ("num_workers", "val_episodes"):
            require(getattr(self, name) >= 0, f"data.{name} must not be negative, got {getattr(self, name)}")
        require(self.image_size is None or self.image_size >= 1, f"data.image_size must be positive: {self.image_size}")
        require(self.target_hz is None or self.target_hz > 0, f"data.target_hz must be positive: {self.target_hz}")
        require(self.action_mu is None or self.action_mu > 0, f"data.action_mu must be positive: {self.action_mu}")
        require(0 <= self.bad_budget <= 1, f"data.bad_budget must lie in [0, 1], got {self.bad_budget}")
        self._check_mixture()

    def _check_mixture(self) -> None:
        require(
            not self.mixture or (self.path is None and self.mix is None),
            f"data.mixture lists {len(self.mixture)} datasets, so data.path ({self.path}) and data.mix ({self.mix}) "
            "must not be set",
        )
        names = [source.name or source.path.name for source in self.mixture]
        double = sorted({name for name in names if names.count(name) > 1})
        require(not double, f"data.mixture: two datasets are called {double}; give them a name")
        require(
            self.robot is None or not names or self.robot in names,
            f"data.robot: {self.robot!r} is no dataset of data.mixture; it has {names}",
        )


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
            require(getattr(self, name) >= 1, f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_steps", "val_every", "weight_decay", "seed"):
            require(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "backbone_learning_rate"):
            rate = getattr(self, name)
            require(rate is None or 0 < rate < math.inf, f"train.{name} must be positive and finite, got {rate}")
        require(0 <= self.min_lr_scale <= 1, f"train.min_lr_scale must lie in [0, 1], got {self.min_lr_scale}")
        require(
            self.warmup_steps <= self.max_steps,
            f"train.warmup_steps is {self.warmup_steps} but train.max_steps is only {self.max_steps}; "
            "warm up for fewer steps or train for more",
        )
        clip = self.gradient_clip_norm
        require(clip is None or clip > 0, f"train.gradient_clip_norm must be positive or null, got {clip}")


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
            require(getattr(self, name) >= 1, f"evaluate.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "videos"):
            require(getattr(self, name) >= 0, f"evaluate.{name} must not be negative, got {getattr(self, name)}")


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
        require(
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
