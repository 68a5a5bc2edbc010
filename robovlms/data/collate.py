"""Samples of a dataset -> one batch."""

from collections.abc import Sequence

import numpy as np
import torch

from robovlms.data.batch import Batch
from robovlms.data.sample import Sample
from robovlms.data.text import pad_right


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a checked batch; prompts are padded on the right.

    Raises:
        DataError: names the first window that does not fit.
    """
    input_ids, text_mask = pad_right([sample["input_ids"] for sample in samples])
    names = [name for name in samples[0] if name != "input_ids"]
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in names}
    arrays |= {"input_ids": input_ids, "text_mask": text_mask}
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()}).validate()
