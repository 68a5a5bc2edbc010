import dataclasses
import json
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from data.fake_stream import FakeStream, stream_dataset

from robovlms.augment_config import AugmentConfig
from robovlms.data.augment import Augmentation
from robovlms.data.batch import Batch
from robovlms.data.datamodule import GRDataModule
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.mixture import Mixture
from robovlms.data.order import WindowOrder
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import ConfigError, DataError

SHAPE = {"window_size": 2, "fwd_pred_next_n": 3}


def assert_same(first: Iterable[Batch], second: Iterable[Batch], count: int | None = None) -> None:
    pairs = list(islice(zip(first, second, strict=count is None), count))
    assert count is None or len(pairs) == count
    for a, b in pairs:
        for field in dataclasses.fields(Batch):
            assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


def module(dataset: Any, **changes: Any) -> GRDataModule:
    return GRDataModule(**({"train_dataset": dataset, "batch_size": 5} | changes))


def places(batches: Iterable[Batch], count: int) -> list[list[list[int]]]:
    return [batch.source.tolist() for batch in islice(batches, count)]


def test_batch_holds_the_windows_of_its_positions(windows: Callable[..., BaseTaskDataset]) -> None:
    dataset = windows(**SHAPE)
    batch = next(module(dataset, seed=3).train_batches(start_step=7))
    order = WindowOrder([range(24)], seed=3)
    assert len(batch) == 5
    for i in range(5):
        sample = dataset[order.window(35 + i)]
        length = len(sample.pop("input_ids"))
        assert batch.text_mask[i].tolist() == [True] * length + [False] * (batch.text_mask.shape[1] - length)
        for name, array in sample.items():
            np.testing.assert_array_equal(getattr(batch, name)[i].numpy(), array)


def test_images_are_changed_by_position(windows: Callable[..., BaseTaskDataset]) -> None:
    dataset, augment = windows(**SHAPE), AugmentConfig(shift_px=3)
    plain = next(module(dataset).train_batches(start_step=2))
    changed = next(module(dataset, augment=augment).train_batches(start_step=2))
    expected = Augmentation(augment, 0).apply(plain.images, torch.arange(10, 15))
    assert torch.equal(changed.images, expected)
    assert not torch.equal(changed.images, plain.images)
    assert torch.equal(changed.actions, plain.actions)


def test_only_some_cameras_are_changed(tmp_path: Path, make: Any, build: Callable[..., BaseTaskDataset]) -> None:
    episode = make.episode(0, 6, cameras=("static", "wrist"))
    path = make.write(tmp_path / "two", [episode], cameras=(make.STATIC, make.WRIST))
    dataset = build(LeRobotSource(path), cameras=("static", "wrist"))
    plain = next(module(dataset).train_batches()).images
    augment = AugmentConfig(shift_px=3, cameras=("wrist",))
    changed = next(module(dataset, augment=augment).train_batches()).images
    assert torch.equal(changed[:, :, 0], plain[:, :, 0])
    assert not torch.equal(changed[:, :, 1], plain[:, :, 1])
    with pytest.raises(ConfigError, match="data.augment.cameras: unknown camera 'wirst'; did you mean 'wrist'"):
        module(dataset, augment=AugmentConfig(cameras=("wirst",)))


def test_balance_by_episode(windows: Callable[..., BaseTaskDataset]) -> None:
    batches = module(windows(), batch_size=4, balance="episode").train_batches()
    assert [sorted(episode for episode, _ in batch) for batch in places(batches, 5)] == [[0, 1, 2, 3]] * 5


