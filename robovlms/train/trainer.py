"""BaseTrainer: one loop, from a model and a data module to checkpoints.

::

    batch ── forward ── loss ── backward ── clip ── AdamW ── (log · validate · save)
"""

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from robovlms.actions.contract import PolicyContract
from robovlms.actions.normalize import Normalizer
from robovlms.actions.space import ActionSpace
from robovlms.config import RunConfig, SourceConfig, dump_config, flatten, load_config
from robovlms.data.batch import Batch
from robovlms.data.datamodule import GRDataModule
from robovlms.data.mixture import Part
from robovlms.data.vision_language_batch import VisionLanguageBatch
from robovlms.errors import ConfigError, DataError
from robovlms.model.backbone.base import Backbone
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import read_text
from robovlms.model.device import resolve_bf16, resolve_device
from robovlms.model.parity import save_parity
from robovlms.model.tuning import count_parameters
from robovlms.model.vision_language_loss import vision_language_loss
from robovlms.model.vlm import build_policy
from robovlms.parameter_table import PARAMETERS, dump_sizes, parameter_table
from robovlms.progress import ProgressBar
from robovlms.run_folder import BAD_WINDOWS, METRICS, checkpoint_path, checkpoints_of
from robovlms.train.checkpoint import load_training_state, prune_checkpoints, save_checkpoint
from robovlms.train.contract import build_contract
from robovlms.train.metrics import BadWindowLog, MetricsLog
from robovlms.train.optimizer import build_optimizer, lr_scale, set_learning_rate
from robovlms.train.parity_windows import native_source, parity_windows

# What a resumed run may change without changing the weights it ends with.
_FREE_ON_RESUME = (
    "train.out", "train.save_every", "train.keep_checkpoints", "train.log_every", "train.val_every",
    "data.path", "data.num_workers", "data.bad_budget", "data.check_conventions", "evaluate.",
    "model.gradient_checkpointing",
)  # fmt: skip


