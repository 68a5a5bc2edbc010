from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.dataset import BaseTaskDataset, split_episodes
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.text import ByteTokenizer, PromptEncoder
from robovlms.errors import DataError

LENGTHS = [7, 3, 5, 9]


def test_every_step_is_now_once(windows: Callable[..., BaseTaskDataset]) -> None:
    dataset = windows(window_size=2)
    assert len(dataset) == 24
    found = [tuple(dataset[i]["source"].tolist()) for i in range(24)]
    assert found == [(episode, step) for episode, length in enumerate(LENGTHS) for step in range(length)]


def test_chosen_episodes(windows: Callable[..., BaseTaskDataset]) -> None:
    dataset = windows(episodes=[3, 1])
    assert len(dataset) == 12
    assert [tuple(dataset[i]["source"].tolist()) for i in (0, 8, 9, 11)] == [(3, 0), (3, 8), (1, 0), (1, 2)]
    assert len(windows(episodes=[])) == 0


@pytest.mark.parametrize("index", [-1, 24])
def test_windows_that_do_not_exist(windows: Callable[..., BaseTaskDataset], index: int) -> None:
    with pytest.raises(IndexError, match="24 windows"):
        windows()[index]


def test_sample_of_a_window_at_the_beginning(windows: Callable[..., BaseTaskDataset], make: SimpleNamespace) -> None:
    dataset = windows(window_size=3, fwd_pred_next_n=2)
    sample, steps = dataset[7 + 1], make.episodes()[1].steps  # episode 1, step 1 of 3
    assert sample["image_mask"].tolist() == [[False], [True], [True]]
    assert sample["action_mask"].tolist() == [[False, False], [True, True], [True, True]]
    assert sample["proprio_mask"].tolist() == [False, True, True]
    assert sample["images"].shape == (3, 1, 3, 16, 16)
    np.testing.assert_array_equal(sample["images"][2, 0], steps.images["static"][1].transpose(2, 0, 1))
    np.testing.assert_array_equal(sample["images"][1, 0], steps.images["static"][0].transpose(2, 0, 1))
    np.testing.assert_array_equal(sample["actions"][2], dataset.action_codec.encode(steps.actions[1:3]))
    np.testing.assert_array_equal(sample["actions"][1], dataset.action_codec.encode(steps.actions[0:2]))
    np.testing.assert_array_equal(sample["proprio"][1:], dataset.proprio_normalizer.normalize(steps.proprio[:2]))
    assert bytes((sample["input_ids"] - 3).astype(np.uint8)).decode() == "do: please push"


def test_chunk_at_the_end_is_masked(windows: Callable[..., BaseTaskDataset]) -> None:
    sample = windows(fwd_pred_next_n=4)[6]  # the last step of episode 0
    assert sample["action_mask"].tolist() == [[True, False, False, False]]
    assert np.isfinite(sample["actions"]).all()


def test_raw_window_is_in_physical_units(windows: Callable[..., BaseTaskDataset], make: SimpleNamespace) -> None:
    window = windows(window_size=2, fwd_pred_next_n=2).window(3)
    assert (window.episode, window.step) == (0, 3)
    np.testing.assert_array_equal(window.data.actions, make.episodes()[0].steps.actions[[2, 3, 3, 4]])
    np.testing.assert_array_equal(window.data.proprio, make.episodes()[0].steps.proprio[[2, 3]])


def test_without_proprio(windows: Callable[..., BaseTaskDataset]) -> None:
    sample = windows(window_size=2, proprio_normalizer=None)[1]
    assert sample["proprio"].shape == (2, 0)
    assert not sample["proprio_mask"].any()


def test_missing_camera_is_masked_and_black(tmp_path: Path, make: SimpleNamespace, build: Callable[..., Any]) -> None:
    episodes = [make.episode(0, 2, cameras=("static", "wrist")), make.episode(1, 2)]
    path = make.write(tmp_path / "two", episodes, cameras=(make.STATIC, make.WRIST))
    dataset = build(LeRobotSource(path), cameras=("wrist", "static"), window_size=2)
    assert dataset[1]["image_mask"].tolist() == [[True, True], [True, True]]
    assert dataset[3]["image_mask"].tolist() == [[False, True], [False, True]]
    assert dataset[2]["image_mask"].tolist() == [[False, False], [False, True]]
    assert not dataset[3]["images"][:, 0].any()
    assert dataset[3]["images"][:, 1].any()


def test_cameras_of_different_sizes(tmp_path: Path, make: SimpleNamespace, build: Callable[..., Any]) -> None:
    small = make.WRIST.__class__(name="wrist", height=8, width=8, source="test")
    episode = make.replaced(
        make.episode(0, 2),
        images={"static": np.zeros((2, 16, 16, 3), np.uint8), "wrist": np.zeros((2, 8, 8, 3), np.uint8)},
    )
    source = LeRobotSource(make.write(tmp_path / "two", [episode], cameras=(make.STATIC, small)))
    with pytest.raises(DataError, match=r"one height and width, got \{'static': \(16, 16\), 'wrist': \(8, 8\)\}"):
        build(source, cameras=("static", "wrist"))
    assert build(source, cameras=("wrist",))[0]["images"].shape == (1, 1, 3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("statik",)}, "did you mean 'static'"),
        ({"cameras": ()}, "one height and width"),
        ({"episodes": [4]}, r"episodes \[4\] of a dataset with 4"),
    ],
)
def test_bad_arguments(windows: Callable[..., BaseTaskDataset], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        windows(**changes)


def test_policy_that_needs_proprio(tmp_path: Path, make: SimpleNamespace, windows: Callable[..., Any]) -> None:
    blind = make.write(tmp_path / "blind", [make.replaced(make.episode(0, 3), proprio=None)], proprio_names=())
    normalizer = windows().proprio_normalizer
    codec = ActionCodec(space=make.SPACE, normalizer=Normalizer(offset=np.zeros(3), scale=np.ones(3), is_bounded=False))
    with pytest.raises(DataError, match="the dataset has none"):
        BaseTaskDataset(
            LeRobotSource(blind),
            window_size=1,
            fwd_pred_next_n=1,
            cameras=("static",),
            action_codec=codec,
            proprio_normalizer=normalizer,
            prompt_encoder=PromptEncoder(ByteTokenizer(), "{instruction}", 64),
        )


def test_split_holds_out_the_last_of_each_task(dataset: Path) -> None:
    source = LeRobotSource(dataset)
    assert split_episodes(source, 1) == ([0, 1], [2, 3])
    assert split_episodes(source, 0) == ([0, 1, 2, 3], [])
    with pytest.raises(DataError, match=r"task 'reach' has 2 episodes and data.val_episodes holds out 2"):
        split_episodes(source, 2)