def test_ranks_together_see_what_one_would(windows: Callable[..., BaseTaskDataset]) -> None:
    alone = places(module(windows(), batch_size=6).train_batches(), 5)
    ranks = [places(module(windows(), batch_size=3, rank=rank, world_size=2).train_batches(), 5) for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == alone


def test_prompts_are_padded_on_the_right(windows: Callable[..., BaseTaskDataset]) -> None:
    batch = next(GRDataModule(train_dataset=windows(), val_dataset=windows(), batch_size=10).val_batches())
    lengths = batch.text_mask.sum(1)
    assert set(lengths.tolist()) == {len("do: please reach"), len("do: please push")}
    assert (batch.input_ids[~batch.text_mask] == 0).all()
    assert (batch.input_ids[batch.text_mask] > 2).all()


def test_resume_gives_the_same_batches(windows: Callable[..., BaseTaskDataset]) -> None:
    data = GRDataModule(train_dataset=windows(**SHAPE), augment=AugmentConfig(shift_px=3), batch_size=7)
    assert_same(islice(data.train_batches(), 6, None), data.train_batches(start_step=6), count=4)


def test_validation_covers_every_window_once_in_order(windows: Callable[..., BaseTaskDataset]) -> None:
    data = GRDataModule(train_dataset=windows(), val_dataset=windows(episodes=[3, 1]), batch_size=5)
    batches = list(data.val_batches())
    assert [len(batch) for batch in batches] == [5, 5, 2]
    expected = [[3, step] for step in range(9)] + [[1, step] for step in range(3)]
    assert torch.cat([batch.source for batch in batches]).tolist() == expected
    assert_same(data.val_batches(), batches)
    assert list(GRDataModule(train_dataset=windows(), batch_size=5).val_batches()) == []


def test_workers_change_nothing(windows: Callable[..., BaseTaskDataset]) -> None:
    inline, workers = (
        GRDataModule(
            train_dataset=windows(**SHAPE),
            val_dataset=windows(),
            batch_size=5,
            num_workers=n,
            augment=AugmentConfig(shift_px=3),
        )
        for n in (0, 2)
    )
    state = torch.get_rng_state()
    assert_same(inline.train_batches(start_step=3), workers.train_batches(start_step=3), count=7)
    assert_same(inline.val_batches(), workers.val_batches())
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_read_videos_that_their_parent_has_open(
    writable: Callable[..., Path], build: Callable[..., BaseTaskDataset]
) -> None:
    dataset = build(LeRobotSource(writable(storage="video")), window_size=2)
    expected = list(_val(dataset, 0))
    assert_same(_val(dataset, 2), expected)
    assert_same(_val(dataset, 0), expected)


def _val(dataset: BaseTaskDataset, num_workers: int) -> Iterator[Batch]:
    return GRDataModule(train_dataset=dataset, val_dataset=dataset, batch_size=8, num_workers=num_workers).val_batches()


def test_workers_stop_with_their_iterator(windows: Callable[..., BaseTaskDataset]) -> None:
    batches = GRDataModule(train_dataset=windows(), batch_size=2, num_workers=2).train_batches()
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    del batches
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_workers_keep_their_message(
    writable: Callable[..., Path], build: Callable[..., BaseTaskDataset], num_workers: int
) -> None:
    path = writable()
    dataset = build(LeRobotSource(path))
    file = path / "data/chunk-000/file-000.parquet"
    table = pq.ParquetFile(file).read()
    pq.write_table(table.slice(0, 20), file)
    data = GRDataModule(train_dataset=dataset, val_dataset=dataset, batch_size=4, num_workers=num_workers)
    with pytest.raises(DataError, match=r"row \d+ asked for, the file has 20") as error:
        list(data.val_batches())
    assert "\n" not in str(error.value)


def test_spawned_workers_get_the_same(windows: Callable[..., BaseTaskDataset]) -> None:
    """What a spawned worker receives is a pickled copy."""
    dataset = windows(**SHAPE)
    dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    pair = (GRDataModule(train_dataset=d, batch_size=5) for d in (dataset, copy))
    assert_same(*(data.train_batches() for data in pair), count=3)


def test_counts_over_many_epochs(windows: Callable[..., BaseTaskDataset]) -> None:
    batches = GRDataModule(train_dataset=windows(), batch_size=9).train_batches()
    seen = Counter(tuple(where) for batch in islice(batches, 8) for where in batch.source.tolist())
    assert set(seen.values()) == {3}  # 72 positions are three epochs of 24 windows
    assert len(seen) == 24


def test_nothing_to_train_on(windows: Callable[..., BaseTaskDataset]) -> None:
    with pytest.raises(DataError, match="no window"):
        GRDataModule(train_dataset=windows(episodes=[]), batch_size=2)


# ------------------------------------------------------------------------------------------------------------ mixtures


def test_a_mixture_draws_by_weight(windows: Callable[..., BaseTaskDataset]) -> None:
    parts = [windows(episodes=[0], dataset=0), windows(episodes=[1, 2, 3], dataset=1)]
    batch = next(module(Mixture(parts, [3.0, 1.0]), batch_size=4096).train_batches())
    assert torch.bincount(batch.dataset).tolist() == [3072, 1024]
    assert set(batch.source[batch.dataset == 0][:, 0].tolist()) == {0}
    counts = Counter(map(tuple, batch.source[batch.dataset == 1].tolist()))
    assert len(counts) == 17
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(
    ("by", "expected"), [("weight", [0.5, 0.5]), ("frames", [7 / 24, 17 / 24]), ("episodes", [0.25, 0.75])]
)
def test_what_weights_are_shares_of(windows: Callable[..., BaseTaskDataset], by: Any, expected: list[float]) -> None:
    parts = [windows(episodes=[0]), windows(episodes=[1, 2, 3], dataset=1)]
    assert Mixture(parts, by=by).shares == pytest.approx(expected)


def blind(windows: Callable[..., BaseTaskDataset], **changes: Any) -> BaseTaskDataset:
    """Windows without proprioception, of the shape of the fake stream."""
    return windows(fwd_pred_next_n=2, proprio_normalizer=None, **changes)


def mixed(windows: Callable[..., BaseTaskDataset], **changes: Any) -> GRDataModule:
    """Three dimensions x, y, gripper, of which the stream has the first."""
    indexed = blind(windows)
    stream = stream_dataset(FakeStream([[3, 5, 2], [4, 6]]), dataset=1, action_dim=3, size=16, pool_episodes=2)
    return module(Mixture([indexed, stream], [1.0, 1.0]), stream_lanes=2, bad_budget=1.0, **changes)


def test_numbers_that_a_robot_lacks_are_masked(windows: Callable[..., BaseTaskDataset]) -> None:
    batch = next(mixed(windows, batch_size=20).train_batches())
    is_stream = batch.dataset == 1
    assert 0 < is_stream.sum() < 20
    assert batch.action_dim_mask[is_stream].tolist() == [[True, False, False]] * int(is_stream.sum())
    assert batch.action_dim_mask[~is_stream].all()
    assert not batch.supervised[is_stream][..., 1:].any()
    assert torch.equal(batch.supervised[~is_stream].all(-1), batch.action_mask[~is_stream])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mixture_with_a_stream_resumes_exactly(windows: Callable[..., BaseTaskDataset], num_workers: int) -> None:
    expected = list(islice(mixed(windows).train_batches(), 12))
    first = mixed(windows, num_workers=num_workers)
    batches = first.train_batches()
    assert_same(batches, expected[:5], 5)
    again = mixed(windows, num_workers=num_workers)
    again.load_state(json.loads(json.dumps(first.state())))
    assert_same(again.train_batches(start_step=5), expected[5:], 7)


def test_a_stream_that_was_not_drawn_from_yet_resumes(windows: Callable[..., BaseTaskDataset]) -> None:
    def rare() -> GRDataModule:
        stream = stream_dataset(FakeStream([[3, 5, 2], [4, 6]]), dataset=1, action_dim=3, size=16, pool_episodes=2)
        return module(Mixture([blind(windows), stream], [1000.0, 1.0]), batch_size=1, stream_lanes=1, bad_budget=1.0)

    first, again = rare(), rare()
    expected = list(islice(rare().train_batches(), 4))
    assert_same(first.train_batches(), expected[:1], 1)
    again.load_state(first.state())
    assert_same(again.train_batches(start_step=1), expected[1:], 3)


def test_layouts_must_agree(windows: Callable[..., BaseTaskDataset]) -> None:
    with pytest.raises(ConfigError, match=r"one layout.*'window_size': 2.*'window_size': 1"):
        Mixture([windows(), windows(window_size=2)])
    with pytest.raises(ConfigError, match="one weight per dataset, got 1 for 2"):
        Mixture([windows(), windows()], [1.0])
    with pytest.raises(DataError, match="no window"):
        Mixture([windows(), windows(episodes=[])])


# ------------------------------------------------------------------------------------------------------- bad windows


class Broken(LeRobotSource):
    """A dataset in which some steps of episode 0 cannot be read."""

    steps = frozenset({2, 3})

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Any:
        if episode == 0 and set(frames.tolist()) & self.steps:
            raise DataError(f"episode 0, steps {frames.tolist()}: broken")
        return super().read(episode, frames, steps, cameras)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_windows_are_replaced_alike(dataset: Path, build: Callable[..., Any], num_workers: int) -> None:
    def broken(workers: int) -> GRDataModule:
        return module(build(Broken(dataset)), bad_budget=0.1, num_workers=workers)

    data = broken(num_workers)
    batches = list(islice(data.train_batches(), 10))
    assert_same(broken(0).train_batches(), batches, 10)
    assert all(len(batch) == 5 for batch in batches)
    assert not {(0, 2), (0, 3)} & {tuple(where) for batch in batches for where in batch.source.tolist()}
    found = data.quarantine.found
    assert set(found) == {(0, 2), (0, 3)}
    assert found[0, 2].file.endswith("file-000.parquet")
    assert found[0, 2].reason == "episode 0, steps [2]: broken"
    again = broken(num_workers)
    again.load_state(json.loads(json.dumps(data.state())))
    assert set(again.quarantine.found) == set(found)


def test_above_the_budget_training_stops_with_the_files(dataset: Path, build: Callable[..., Any]) -> None:
    batches = module(build(Broken(dataset)), bad_budget=0.001).train_batches()
    with pytest.raises(
        DataError, match=r"of 24 windows cannot be read.*data.bad_budget = 0.001.*file-000.parquet \(2: "
    ):
        list(islice(batches, 10))


def test_validation_does_not_replace(dataset: Path, build: Callable[..., Any], windows: Callable[..., Any]) -> None:
    data = module(windows(), val_dataset=build(Broken(dataset)), bad_budget=1.0)
    with pytest.raises(DataError, match="episode 0, steps"):
        list(data.val_batches())


def test_when_nothing_can_be_read(dataset: Path, build: Callable[..., Any]) -> None:
    source = Broken(dataset)
    source.steps = frozenset(range(100))
    data = module(build(source, episodes=[0]), bad_budget=1.0)
    with pytest.raises(DataError, match="100 windows in a row cannot be read, the last because: episode 0"):
        next(data.train_batches())
