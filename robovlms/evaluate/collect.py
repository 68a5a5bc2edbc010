"""Demonstrations of a simulator's scripted experts, as a dataset.

The expert's clipped action is what is recorded. What is executed is that action plus noise, so the arm strays and the
data show the way back. Of each task the first N seeds with a successful episode are kept, whatever the number of
workers.

While it runs, finished episodes lie in a folder beside the dataset, from which an interrupted collection goes on::

    runs/data.partial/
    ├── settings.json
    └── door-open-v3/0.npz 1.npz 2.failed …        one file per seed, each written whole
"""

import dataclasses
import importlib.metadata
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.errors import ConfigError, SimulatorError
from robovlms.evaluate.envs import Environment, KeptEnvironment, environment_class, make_environment
from robovlms.evaluate.workers import WorkerPool
from robovlms.progress import ProgressBar

_MOST_TRIES = 4  # per wanted episode; an expert that fails more often is not worth waiting for


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """What decides which numbers are recorded.

    Attributes:
        env: simulator, key of `ENVIRONMENTS`.
        tasks: task names.
        episodes: successful episodes per task.
        image_size: height and width of a frame in pixels.
        camera: camera of the simulator.
        render_quality: "fast" or "reference".
        noise: standard deviation of the noise on executed actions, in units of the action.
        seed: of the first episode of each task.
        max_steps: an episode without success ends here.
        success_steps: successful states recorded before an episode ends.
        storage: "png" or "video".
    """

    env: str
    tasks: tuple[str, ...]
    episodes: int
    image_size: int
    camera: str
    render_quality: str
    noise: float
    seed: int
    max_steps: int
    success_steps: int
    storage: Literal["png", "video"]

    def __post_init__(self) -> None:
        for name in ("episodes", "image_size", "max_steps", "success_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"collect: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.noise <= 1 or self.seed < 0:
            raise ConfigError(f"collect: noise must lie in [0, 1] and seed be ≥ 0, got {self.noise} and {self.seed}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"collect: expected at least one task and none twice, got {list(self.tasks)}")

    def make_environment(self, task: str) -> Environment:
        """Start the simulator of one task."""
        return make_environment(
            self.env,
            task,
            image_size=self.image_size,
            camera=self.camera,
            render_quality=self.render_quality,
        )


def collect(
    *,
    env: str,
    tasks: Sequence[str],
    episodes: int,
    out: Path,
    image_size: int = 96,
    camera: str = "corner4",
    render_quality: str = "fast",
    noise: float = 0.1,
    seed: int = 0,
    max_steps: int = 500,
    success_steps: int = 6,
    storage: Literal["png", "video"] = "png",
    workers: int = 2,
    show_progress: bool = True,
) -> None:
    """Record demonstrations into the dataset folder `out`; other arguments as in `CollectSettings`.

    Run again with the same settings, it goes on where it stopped, or does nothing if all is there. The same settings
    give the same files, byte for byte.

    Raises:
        ConfigError: if `out` holds data of other settings, or a name is unknown.
        SimulatorError: if an expert fails too often, or the simulator does not start.
    """
    settings = CollectSettings(
        env=env,
        tasks=tuple(environment_class(env).full_task_name(task) for task in tasks),
        episodes=episodes,
        image_size=image_size,
        camera=camera,
        render_quality=render_quality,
        noise=noise,
        seed=seed,
        max_steps=max_steps,
        success_steps=success_steps,
        storage=storage,
    )
    if _is_complete(out, settings):
        if show_progress:
            print(f"{out} is complete: {len(settings.tasks)} tasks, {episodes} episodes each")
        return
    partial = _open_partial(out, settings)
    seeds = _record_all(settings, partial, workers, show_progress)
    _write_dataset(settings, partial, out, seeds, show_progress)
    shutil.rmtree(partial)


# ------------------------------------------------------------------------------------------------------- one episode


@dataclass(frozen=True)
class _Recorder:
    """Makes the worker of one process."""

    settings: CollectSettings
    partial: Path

    def __call__(self) -> Callable[[tuple[str, int]], bool]:
        kept = KeptEnvironment(self.settings.make_environment)

        def work(job: tuple[str, int]) -> bool:
            task, seed = job
            steps = record_episode(kept.of(task), self.settings, seed)
            _store(self.partial / task / str(seed), steps)
            return steps is not None

        return work


def record_episode(environment: Environment, settings: CollectSettings, seed: int) -> Steps | None:
    """Let the expert solve the episode of `seed` while noise pushes it about; None if it does not succeed."""
    rng = np.random.default_rng([settings.seed, zlib.crc32(environment.task.encode()), seed])
    space, perturbed = environment.action_space, list(environment.perturbed_dims)
    seen, actions, num_success = [], [], 0
    environment.reset(seed)
    for _ in range(settings.max_steps):
        seen.append(environment.observe())
        actions.append(environment.expert_action())
        executed = actions[-1].copy()
        executed[perturbed] += rng.normal(0, settings.noise, len(perturbed)).astype(np.float32)
        outcome = environment.step(np.clip(executed, space.low, space.high))
        num_success += outcome.is_success
        if num_success == settings.success_steps:
            break
        if outcome.is_over:
            return None
    if not num_success:
        return None
    return Steps(
        images={camera.name: np.stack([o.images[camera.name] for o in seen]) for camera in environment.cameras},
        proprio=np.stack([o.proprio for o in seen]),
        actions=np.stack(actions),
    )


# ------------------------------------------------------------------------------------------------------ all episodes


def _record_all(
    settings: CollectSettings, partial: Path, workers: int, show_progress: bool
) -> dict[str, tuple[list[int], list[int]]]:
    """Record until every task has its episodes; return task -> (kept seeds, failed seeds), in order."""
    known = {task: _finished(partial / task) for task in settings.tasks}
    next_seed = dict.fromkeys(settings.tasks, settings.seed)
    queued: list[tuple[str, int]] = []

    def want_one_more(task: str) -> None:
        """Go to the next seed that is not known to fail."""
        while True:
            seed, next_seed[task] = next_seed[task], next_seed[task] + 1
            if seed - settings.seed >= _MOST_TRIES * settings.episodes + _MOST_TRIES:
                failed = sum(not ok for ok in known[task].values())
                raise SimulatorError(
                    f"the expert of {task} failed in {failed} of {len(known[task])} episodes; giving up"
                )
            if seed not in known[task]:
                queued.append((task, seed))
            if known[task].get(seed, True):
                return

    for task in settings.tasks:
        for _ in range(settings.episodes):
            want_one_more(task)
    total = len(settings.tasks) * settings.episodes
    with (
        ProgressBar("Collecting", total, done=total - len(queued), unit="episodes", is_shown=show_progress) as bar,
        WorkerPool(_Recorder(settings, partial), min(workers, max(1, len(queued))), group=lambda job: job[0]) as pool,
    ):
        pending = 0
        while queued or pending:
            for job in queued:
                pool.submit(job)
            pending, queued[:] = pending + len(queued), []
            (task, seed), is_success = pool.next_result()
            pending -= 1
            known[task][seed] = is_success
            if is_success:
                bar.advance(info=task)
            else:
                want_one_more(task)
                if not any(job[0] == task for job in queued):
                    bar.advance(info=task)  # the next seed had been recorded before an interruption
    return {task: _keep(known[task], settings) for task in settings.tasks}


def _keep(known: dict[int, bool], settings: CollectSettings) -> tuple[list[int], list[int]]:
    kept = [seed for seed in sorted(known) if known[seed]][: settings.episodes]
    return kept, [seed for seed in sorted(known) if not known[seed] and seed < kept[-1]]


def _finished(folder: Path) -> dict[int, bool]:
    """Seed -> success, of the attempts on disk."""
    return {int(file.stem): file.suffix == ".npz" for file in folder.glob("*") if not file.name.startswith(".")}


def _store(path: Path, steps: Steps | None) -> None:
    """Write one attempt under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.npz")
    if steps is None:
        temporary.touch()
        temporary.rename(path.with_suffix(".failed"))
        return
    images = {f"image.{name}": frames for name, frames in steps.images.items()}
    np.savez_compressed(temporary, proprio=steps.proprio, actions=steps.actions, **images)
    temporary.rename(path.with_suffix(".npz"))


def _load(file: Path) -> Steps:
    with np.load(file, allow_pickle=False) as arrays:
        images = {name.removeprefix("image."): arrays[name] for name in arrays if name.startswith("image.")}
        return Steps(images=images, proprio=arrays["proprio"], actions=arrays["actions"])


# -------------------------------------------------------------------------------------------------------- the dataset


def _write_dataset(
    settings: CollectSettings,
    partial: Path,
    out: Path,
    seeds: dict[str, tuple[list[int], list[int]]],
    show_progress: bool,
) -> None:
    environment = settings.make_environment(settings.tasks[0])
    provenance = {
        **_as_json(settings),
        "versions": {name: importlib.metadata.version(name) for name in ("metaworld", "mujoco", "numpy")},
        "failed_seeds": {task: failed for task, (_, failed) in seeds.items()},
    }
    total = len(settings.tasks) * settings.episodes
    with (
        ProgressBar("Writing dataset", total, unit="episodes", is_shown=show_progress) as bar,
        LeRobotWriter(
            out,
            action_space=environment.action_space,
            cameras=environment.cameras,
            proprio_names=environment.proprio_names,
            fps=environment.action_space.control_hz,
            robot_type=environment.robot_type,
            storage=settings.storage,
            provenance=provenance,
        ) as writer,
    ):
        for task, (kept, _) in seeds.items():
            instruction = environment.instruction_of(task)
            for seed in kept:
                steps = _load(partial / task / f"{seed}.npz")
                writer.add_episode(Episode(task=task, instruction=instruction, steps=steps, seed=seed))
                bar.advance()
    environment.close()


def _is_complete(out: Path, settings: CollectSettings) -> bool:
    """Whether `out` holds the dataset of these settings.

    Raises:
        ConfigError: if it holds another one.
    """
    if not out.exists():
        return False
    if not (out / "meta" / "info.json").is_file():
        raise ConfigError(f"{out} exists and is no dataset; choose another --out")
    _check_same(LeRobotSource(out).provenance, settings, out)
    return True


def _open_partial(out: Path, settings: CollectSettings) -> Path:
    partial = out.with_name(out.name + ".partial")
    file = partial / "settings.json"
    if file.is_file():
        _check_same(json.loads(file.read_text()), settings, partial)
    else:
        partial.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".writing")
        temporary.write_text(json.dumps(_as_json(settings), indent=2))
        os.replace(temporary, file)
    return partial


def _check_same(before: dict[str, Any], settings: CollectSettings, where: Path) -> None:
    now = _as_json(settings)
    changes = [f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if changes:
        raise ConfigError(
            f"{where} was collected with other settings: {'; '.join(changes)}; remove it or choose another --out"
        )


def _as_json(settings: CollectSettings) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(settings)))
