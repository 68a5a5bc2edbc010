import dataclasses
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.batch import Batch
from robovlms.data.datamodule import GRDataModule, ordered_batches, shuffled_batches
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import DataError

SHAPE = {"window_size": 2, "fwd_pred_next_n": 3}


def assert_same(first: Iterable[Batch], second: Iterable[Batch], count: int | None = None) -> None:
    pairs = list(islice(zip(first, second, strict=count is None), count))
    assert count is None or len(pairs) == count
    for a, b in pairs:
        for field in dataclasses.fields(Batch):
            assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 3))
def test_each_epoch_holds_every_window_once(num_windows: int, batch_size: int, seed: int) -> None:
    num_batches = -(-3 * num_windows // batch_size)
    batches = list(islice(shuffled_batches(num_windows, batch_size, seed=seed), num_batches))
    assert all(len(batch) == batch_size for batch in batches)
    places = [place for batch in batches for place in batch]
    assert [position for position, _ in places] == list(range(num_batches * batch_size))
    for epoch in range(3):
        part = [index for _, index in places[epoch * num_windows : (epoch + 1) * num_windows]]
        assert sorted(part) == list(range(num_windows))


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 40))
def test_any_step_can_be_resumed(num_windows: int, batch_size: int, start: int) -> None:
    whole = shuffled_batches(num_windows, batch_size, seed=0)
    later = shuffled_batches(num_windows, batch_size, seed=0, start_step=start)
    assert list(islice(whole, start, start + 3)) == list(islice(later, 3))


def test_epochs_and_seeds_differ() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return [index for _, index in next(shuffled_batches(50, 50, seed=seed, start_step=number))]

    assert len({tuple(epoch(seed, number)) for seed in range(3) for number in range(3)}) == 9


@given(st.integers(0, 20), st.integers(1, 7))
def test_ordered_batches(num_windows: int, batch_size: int) -> None:
    batches = list(ordered_batches(num_windows, batch_size))
    assert [index for batch in batches for _, index in batch] == list(range(num_windows))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_batch_holds_the_windows_of_its_positions(windows: Callable[..., BaseTaskDataset]) -> None:
    dataset = windows(**SHAPE, random_shift_px=2)
    batch = next(GRDataModule(train_dataset=dataset, batch_size=5, seed=3).train_batches(start_step=7))
    places = next(shuffled_batches(24, 5, seed=3, start_step=7))
    assert len(batch) == 5
    for i, place in enumerate(places):
        sample = dataset[place]
        length = len(sample.pop("input_ids"))
        assert batch.text_mask[i].tolist() == [True] * length + [False] * (batch.text_mask.shape[1] - length)
        for name, array in sample.items():
            np.testing.assert_array_equal(getattr(batch, name)[i].numpy(), array)


def test_prompts_are_padded_on_the_right(windows: Callable[..., BaseTaskDataset]) -> None:
    batch = next(GRDataModule(train_dataset=windows(), val_dataset=windows(), batch_size=10).val_batches())
    lengths = batch.text_mask.sum(1)
    assert set(lengths.tolist()) == {len("do: please reach"), len("do: please push")}
    assert (batch.input_ids[~batch.text_mask] == 0).all()
    assert (batch.input_ids[batch.text_mask] > 2).all()


def test_resume_gives_the_same_batches(windows: Callable[..., BaseTaskDataset]) -> None:
    data = GRDataModule(train_dataset=windows(**SHAPE, random_shift_px=3), batch_size=7)
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
            train_dataset=windows(**SHAPE, random_shift_px=3), val_dataset=windows(), batch_size=5, num_workers=n
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
    dataset = windows(**SHAPE, random_shift_px=3)
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