class BaseTrainer:
    """Trains a policy.

    Args:
        config: of the run.
        show_progress: whether to print progress.

    Attributes:
        policy: what was trained last.
    """

    policy: BaseRoboVLM

    def __init__(self, config: RunConfig, *, show_progress: bool = True) -> None:
        self.config, self.show_progress = config, show_progress
        self.device = resolve_device(config.train.device, "train.device")
        self.use_bf16 = resolve_bf16(config.train.precision, self.device)

    def fit(self, model: BaseRoboVLM | Backbone, data_module: GRDataModule, *, resume: bool = False) -> BaseRoboVLM:
        """Train until `train.max_steps` and return the trained policy.

        Args:
            model: a policy, taken as it is, or a bare VLM, which is wrapped into the configured policy.
            data_module: feeds it.
            resume: go on from the newest checkpoint of `train.out`, exactly as if the run had not stopped.

        Raises:
            ConfigError: if `train.out` holds a run and `resume` is False, or holds another run.
            DataError: if the loss is not finite.
        """
        dataset = data_module.robot_dataset
        source, space = native_source(dataset), data_module.action_space
        # Float32 holds the weights that are trained: updates of a small step are lost in bfloat16.
        self.policy = policy = self._policy(model, space, len(source.proprio_names)).float().to(self.device)
        predicted = None if space.names == source.action_space.names else space
        contract = build_contract(self.config, source, policy.prompt_encoder, predicted)
        check_dataset(dataset, contract)
        optimizer = build_optimizer(policy, self.config.train)
        refuse_taken(self.config, resume)
        done = self._start(policy, optimizer, contract, data_module)
        if self.show_progress:
            Console(stderr=True).print(parameter_table(count_parameters(policy)))
        self._parity_windows = parity_windows(dataset, contract)
        log = MetricsLog(self.config.train.out / METRICS, done)
        with contextlib.closing(log):
            self._loop(policy, optimizer, contract, data_module, done, log)
        return policy.eval()

    def _policy(self, model: BaseRoboVLM | Backbone, space: ActionSpace, proprio_dim: int) -> BaseRoboVLM:
        if isinstance(model, BaseRoboVLM):
            if model.config != self.config.model:
                raise ConfigError("the policy was built with another configuration than the trainer's")
            return model
        torch.manual_seed(self.config.train.seed)
        return build_policy(self.config.model, space, proprio_dim, backbone=model)

    def _start(
        self,
        policy: BaseRoboVLM,
        optimizer: torch.optim.Optimizer,
        contract: PolicyContract,
        data_module: GRDataModule,
    ) -> int:
        """Prepare the run folder; return the number of steps already done."""
        run = self.config.train.out
        found = checkpoints_of(run)
        if not found:
            try:
                run.mkdir(parents=True, exist_ok=True)
                (run / "config.yaml").write_text(dump_config(self.config))
                (run / PARAMETERS).write_text(dump_sizes(count_parameters(policy)))
            except OSError as error:
                raise ConfigError(f"train.out {run} cannot be written: {error.strerror}") from error
            return 0
        before = PolicyContract.from_json(read_text(found[-1] / "contract.json"))
        if before != contract:
            raise ConfigError(
                f"{run} was trained on other data or with another prompt: " + "; ".join(before.differences(contract))
            )
        done, data_state = load_training_state(found[-1], policy, optimizer)
        data_module.load_state(data_state)
        return done

    def _loop(
        self,
        policy: BaseRoboVLM,
        optimizer: torch.optim.Optimizer,
        contract: PolicyContract,
        data_module: GRDataModule,
        done: int,
        log: MetricsLog,
    ) -> None:
        train = self.config.train
        batches = data_module.train_batches(start_step=done)
        conversations = data_module.vision_language_batches(start_step=done)
        window, bad = _Window(), BadWindowLog(self.config.train.out / BAD_WINDOWS, data_module.quarantine)
        with ProgressBar("Training", train.max_steps, done=done, unit="steps", is_shown=self.show_progress) as bar:
            for step in range(done + 1, train.max_steps + 1):
                scale = lr_scale(step - 1, train)
                window.add(self.train_step(policy, optimizer, next(batches), scale, next(conversations, None)))
                bad.write_new()
                is_last = step == train.max_steps
                if step % train.log_every == 0 or is_last:
                    row = window.summary(step)
                    row |= {"bad_windows": len(data_module.quarantine)} if data_module.quarantine else {}
                    log.write({**row, "learning_rate": train.learning_rate * scale})
                    bar.advance(0, f"loss {row['loss']:.4f}, {row['samples_per_s']:.0f} samples/s")
                if train.val_every and (step % train.val_every == 0 or is_last):
                    log.write({"step": step, "val_loss": self._validate(policy, data_module)})
                    window.restart_clock()
                if step % train.save_every == 0 or is_last:
                    window.check_finite(step)
                    self._save(policy, optimizer, contract, step, data_module.state())
                    window.restart_clock()
                bar.advance()

    def train_step(
        self,
        policy: BaseRoboVLM,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        lr_scale: float,
        conversations: VisionLanguageBatch | None = None,
    ) -> dict[str, Tensor | int]:
        """One optimiser step.

        Args:
            policy: in training mode afterwards.
            optimizer: from `build_optimizer`.
            batch: on any device.
            lr_scale: share of the peak learning rate.
            conversations: questions and answers about images to learn beside; None = none.

        Returns:
            loss, loss_arm, loss_gripper, with conversations loss_vision_language, and gradient_norm (before clipping),
            scalar tensors on the device; samples.
        """
        policy.train()
        set_learning_rate(optimizer, lr_scale)
        loss = self._loss(policy, batch.to(self.device))
        if conversations is not None:
            loss = self._with_conversations(policy, loss, conversations.to(self.device))
        optimizer.zero_grad(set_to_none=True)
        loss["total_loss"].backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        clip = self.config.train.gradient_clip_norm
        norm = torch.nn.utils.clip_grad_norm_(parameters, float("inf") if clip is None else clip)
        optimizer.step()
        detached = {name: value.detach() for name, value in loss.items()}
        return {"loss": detached.pop("total_loss"), **detached, "gradient_norm": norm, "samples": len(batch)}

    def _loss(self, policy: BaseRoboVLM, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bf16):
            return policy.forward_batch(batch).loss

    def _with_conversations(
        self, policy: BaseRoboVLM, loss: dict[str, Tensor], conversations: VisionLanguageBatch
    ) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bf16):
            answers = vision_language_loss(policy.backbone, conversations)
        total = loss["total_loss"] + self.config.data.vision_language.weight * answers
        return {**loss, "loss_vision_language": answers, "total_loss": total}

    @torch.inference_mode()
    def _validate(self, policy: BaseRoboVLM, data_module: GRDataModule) -> float | None:
        policy.eval()
        weighted = [
            (self._loss(policy, batch.to(self.device))["total_loss"].item(), len(batch))
            for batch in data_module.val_batches()
        ]
        total = sum(samples for _, samples in weighted)
        return sum(loss * samples for loss, samples in weighted) / total if total else None

    def _save(
        self,
        policy: BaseRoboVLM,
        optimizer: torch.optim.Optimizer,
        contract: PolicyContract,
        step: int,
        data_state: dict[str, Any],
    ) -> None:
        run = self.config.train.out

        def write_parity(file: Path) -> None:
            # In full float32, so that other hardware comes to the same numbers.
            with torch.backends.cudnn.flags(allow_tf32=False):
                save_parity(file, policy.eval(), contract, self._parity_windows)

        save_checkpoint(
            checkpoint_path(run, step), policy, contract, self.config, write_parity, optimizer, step, data_state
        )
        prune_checkpoints(run, self.config.train.keep_checkpoints)


