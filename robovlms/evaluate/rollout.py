"""Closed-loop evaluation: a policy acts in a simulator, episode by episode, and every episode is recorded.

An episode depends on (checkpoint, settings, task, seed) alone: the simulator is seeded, the policy forgets, and every
worker computes with one thread. So the records are the same for any number of workers, and in any order.
"""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robovlms.actions.contract import PolicyContract
from robovlms.config import EvaluateConfig
from robovlms.errors import CheckpointError, ConfigError, RoboVLMsError
from robovlms.evaluate.envs import Environment, KeptEnvironment, environment_class, make_environment
from robovlms.evaluate.film import write_film
from robovlms.evaluate.workers import WorkerPool
from robovlms.progress import ProgressBar
from robovlms.types import Observation

EPISODES_FILE, VIDEO_FOLDER = "episodes.jsonl", "videos"
_FILM_EVERY = 2  # control steps between filmed frames


@runtime_checkable
class Session(Protocol):
    """What a rollout asks of a policy; `robovlms.policy.session.PolicySession` fits."""

    contract: PolicyContract

    @property
    def needs_observation(self) -> bool:
        """Whether the next `act` looks."""

    def reset(self) -> None:
        """Forget everything."""

    def act(self, observation: Observation | None) -> np.ndarray:
        """Return the next action."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One evaluated episode, one line of `episodes.jsonl`.

    Attributes:
        task: task name.
        instruction: what the robot was told.
        seed: of the simulator.
        success: whether the task was solved.
        steps: actions executed, the successful one included.
        actions_sha256: of all executed actions; equal records acted equally.
        decision_ms: mean time of a step in which the policy looked, in milliseconds. Varies from run to run.
        wall_s: time of the whole episode, in seconds. Varies from run to run.
    """

    task: str
    instruction: str
    seed: int
    success: bool
    steps: int
    actions_sha256: str
    decision_ms: float
    wall_s: float


def run_episode(
    environment: Environment,
    session: Session,
    *,
    seed: int,
    max_steps: int,
    film: Callable[[np.ndarray], None] | None = None,
) -> EpisodeRecord:
    """Run one episode, until the first success or `max_steps`.

    Args:
        environment: the simulator.
        session: the policy.
        seed: of the episode.
        max_steps: longest episode.
        film: called with frames, uint8 [h, w, 3]; filming does not change the episode.
    """
    started_s = time.perf_counter()
    environment.reset(seed)
    session.reset()
    digest, decision_s = hashlib.sha256(), []
    for step in range(max_steps):
        looks = session.needs_observation
        is_filmed = film is not None and step % _FILM_EVERY == 0
        observation = environment.observe() if looks or is_filmed else None
        if is_filmed:
            film(_first_image(observation))
        begin_s = time.perf_counter()
        action = session.act(observation if looks else None)
        if looks:
            decision_s.append(time.perf_counter() - begin_s)
        digest.update(action.astype("<f4").tobytes())
        outcome = environment.step(action)
        if outcome.is_success or outcome.is_over:
            break
    if film is not None and not outcome.is_over:
        film(_first_image(environment.observe()))
    return EpisodeRecord(
        task=environment.task,
        instruction=environment.instruction,
        seed=seed,
        success=outcome.is_success,
        steps=step + 1,
        actions_sha256=digest.hexdigest(),
        decision_ms=round(1000 * float(np.mean(decision_s)), 3),
        wall_s=round(time.perf_counter() - started_s, 3),
    )


