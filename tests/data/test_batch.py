import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from robovlms.data.batch import Batch
from robovlms.data.collate import collate
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.text import pad_right
from robovlms.errors import DataError


@pytest.fixture
def batch(windows: Callable[..., BaseTaskDataset]) -> Batch:
    dataset = windows(window_size=2, fwd_pred_next_n=2)
    return collate([dataset[i] for i in (0, 3, 8)])


def changed(batch: Batch, **tensors: torch.Tensor) -> Batch:
    """A batch with other tensors, unchecked."""
    copy = object.__new__(Batch)
    for field in dataclasses.fields(Batch):
        object.__setattr__(copy, field.name, tensors.get(field.name, getattr(batch, field.name)))
    return copy


def test_valid_batch_is_returned(batch: Batch) -> None:
    assert batch.validate() is batch
    assert len(batch.to("cpu")) == 3


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Batch) if field.name != "images"])
def test_wrong_size_is_named(batch: Batch, name: str) -> None:
    bad = changed(batch, **{name: getattr(batch, name)[:2]})
    with pytest.raises(DataError, match="batch.(" + name + "|text_mask)"):
        bad.validate()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Batch)])
def test_wrong_dtype_is_named(batch: Batch, name: str) -> None:
    with pytest.raises(DataError, match=f"batch.{name}: expected"):
        changed(batch, **{name: getattr(batch, name).double()}).validate()


def test_numbers_that_are_not_finite(batch: Batch) -> None:
    actions = batch.actions.clone()
    actions[1, 0, 0, 0] = np.nan  # window of episode 0, step 3
    with pytest.raises(DataError, match=r"batch.actions: not finite in the window of episode 0, step 3"):
        changed(batch, actions=actions).validate()
    actions = batch.actions.clone()
    actions[0, 0] = np.nan  # before the episode: masked
    assert not batch.action_mask[0, 0].any()
    changed(batch, actions=actions).validate()
    proprio = batch.proprio.clone()
    proprio[2, 1] = np.inf
    with pytest.raises(DataError, match=r"batch.proprio: not finite in the window of episode 1, step 1"):
        changed(batch, proprio=proprio).validate()


def test_pad_right() -> None:
    ids, mask = pad_right([np.array([5, 6, 7]), np.array([8])], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]