class _Window:
    """Running means between two log lines; nothing leaves the device before it is printed."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Tensor | int]] = []
        self._clock_s = time.perf_counter()

    def add(self, row: dict[str, Tensor | int]) -> None:
        self._rows.append(row)

    def restart_clock(self) -> None:
        """Leave the time since the last line out of samples/s, unless steps are waiting to be logged."""
        if not self._rows:
            self._clock_s = time.perf_counter()

    def check_finite(self, step: int) -> None:
        """Stop before a checkpoint holds weights that are lost.

        Raises:
            DataError: if a loss or gradient since the last line is not finite.
        """
        if not self._rows:
            return
        for name in ("loss", "gradient_norm"):
            if not torch.isfinite(torch.stack([row[name] for row in self._rows])).all():
                raise DataError(
                    f"{name} is not finite near step {step}; lower train.learning_rate, or check the dataset's actions "
                    "and statistics with `robovlms info`"
                )

    def summary(self, step: int) -> dict[str, float | int]:
        """Means since the last call, which it forgets."""
        self.check_finite(step)
        samples = sum(row["samples"] for row in self._rows)
        names = [name for name in self._rows[0] if name != "samples"]
        means = {name: torch.stack([row[name] for row in self._rows]).float().mean().item() for name in names}
        now_s = time.perf_counter()
        rate = samples / (now_s - self._clock_s)
        self._rows, self._clock_s = [], now_s
        return {"step": step, **means, "samples_per_s": rate}


def refuse_taken(config: RunConfig, resume: bool) -> None:
    """Refuse to write into the folder of another run.

    Raises:
        ConfigError: if `train.out` holds a run and `resume` is False, or the run's configuration differs.
    """
    run = config.train.out
    found = checkpoints_of(run)
    if not found:
        return
    if not resume:
        raise ConfigError(f"{run} already holds a run; continue it with --resume or choose another train.out")
    before, now = flatten(load_config(found[-1] / "config.yaml")), flatten(config)
    differing = [
        key
        for key in now
        if _comparable(before.get(key)) != _comparable(now[key]) and not key.startswith(_FREE_ON_RESUME)
    ]
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in differing)
        raise ConfigError(f"{run} holds a run with another configuration: {changes}")


def check_dataset(dataset: Part, contract: PolicyContract) -> None:
    """Refuse a data module that was not made for the configuration: the contract would say what is not so.

    Raises:
        ConfigError: names the differing values.
    """
    builder, cameras = dataset.builder, contract.cameras
    size = contract.image_size or (cameras[0].height, cameras[0].width)
    pairs = {
        "window_size": (dataset.window_size, contract.window_size),
        "fwd_pred_next_n": (dataset.fwd_pred_next_n, contract.fwd_pred_next_n),
        "cameras": (builder.cameras, tuple(camera.name for camera in cameras)),
        "size of the frames": ((builder.height, builder.width), size),
        "prompt": (builder.prompt_encoder.template, contract.prompt_template),
        "normalisation": (_numbers(builder.action_codec.normalizer), _numbers(contract.action_codec.normalizer)),
        "action_mu": (builder.action_codec.mu, contract.action_mu),
        "action columns": (list(builder.action_columns), contract.columns),
        "action numbers": (builder.action_dim, contract.head_space.size),
        "proprioception": (_numbers(builder.proprio_normalizer), _numbers(contract.proprio_normalizer)),
    }
    wrong = [f"{name} is {got!r}, expected {expected!r}" for name, (got, expected) in pairs.items() if got != expected]
    if wrong:
        raise ConfigError(f"the data module does not fit the configuration: {'; '.join(wrong)}")


def _numbers(normalizer: Normalizer | None) -> list[float]:
    return [] if normalizer is None else [*normalizer.offset.tolist(), *normalizer.scale.tolist()]


def _comparable(value: Any) -> Any:
    """Datasets may move: what counts of them is their name."""
    if isinstance(value, tuple) and value and isinstance(value[0], SourceConfig):
        return tuple(replace(one, path=Path(), name=one.name or one.path.name) for one in value)
    return value
