from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from data.fake_stream import FakeStream, stream_dataset
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.batch import Batch
from robovlms.data.datamodule import GRDataModule
from robovlms.data.streaming import Lane
from robovlms.errors import ConfigError, DataError

SHARDS = [[3, 5, 1], [4, 0, 2, 6, 3], [2]]
RECORDS = [(shard, record) for shard, lengths in enumerate(SHARDS) for record in range(len(lengths))]
STEPS = sum(map(sum, SHARDS))


def drawn(lane: Lane, count: int) -> list[tuple[int, int]]:
    return [tuple(lane.sample()["source"].tolist()) for _ in range(count)]


@given(st.integers(1, 20), st.integers(0, 3))
def test_windows_are_drawn_equally_often(pool: int, seed: int) -> None:
    lane = stream_dataset(FakeStream(SHARDS), pool_episodes=pool).lane(0, 1, seed)
    seen = Counter(drawn(lane, 8 * STEPS))
    every = {(i, step) for i, (shard, record) in enumerate(RECORDS) for step in range(SHARDS[shard][record])}
    assert set(seen) == every
    assert max(seen.values()) - min(seen.values()) <= 4  # a short episode is through when a long one is half read
    assert abs(sum(seen.values()) / STEPS - 8) < 1e-9


def test_lanes_share_an_epoch_out() -> None:
    dataset = stream_dataset(FakeStream([[4] * 24]), pool_episodes=1)
    lanes = [set(drawn(dataset.lane(number, 3, 0), 32)) for number in range(3)]
    assert [len(lane) for lane in lanes] == [32, 32, 32]
    assert len(set().union(*lanes)) == 96


def test_with_a_pool_of_one_an_epoch_is_exact() -> None:
    lane = stream_dataset(FakeStream(SHARDS), pool_episodes=1).lane(0, 1, 0)
    for _ in range(3):
        assert len(set(drawn(lane, STEPS))) == STEPS


def test_samples_are_the_windows_they_say() -> None:
    lane = stream_dataset(FakeStream(SHARDS), window_size=2).lane(0, 1, 0)
    for _ in range(50):
        sample = lane.sample()
        number, step = sample["source"].tolist()
        shard, record = RECORDS[number]
        assert sample["actions"][-1, 0, 0] == 1000 * shard + 100 * record + step
        assert sample["images"][-1, 0].min() == sample["images"][-1, 0].max() == record
        assert sample["image_mask"][0, 0] == (step > 0)
        assert sample["action_mask"][-1].tolist() == [True, step + 1 < SHARDS[shard][record]]


def test_nothing_is_read_that_is_not_needed() -> None:
    source = FakeStream([[5] * 100] * 10)
    stream_dataset(source, pool_episodes=8).lane(0, 4, 0)
    assert len(source.opened) == 2


@given(st.integers(0, 80), st.integers(1, 12), st.integers(1, 2))
def test_a_lane_goes_on_from_its_state(before: int, pool: int, num_lanes: int) -> None:
    lane = stream_dataset(FakeStream(SHARDS), pool_episodes=pool).lane(num_lanes - 1, num_lanes, 7)
    drawn(lane, before)
    state = lane.state()
    expected = drawn(lane, 60)
    again = stream_dataset(FakeStream(SHARDS), pool_episodes=pool).lane(num_lanes - 1, num_lanes, 7, state)
    assert drawn(again, 60) == expected


def test_seeds_and_lanes_differ() -> None:
    dataset = stream_dataset(FakeStream(SHARDS), pool_episodes=4)
    assert len({tuple(drawn(dataset.lane(0, 1, seed), 20)) for seed in range(4)}) == 4
    lanes = [set(drawn(dataset.lane(number, 2, 0), 8)) for number in range(2)]
    assert not {episode for episode, _ in lanes[0]} & {episode for episode, _ in lanes[1]}


def test_unreadable_records_are_reported_and_left_out() -> None:
    source = FakeStream(SHARDS)
    source.unreadable_records = {(0, 1), (1, 3)}
    lane = stream_dataset(source, pool_episodes=1).lane(0, 1, 0)
    seen = {episode for episode, _ in drawn(lane, STEPS)}
    assert seen == set(range(9)) - {1, 6, 4}  # 4 has no step
    assert {(b.window, b.file, b.reason) for b in lane.bad} == {
        (1, "fake-1", "shard 0, record 1: truncated"),
        (6, "fake-6", "shard 1, record 3: truncated"),
    }


def test_nothing_can_be_read() -> None:
    source = FakeStream([[3, 3]])
    source.unreadable_records = {(0, 0), (0, 1)}
    with pytest.raises(DataError, match="no episode can be read.*truncated"):
        stream_dataset(source).lane(0, 1, 0)


