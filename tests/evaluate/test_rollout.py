import json
import re
from pathlib import Path

import numpy as np
import pytest

from robovlms.actions.contract import PolicyContract
from robovlms.config import EvaluateConfig, load_config
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import CheckpointError, ConfigError, ContractMismatchError, SimulatorError
from robovlms.evaluate.collect import collect
from robovlms.evaluate.envs import Environment, make_environment
from robovlms.evaluate.rollout import EpisodeRecord, _RecordLog, evaluate_policy, read_episodes, run_episode
from robovlms.evaluate.run import evaluate_checkpoint
from robovlms.evaluate.workers import WorkerPool
from robovlms.run_folder import find_checkpoint
from robovlms.train.run import train_from_config

TASK = "handle-press-v3"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collected, then trained for two steps: the folder of the run."""
    folder = tmp_path_factory.mktemp("rollout")
    collect(
        env="metaworld", tasks=[TASK], episodes=2, out=folder / "data", image_size=32, workers=1, show_progress=False
    )
    shape = {"image_size": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "stem_widths": [8, 8]}
    config = load_config(
        None,
        {
            "model.vlm.overrides": shape,
            "data.path": str(folder / "data"),
            "data.batch_size": 8,
            "train.out": str(folder / "run"),
            "train.max_steps": 2,
            "train.warmup_steps": 0,
        },
    )
    train_from_config(config, show_progress=False)
    return folder / "run"


class ExpertSession:
    """Acts as the expert would, and looks only every other step."""

    contract = None

    def __init__(self, environment: Environment) -> None:
        self.environment, self.steps = environment, 0

    @property
    def needs_observation(self) -> bool:
        return self.steps % 2 == 0

    def reset(self) -> None:
        self.steps = 0

    def act(self, observation: object) -> np.ndarray:
        assert (observation is not None) == self.needs_observation
        self.steps += 1
        return self.environment.expert_action()


def without_time(records: list[EpisodeRecord]) -> list[tuple]:
    return [(r.task, r.seed, r.success, r.steps, r.actions_sha256) for r in records]


def test_an_episode_ends_at_the_first_success_and_filming_changes_nothing() -> None:
    environment = make_environment("metaworld", TASK, image_size=32)
    session, frames = ExpertSession(environment), []
    record = run_episode(environment, session, seed=1, max_steps=200)
    filmed = run_episode(environment, session, seed=1, max_steps=200, film=frames.append)
    assert record.success
    assert record.steps < 100
    assert without_time([record]) == without_time([filmed])
    assert len(frames) == -(-record.steps // 2) + 1
    short = run_episode(environment, session, seed=1, max_steps=3)
    assert (short.success, short.steps) == (False, 3)
    environment.close()


def test_any_number_of_workers_gives_the_same_episodes(run: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(episodes=3, max_steps=12, execute_steps=2, videos=1)
    results = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        changed = EvaluateConfig(**{**vars(config), "workers": workers})
        results.append(evaluate_policy(find_checkpoint(run), changed, out, tasks=[TASK], show_progress=False))
        lines = [
            {k: v for k, v in line.items() if k not in ("decision_ms", "wall_s")}
            for line in read_episodes(out / "episodes.jsonl")
        ]
        results.append(lines)
        assert (out / "videos" / f"{TASK}_10000.mp4").stat().st_size > 500
    assert without_time(results[0]) == without_time(results[2])
    assert results[1] == results[3]
    assert [record.seed for record in results[0]] == [10000, 10001, 10002]
    assert len({record.actions_sha256 for record in results[0]}) == 3


def test_an_interrupted_evaluation_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, config = find_checkpoint(run), EvaluateConfig(episodes=3, max_steps=6, videos=0, workers=1)
    whole = evaluate_policy(checkpoint, config, tmp_path / "whole", tasks=[TASK], show_progress=False)
    original, calls = WorkerPool.next_result, []

    def interrupted(pool: WorkerPool) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(pool)

    with monkeypatch.context() as patched:
        patched.setattr(WorkerPool, "next_result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_policy(checkpoint, config, tmp_path / "cut", tasks=[TASK], show_progress=False)
    partial = tmp_path / "cut" / "episodes.jsonl.partial"
    assert len(read_episodes(partial)) == 2
    with partial.open("a") as file:
        file.write('{"task": "handle-pre')  # cut short by a kill
    again = evaluate_policy(checkpoint, config, tmp_path / "cut", tasks=[TASK], show_progress=False)
    assert without_time(again) == without_time(whole)
    assert not partial.exists()
    other = EvaluateConfig(**{**vars(config), "max_steps": 7})
    with pytest.raises(ConfigError, match="max_steps was 6, is 7"):
        evaluate_policy(checkpoint, other, tmp_path / "cut", tasks=[TASK], show_progress=False)


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_runs(run: Path, tmp_path: Path) -> None:
    contract = json.loads((find_checkpoint(run) / "contract.json").read_text())
    wrong = {
        r"action_space\.control_hz: checkpoint 20\.0, here 80\.0": {"control_hz": 20.0},
        r"action_space\.frame: checkpoint 'tcp', here 'world'": {"frame": "tcp"},
    }
    for number, (message, change) in enumerate(wrong.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = {**contract, "action_space": {**contract["action_space"], **change}}
        (folder / "contract.json").write_text(PolicyContract.from_json(json.dumps(changed)).to_json())
        (folder / "model.safetensors").write_bytes(b"never read")
        with pytest.raises(ContractMismatchError, match=message):
            evaluate_policy(folder, EvaluateConfig(), folder / "out", tasks=[TASK], show_progress=False)
        assert not (folder / "out").exists()
    camera = {**contract["cameras"][0], "source": "calvin/static"}
    (tmp_path / "0" / "contract.json").write_text(json.dumps({**contract, "cameras": [camera]}))
    with pytest.raises(ContractMismatchError, match="'calvin/static'"):
        evaluate_policy(tmp_path / "0", EvaluateConfig(), tmp_path / "out", tasks=[TASK], show_progress=False)


def test_the_whole_evaluation_writes_a_page_that_needs_nothing_else(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    overrides = {"evaluate.episodes": 1, "evaluate.max_steps": 4, "evaluate.workers": 1}
    rates = evaluate_checkpoint(run, overrides=overrides, out=tmp_path, facts={"a <fact>": "told"})
    assert [(rate.name, rate.trials) for rate in rates] == [(TASK, 1), ("all", 1)]
    html = (tmp_path / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", html)
    assert "http" not in html
    assert html.count("data:video/mp4;base64,") == 1
    assert "a &lt;fact&gt;" in html
    assert "press the handle down" in html
    assert "fwd_pred_next_n: 8" in html
    printed = capsys.readouterr().out
    assert "0/1" in printed
    assert str(tmp_path / "report.html") in printed.replace("\n", "")


def test_tasks_are_asked_for_when_the_data_is_gone(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --tasks"):
        evaluate_checkpoint(run, overrides={"data.path": str(tmp_path / "gone")}, out=tmp_path)


def test_what_the_expert_recorded_leads_to_success_again(run: Path) -> None:
    """The recorded labels, replayed without the noise, press the handle: labels and layout belong together."""
    source = LeRobotSource(run.parent / "data")
    environment = make_environment("metaworld", TASK, image_size=32)
    steps = np.arange(source.lengths[0])
    actions = iter(source.read(0, steps, steps, ()).actions)

    class Replay(ExpertSession):
        def act(self, observation: object) -> np.ndarray:
            super().act(observation)
            return next(actions, np.zeros(4, np.float32))

    record = run_episode(environment, Replay(environment), seed=0, max_steps=len(steps) + 30)
    environment.close()
    assert record.success


def test_two_interruptions_lose_no_episode(tmp_path: Path) -> None:
    def record(seed: int) -> EpisodeRecord:
        return EpisodeRecord(
            task="t", instruction="i", seed=seed, success=True, steps=1, actions_sha256="x", decision_ms=1.0, wall_s=1.0
        )

    with _RecordLog(tmp_path, {"env": "e"}) as log:
        log.add(record(0))
    with (tmp_path / "episodes.jsonl.partial").open("a") as file:
        file.write('{"task": "t", "se')  # cut short by a kill
    with _RecordLog(tmp_path, {"env": "e"}) as log:
        log.add(record(1))
    assert [line["seed"] for line in read_episodes(tmp_path / "episodes.jsonl.partial")] == [0, 1]


class BrokenSession(ExpertSession):
    def __init__(self, checkpoint: Path, execute_steps: int) -> None:
        super().__init__(None)
        self.contract = PolicyContract.from_json((checkpoint / "contract.json").read_text())

    def act(self, observation: object) -> np.ndarray:
        return np.full(4, np.nan, np.float32)


def test_an_error_names_task_and_seed(run: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(episodes=1, videos=0, workers=1)
    arguments = {"tasks": [TASK], "session_factory": BrokenSession, "show_progress": False}
    with pytest.raises(SimulatorError, match="^handle-press-v3, seed 10000: expected 4 finite numbers"):
        evaluate_policy(find_checkpoint(run), config, tmp_path, **arguments)


def test_a_folder_without_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint: contract\.json is missing"):
        evaluate_policy(tmp_path, EvaluateConfig(), tmp_path / "out", tasks=[TASK], show_progress=False)