def evaluate_policy(
    checkpoint: Path,
    config: EvaluateConfig,
    out: Path,
    *,
    tasks: Sequence[str],
    session_factory: Callable[[Path, int], Session] | None = None,
    show_progress: bool = True,
) -> list[EpisodeRecord]:
    """Try a checkpoint in closed loop; write `episodes.jsonl` and films into `out`.

    Run again with the same checkpoint and settings, it goes on where it stopped.

    Args:
        checkpoint: checkpoint folder.
        config: how to evaluate; its `tasks` are not read.
        out: folder of the results.
        tasks: task names.
        session_factory: opens a session, given the checkpoint and `execute_steps`; picklable. None opens a
            `PolicySession`.
        show_progress: whether to print progress.

    Returns:
        Records in the order of tasks and seeds.

    Raises:
        CheckpointError: if the folder is no checkpoint.
        ContractMismatchError: if the checkpoint does not fit the simulator.
        ConfigError: if a task is unknown, or `out` holds an evaluation of something else.
    """
    environment = environment_class(config.env)
    names = [environment.full_task_name(task) for task in tasks]
    for file in ("contract.json", "model.safetensors"):
        if not (checkpoint / file).is_file():
            raise CheckpointError(f"{checkpoint} is no checkpoint: {file} is missing")
    contract = PolicyContract.from_json((checkpoint / "contract.json").read_text())
    options = environment.options_for(contract.cameras)
    contract.check_robot(
        action_space=environment.action_space,
        cameras=contract.cameras,
        proprio_names=environment.proprio_names,
        where=config.env,
    )
    context = {
        "env": config.env,
        **options,
        "execute_steps": config.execute_steps,
        "max_steps": config.max_steps,
        "device": config.device,
        "checkpoint": checkpoint.name,
        "weights_sha256": _sha256(checkpoint / "model.safetensors"),
        "contract_sha256": contract.fingerprint,
    }
    jobs = [
        Job(task=task, seed=config.seed + i, is_filmed=i < config.videos)
        for task in names
        for i in range(config.episodes)
    ]
    log = _RecordLog(out, context)
    todo = [job for job in jobs if not log.has(job, out)]
    open_session = session_factory or functools.partial(_open_session, device=config.device)
    worker = _Evaluator(open_session, checkpoint, config, options, out)
    with (
        log,
        ProgressBar(
            "Evaluating", len(jobs), done=len(jobs) - len(todo), unit="episodes", is_shown=show_progress
        ) as bar,
        WorkerPool(worker, min(config.workers, len(todo)), group=lambda job: job.task) as pool,
    ):
        for job in todo:
            pool.submit(job)
        for _ in todo:
            job, record = pool.next_result()
            log.add(record)
            bar.advance(info=f"{job.task} {'solved' if record.success else 'failed'}")
    return log.finish(jobs)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One episode to run.

    Attributes:
        task: full task name.
        seed: of the episode.
        is_filmed: whether to make a film of it.
    """

    task: str
    seed: int
    is_filmed: bool

    def film(self, out: Path) -> Path:
        """File of its film."""
        return out / VIDEO_FOLDER / f"{self.task}_{self.seed}.mp4"


def _open_session(checkpoint: Path, execute_steps: int, device: str) -> Session:
    import torch

    from robovlms.policy.session import load_session

    torch.set_num_threads(1)  # whatever the number of workers, so that all of them round alike
    return load_session(checkpoint, execute_steps=execute_steps, device=device)


@dataclass(frozen=True)
class _Evaluator:
    """Makes the worker of one process."""

    session_factory: Callable[[Path, int], Session]
    checkpoint: Path
    config: EvaluateConfig
    options: dict[str, Any]
    out: Path

    def __call__(self) -> Callable[[Job], EpisodeRecord]:
        session = self.session_factory(self.checkpoint, self.config.execute_steps)
        kept = KeptEnvironment(lambda task: self._environment(task, session.contract))

        def work(job: Job) -> EpisodeRecord:
            environment, frames = kept.of(job.task), []
            film = frames.append if job.is_filmed else None
            try:
                record = run_episode(environment, session, seed=job.seed, max_steps=self.config.max_steps, film=film)
            except RoboVLMsError as error:
                raise type(error)(f"{job.task}, seed {job.seed}: {error}") from error
            if job.is_filmed:
                write_film(job.film(self.out), frames)
            return record

        return work

    def _environment(self, task: str, contract: PolicyContract) -> Environment:
        environment = make_environment(self.config.env, task, **self.options)
        contract.check_robot(
            action_space=environment.action_space,
            cameras=environment.cameras,
            proprio_names=environment.proprio_names,
            where=f"{self.config.env} {task}",
        )
        return environment


class _RecordLog:
    """Episodes as they end, so that an interrupted evaluation loses none.

    Args:
        out: folder of the evaluation.
        context: what, beside task and seed, decides an episode; part of every line.
    """

    def __init__(self, out: Path, context: dict[str, Any]) -> None:
        self._final, self._partial, self._context = out / EPISODES_FILE, out / f"{EPISODES_FILE}.partial", context
        self._records: dict[tuple[str, int], EpisodeRecord] = {}
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"results cannot be written into {out}: {error.strerror}") from error
        names = [field.name for field in dataclasses.fields(EpisodeRecord)]
        for file in (self._final, self._partial):
            for line in read_episodes(file):
                self._check_same(line, file)
                record = EpisodeRecord(**{name: line[name] for name in names})
                self._records[record.task, record.seed] = record

    def __enter__(self) -> "_RecordLog":
        temporary = self._partial.with_suffix(".writing")
        temporary.write_text("".join(map(self._line, self._records.values())))
        temporary.rename(self._partial)  # without a line cut short, which the next one would be glued to
        self._file = self._partial.open("a")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def has(self, job: Job, out: Path) -> bool:
        """Whether the episode, and its film if one is wanted, is there."""
        return (job.task, job.seed) in self._records and (not job.is_filmed or job.film(out).is_file())

    def add(self, record: EpisodeRecord) -> None:
        """Append one episode to the partial file."""
        self._records[record.task, record.seed] = record
        self._file.write(self._line(record))
        self._file.flush()

    def finish(self, jobs: Sequence[Job]) -> list[EpisodeRecord]:
        """Write all episodes by task and seed, remove the partial file, and return those of `jobs`, in their order."""
        temporary = self._final.with_suffix(".writing")
        temporary.write_text("".join(self._line(self._records[key]) for key in sorted(self._records)))
        temporary.rename(self._final)
        self._partial.unlink()
        return [self._records[job.task, job.seed] for job in jobs]

    def _line(self, record: EpisodeRecord) -> str:
        return json.dumps({**dataclasses.asdict(record), **self._context}) + "\n"

    def _check_same(self, line: dict[str, Any], file: Path) -> None:
        changes = [
            f"{key} was {line.get(key)!r}, is {value!r}"
            for key, value in self._context.items()
            if line.get(key) != value
        ]
        if changes:
            raise ConfigError(
                f"{file} is of another evaluation: {'; '.join(changes)}; choose another --out or remove it"
            )


def read_episodes(file: Path) -> list[dict[str, Any]]:
    """Lines of an episode log; empty if there is none. A last line cut short by a kill is left out."""
    lines = []
    for text in file.read_text().splitlines() if file.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:  # in blocks: weights may be larger than the memory
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _first_image(observation: Observation) -> np.ndarray:
    return next(iter(observation.images.values()))
