"""The whole way with defaults: demonstrations → training → evaluation → report. Needs no download.

::

    runs/demo/
    ├── dataset/        demonstrations of four Meta-World tasks
    ├── train/          configuration, metrics, checkpoints
    ├── episodes.jsonl  one line per evaluated episode
    ├── videos/         a film of one episode per task
    ├── report.html     all of it on one page
    └── timings.json    seconds per stage

An interrupted demo goes on where it stopped; a finished one is only shown again.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from robovlms.config import RunConfig, load_config
from robovlms.evaluate.collect import collect
from robovlms.evaluate.rollout import EPISODES_FILE
from robovlms.evaluate.run import evaluate_checkpoint
from robovlms.run_folder import checkpoint_path, checkpoints_of
from robovlms.train.run import train_from_config

TASKS = ("button-press-v3", "drawer-open-v3", "door-open-v3", "window-close-v3")
EPISODES_TO_LEARN = 40  # per task
FIRST_UNSEEN_SEED = 10_000  # collection starts at the demo's seed and does not come near


def demo_config(out: Path, seed: int, workers: int) -> RunConfig:
    """The demo's configuration; that of `configs/metaworld/tiny_one_step.yaml` but for folders, seeds and tasks."""
    return load_config(
        None,
        {
            "model.fwd_pred_next_n": 8,
            "data.path": str(out / "dataset"),
            "data.batch_size": 128,
            "data.augment.shift_px": 4,
            "train.out": str(out / "train"),
            "train.seed": seed,
            "train.max_steps": 1400,
            "train.learning_rate": 1e-3,
            "train.warmup_steps": 100,
            "train.precision": "auto",
            "train.save_every": 700,
            "evaluate.tasks": list(TASKS),
            "evaluate.episodes": 20,
            "evaluate.seed": FIRST_UNSEEN_SEED + seed,
            "evaluate.execute_steps": 2,
            "evaluate.workers": workers,
        },
    )


def run_demo(out: Path, seed: int = 0, workers: int = 2) -> None:
    """Run every stage that is not done yet, and show the result.

    Args:
        out: folder of what it makes.
        seed: of demonstrations, weights and evaluation.
        workers: parallel simulators; the result does not depend on it.

    Raises:
        RoboVLMsError: whatever goes wrong, in one line.
    """
    config, clock = demo_config(out, seed, workers), _Timings(out / "timings.json")
    data, run = out / "dataset", config.train.out
    collecting = {"env": "metaworld", "tasks": TASKS, "episodes": EPISODES_TO_LEARN, "seed": seed, "workers": workers}
    with clock.stage("demonstrations", is_done=data.exists()):
        collect(**collecting, out=data)
    with clock.stage("training", is_done=checkpoint_path(run, config.train.max_steps).is_dir()):
        train_from_config(config, resume=bool(checkpoints_of(run)))
    with clock.stage("evaluation", is_done=(out / EPISODES_FILE).is_file()):
        evaluate_checkpoint(
            run,
            overrides={"evaluate.workers": workers},
            out=out,
            title="A robot arm that does what a sentence says",
            facts={
                "demonstrations": f"{EPISODES_TO_LEARN} per task from scripted experts, seeds from {seed} on",
                **{f"time of {name}": f"{seconds:.0f} s" for name, seconds in clock.seconds.items()},
            },
        )


class _Timings:
    """Seconds per stage, kept over interruptions.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    @contextlib.contextmanager
    def stage(self, name: str, *, is_done: bool) -> Iterator[None]:
        """Add the time of the block to a stage, also when it is interrupted; that of a stage already done is kept."""
        begin_s = time.monotonic()
        try:
            yield
        finally:
            if not is_done:
                self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begin_s, 1)
                self._file.parent.mkdir(parents=True, exist_ok=True)
                temporary = self._file.with_suffix(".writing")
                temporary.write_text(json.dumps(self.seconds, indent=2) + "\n")
                temporary.rename(self._file)
