import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import ConfigError, SimulatorError
from robovlms.evaluate.collect import CollectSettings, collect, record_episode
from robovlms.evaluate.envs import make_environment

QUICK: dict[str, Any] = {
    "env": "metaworld",
    "tasks": ("handle-press", "coffee-button"),
    "episodes": 2,
    "image_size": 32,
    "show_progress": False,
}


def digests(folder: Path) -> dict[str, str]:
    """Content of every file of a dataset."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def settings(**changes: Any) -> CollectSettings:
    values = {
        "env": "metaworld", "tasks": ("handle-press-v3",), "episodes": 1, "image_size": 32, "camera": "corner4",
        "render_quality": "fast", "noise": 0.1, "seed": 0, "max_steps": 500, "success_steps": 3, "storage": "png",
    }  # fmt: skip
    return CollectSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collect") / "data"
    collect(**QUICK, out=out, workers=1)
    return out


def test_what_is_recorded(collected: Path) -> None:
    source = LeRobotSource(collected)
    assert [source.task(i) for i in range(4)] == ["handle-press-v3"] * 2 + ["coffee-button-v3"] * 2
    assert source.instruction(3) == "start the coffee machine"
    assert source.cameras[0].source == "metaworld/corner4/fast"
    provenance = source.provenance
    assert provenance["noise"] == 0.1
    assert provenance["render_quality"] == "fast"
    assert provenance["versions"]["metaworld"] == "3.1.1"
    assert not (collected.parent / "data.partial").exists()


def test_any_number_of_workers_gives_the_same_bytes(collected: Path, tmp_path: Path) -> None:
    collect(**QUICK, out=tmp_path / "data", workers=3)
    assert digests(tmp_path / "data") == digests(collected)


def test_a_complete_dataset_is_left_alone(collected: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in collected.rglob("*")}
    collect(**QUICK, out=collected)
    assert {file: file.stat().st_mtime_ns for file in collected.rglob("*")} == before


def test_other_settings_are_refused(collected: Path) -> None:
    with pytest.raises(ConfigError, match="noise was 0.1, is 0.2"):
        collect(**{**QUICK, "noise": 0.2}, out=collected)
    (collected.parent / "something").mkdir()
    with pytest.raises(ConfigError, match="is no dataset"):
        collect(**QUICK, out=collected.parent / "something")


def test_an_interrupted_collection_goes_on(collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker stops after two episodes; the rest is recorded later, and the bytes are those of one go."""
    out = tmp_path / "data"

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("robovlms.evaluate.collect._write_dataset", interrupt)
        with pytest.raises(KeyboardInterrupt):
            collect(**QUICK, out=out, workers=2)
    assert not out.exists()
    partial = tmp_path / "data.partial"
    (partial / "coffee-button-v3" / "1.npz").unlink()
    (partial / "coffee-button-v3" / ".1.npz.npz").write_bytes(b"cut short by a kill")
    with pytest.raises(ConfigError, match="seed was 0, is 7"):
        collect(**{**QUICK, "seed": 7}, out=out)
    collect(**QUICK, out=out, workers=1)
    assert digests(out) == digests(collected)
    assert not partial.exists()


def test_failed_seeds_are_passed_over_and_named(tmp_path: Path) -> None:
    """Too few steps for some layouts: the kept seeds are the first that succeed, in order."""
    lengths, environment = {}, make_environment("metaworld", "handle-press", image_size=32)
    for seed in range(6):
        steps = record_episode(environment, settings(success_steps=1), seed)
        lengths[seed] = len(steps.actions)
    environment.close()
    limit = sorted(lengths.values())[3]
    expected = [seed for seed in range(6) if lengths[seed] <= limit][:2]
    quick = {**QUICK, "tasks": ("handle-press",), "max_steps": limit, "success_steps": 1}
    collect(**quick, out=tmp_path / "data", workers=2)
    source = LeRobotSource(tmp_path / "data")
    assert [int(source.lengths[i]) for i in range(2)] == [lengths[seed] for seed in expected]
    failed = source.provenance["failed_seeds"]["handle-press-v3"]
    assert failed == [seed for seed in range(expected[-1]) if seed not in expected]


def test_an_expert_that_never_succeeds_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="the expert of handle-press-v3 failed in"):
        collect(**{**QUICK, "tasks": ("handle-press",), "episodes": 1, "max_steps": 2}, out=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_labels_are_the_experts_own_and_noise_is_only_executed() -> None:
    environment = make_environment("metaworld", "handle-press", image_size=32)
    noisy = record_episode(environment, settings(noise=0.5), 0)
    again = record_episode(environment, settings(noise=0.5), 0)
    clean = record_episode(environment, settings(noise=0.0), 0)
    np.testing.assert_array_equal(noisy.actions, again.actions)
    np.testing.assert_array_equal(noisy.actions[0], clean.actions[0])
    assert not np.array_equal(noisy.proprio[:10], clean.proprio[:10])
    environment.reset(0)
    for action, state in zip(clean.actions, clean.proprio, strict=True):
        np.testing.assert_array_equal(environment.observe().proprio, state)
        environment.step(action)
    environment.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("reach", "reach-v3")}, "none twice"),
        ({"tasks": ("buton-press",)}, "did you mean 'button-press-v3'"),
        ({"noise": 2.0}, r"noise must lie in \[0, 1\]"),
        ({"episodes": 0}, "episodes must be at least 1"),
    ],
)
def test_bad_settings_are_named_before_anything_starts(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        collect(**{**QUICK, **change}, out=tmp_path / "data")
    assert not list(tmp_path.iterdir())
