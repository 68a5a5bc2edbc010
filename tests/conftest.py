"""Settings of the whole test suite."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from robovlms.config import RunConfig

_CACHE = tempfile.TemporaryDirectory(prefix="robovlms-cache-")  # removed at the end; the user's own stays untouched
os.environ["ROBOVLMS_CACHE"] = _CACHE.name
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may wait for a download
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors on shared cores: several threads are ten times slower

# The same examples in every run, and no deadline: the machines that run this are small and shared.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("default")

ROOT = Path(__file__).parents[1]

# Tests here measure times of processes and threads; scripts/test.sh runs them one at a time, after all others.
TIMING = (
    "robot/cameras",
    "robot/guard",
    "robot/output",
    "robot/simulator/test_launch.py",
    "robot/simulator/test_process.py",
    "robot/test_light.py",
    "robot/test_runtime.py",
    "robot/worker",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what measures times."""
    tests = Path(__file__).parent
    timed = [tests / name for name in TIMING]
    for item in items:
        if any(item.path == one or one in item.path.parents for one in timed):
            item.add_marker(pytest.mark.timing)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, five episodes, one camera of 32 px: a bright square that hardly moves, actions that point to it."""
    import numpy as np

    from robovlms.actions.contract import CameraSpec
    from robovlms.actions.space import ActionDimension, ActionSpace
    from robovlms.data.sources.base import Episode, Steps
    from robovlms.data.sources.lerobot_writer import LeRobotWriter

    arm = [ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xy"]
    gripper = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("small") / "dataset"
    with LeRobotWriter(
        path,
        action_space=ActionSpace(
            dimensions=(*arm, gripper), frame="world", is_delta=True, gripper_opens="negative", control_hz=10.0
        ),
        cameras=(CameraSpec(name="static", height=32, width=32, source="test/static"),),
        proprio_names=("x", "y"),
        fps=10.0,
        robot_type="test",
        provenance={"simulator": "test"},
    ) as writer:
        for index, length in enumerate((9, 6, 12, 4, 7)):
            target = (rng.uniform(-0.8, 0.8, 2) + rng.normal(0, 0.02, (length, 2))).astype(np.float32)
            images = np.zeros((length, 32, 32, 3), np.uint8)
            for step, (x, y) in enumerate((target * 12 + 14).astype(int)):
                images[step, y : y + 4, x : x + 4] = 255
            closing = np.where(target[:, :1] > 0, 1.0, -1.0).astype(np.float32)
            steps = Steps(
                images={"static": images},
                proprio=rng.normal(size=(length, 2)).astype(np.float32),
                actions=np.concatenate([target, closing], axis=1),
            )
            task = ("reach", "push")[index % 2]
            writer.add_episode(Episode(task=task, instruction=f"{task} the square", steps=steps, seed=index))
    return path


@pytest.fixture
def small_run(small_dataset: Path, tmp_path: Path) -> Callable[..., "RunConfig"]:
    """Configuration of a run on `small_dataset` that takes about a second; arguments are overrides."""
    from robovlms.config import load_config

    shape = {"image_size": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "stem_widths": [8, 8]}
    values = {
        "model.vlm.overrides": shape,
        "model.fwd_pred_next_n": 3,
        "model.head_hidden_size": 16,
        "model.head_num_layers": 1,
        "data.path": str(small_dataset),
        "data.batch_size": 4,
        "data.augment.shift_px": 2,
        "train.out": str(tmp_path / "run"),
        "train.max_steps": 6,
        "train.warmup_steps": 2,
        "train.log_every": 1,
        "train.save_every": 3,
        "train.val_every": 3,
        "train.device": "cpu",
        "evaluate.execute_steps": 2,
    }
    return lambda **overrides: load_config(None, values | overrides)
