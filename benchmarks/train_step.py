"""How much of a training step is the model itself.

Two loops on the same batches, in turn, a few steps each, so that a drifting machine slows both alike:

- full: read and decode windows from a LeRobot dataset on disk, shift, collate, check, and the trainer's step;
- bare: forward, backward and optimiser of the same model on tensors that lie ready.

    python benchmarks/train_step.py --json OUT

The figure that counts is their ratio in samples/s, full ÷ bare; the target is at least 0.9.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import describe

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import RunConfig, load_config
from robovlms.data.batch import Batch
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_policy, build_vlm
from robovlms.train.datasets import build_data_module
from robovlms.train.optimizer import build_optimizer
from robovlms.train.trainer import BaseTrainer

ROOT = Path(__file__).parents[1]
SIZE_PX, EPISODES, LENGTH = 96, 40, 80


def write_dataset(folder: Path) -> Path:
    """A dataset of the demo's shape: smooth pictures that compress about as well as rendered ones."""
    space = ActionSpace(
        dimensions=tuple(
            ActionDimension(name=name, unit="cm", low=-1.0, high=1.0) for name in ("x", "y", "z", "effort")
        ),
        frame="world",
        is_delta=True,
        control_hz=80.0,
    )
    camera = CameraSpec(name="static", height=SIZE_PX, width=SIZE_PX, source="benchmark")
    names, rng = ("x", "y", "z", "opening"), np.random.default_rng(0)
    with LeRobotWriter(
        folder, action_space=space, cameras=(camera,), proprio_names=names, fps=80.0, robot_type="none", provenance={}
    ) as writer:
        for index in range(EPISODES):
            coarse = rng.integers(0, 256, (LENGTH, 12, 12, 3), np.uint8)
            frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
            numbers = rng.uniform(-1, 1, (2, LENGTH, 4)).astype(np.float32)
            steps = Steps(images={"static": frames}, proprio=numbers[0], actions=numbers[1])
            writer.add_episode(Episode(task="t", instruction="close the window", steps=steps, seed=index))
    return folder


def full_step(trainer: BaseTrainer, policy: BaseRoboVLM, batches: Iterator[Batch]) -> Callable[[], None]:
    """What `BaseTrainer` does per step."""
    optimizer = build_optimizer(policy, trainer.config.train)
    return lambda: trainer.train_step(policy, optimizer, next(batches), 1.0)


def bare_step(config: RunConfig, policy: BaseRoboVLM, batch: Batch, use_bf16: bool) -> Callable[[], None]:
    """Forward, backward and optimiser, nothing else."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.train.learning_rate, fused=True)

    def step() -> None:
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=use_bf16):
            loss = policy.forward_batch(batch).loss["total_loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def seconds_per_step(step: Callable[[], None], count: int) -> float:
    """Mean wall time of `count` steps."""
    begin_s = time.perf_counter()
    for _ in range(count):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begin_s) / count


def measure(config: RunConfig, rounds: int, steps_per_round: int) -> dict[str, float]:
    """Alternate the two loops; return medians over the rounds."""
    trainer = BaseTrainer(config, show_progress=False)
    backbone = build_vlm(config.model.vlm)
    data_module = build_data_module(config, backbone)
    source = data_module.train_dataset.source
    policies = [
        build_policy(config.model, source.action_space, len(source.proprio_names)).to(trainer.device) for _ in range(2)
    ]
    batches = data_module.train_batches()
    full = full_step(trainer, policies[0], batches)
    bare = bare_step(config, policies[1], next(batches).to(trainer.device), trainer.use_bf16)
    for step in (full, bare):
        seconds_per_step(step, 3)
    pairs = [(seconds_per_step(full, steps_per_round), seconds_per_step(bare, steps_per_round)) for _ in range(rounds)]
    size = config.data.batch_size
    return {
        "full_samples_per_s": size / statistics.median(full_s for full_s, _ in pairs),
        "bare_samples_per_s": size / statistics.median(bare_s for _, bare_s in pairs),
        "ratio": statistics.median(bare_s / full_s for full_s, bare_s in pairs),
    }


def main() -> None:
    """Measure and print; write JSON if asked."""
    parser = argparse.ArgumentParser(description="Training step against the bare model.")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "metaworld" / "tiny_one_step.yaml")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps_per_round", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_dataset(Path(folder) / "dataset")
        config = load_config(arguments.config, {"data.path": str(path)})
        result = measure(config, arguments.rounds, arguments.steps_per_round)
    result = {**result, "batch_size": config.data.batch_size, "target_ratio": 0.9, **describe(ROOT)}
    for name, value in result.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