def test_too_few_episodes_for_the_lanes() -> None:
    with pytest.raises(DataError, match="3 episodes are too few for the 4 parts .* set data.stream: false"):
        stream_dataset(FakeStream([[3, 3, 3]])).lane(0, 4, 0)


# ------------------------------------------------------------------------------------------------- through the loader


def module(source: FakeStream | None = None, **changes: object) -> GRDataModule:
    dataset = stream_dataset(FakeStream(SHARDS) if source is None else source, pool_episodes=4)
    settings: dict = {"train_dataset": dataset, "batch_size": 3, "stream_lanes": 2, "bad_budget": 1.0}
    return GRDataModule(**(settings | changes))


def sources(batches: Iterator[Batch], count: int) -> list[list[list[int]]]:
    return [batch.source.tolist() for batch in islice(batches, count)]


def test_batches_do_not_depend_on_the_workers() -> None:
    expected = sources(module().train_batches(), 12)
    for num_workers in (1, 2):
        assert sources(module(num_workers=num_workers).train_batches(), 12) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumes_exactly(num_workers: int) -> None:
    expected = sources(module().train_batches(), 14)
    first = module(num_workers=num_workers)
    batches = first.train_batches()
    assert sources(batches, 5) == expected[:5]
    state = first.state()
    again = module(num_workers=num_workers)
    again.load_state(state)
    assert sources(again.train_batches(start_step=5), 9) == expected[5:]


def test_resuming_without_a_state_is_refused() -> None:
    with pytest.raises(DataError, match="resumes from the state in a checkpoint"):
        next(module().train_batches(start_step=1))


def test_lanes_must_fit_the_processes() -> None:
    with pytest.raises(ConfigError, match="2 lanes, which 1 ranks with 3 workers cannot share; use a multiple of 3"):
        module(num_workers=3)


def test_ranks_read_different_lanes() -> None:
    ranks = [sources(module(rank=rank, world_size=2).train_batches(), 3) for rank in range(2)]
    episodes = [{episode for batch in batches for episode, _ in batch} for batches in ranks]
    assert not episodes[0] & episodes[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_windows_are_replaced_and_counted(num_workers: int) -> None:
    source = FakeStream(SHARDS)
    source.unreadable_windows = {(0, 0)}
    data = module(source, num_workers=num_workers)
    batches = list(islice(data.train_batches(), 20))
    assert all(len(batch) == 3 for batch in batches)
    assert 0 not in torch.cat([batch.source for batch in batches])[:, 0].tolist()
    assert [(b.window, b.reason) for b in data.quarantine.found.values()] == [(0, "shard 0, record 0: broken picture")]


def test_too_many_bad_windows_stop() -> None:
    source = FakeStream(SHARDS)
    source.unreadable_windows = {(0, 0)}
    with pytest.raises(DataError, match="1 of 9 windows cannot be read.*fake-0"):
        list(islice(module(source, bad_budget=0.0).train_batches(), 20))


def test_a_stream_that_ends_says_so_every_time() -> None:
    source = FakeStream([[3, 3]])
    lane = stream_dataset(source, pool_episodes=1).lane(0, 1, 0)
    drawn(lane, 1)
    source.unreadable_records = {(0, 0), (0, 1)}
    with pytest.raises(DataError, match="no episode can be read"):
        drawn(lane, 10)
    assert lane.is_over
    for _ in range(3):
        with pytest.raises(DataError, match="the stream ended"):
            lane.sample()


def test_a_bad_episode_is_met_once() -> None:
    """However long it is, one failed read is enough."""
    source = FakeStream([[300, 2, 2, 2]])
    source.unreadable_windows = {(0, 0)}
    data = GRDataModule(
        train_dataset=stream_dataset(source, pool_episodes=4), batch_size=6, stream_lanes=1, bad_budget=0.3
    )
    batches = list(islice(data.train_batches(), 4))
    assert 0 not in torch.cat([batch.source for batch in batches])[:, 0].tolist()


def test_the_budget_of_a_stream_is_a_share_of_its_episodes() -> None:
    source = FakeStream([[3] * 20])
    source.unreadable_records = {(0, record) for record in range(0, 20, 2)}
    with pytest.raises(DataError, match="of 20 windows cannot be read"):
        list(islice(module(source, bad_budget=0.001).train_batches(), 20))


def test_another_number_of_lanes_does_not_resume() -> None:
    state = module().state()
    with pytest.raises(ConfigError, match="data.stream_lanes was 2, is 4"):
        module(stream_lanes=4).load_state(state)
