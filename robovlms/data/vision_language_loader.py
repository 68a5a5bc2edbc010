"""What one loader process does for conversations about images: from positions in the run to tensors."""

from dataclasses import dataclass

import numpy as np

from robovlms.data.order import WindowOrder
from robovlms.data.quarantine import BadWindow
from robovlms.data.vision_language import VisionLanguageDataset, VisionLanguageSample
from robovlms.data.vision_language_batch import VisionLanguageBatch, collate_vision_language
from robovlms.errors import DataError

DATASET = -1  # their number among the datasets of a run
_REPLACEMENT = 8  # keeps its random numbers apart from others of the same seed
_MOST_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True)
class LoadedConversations:
    """A batch, and the conversations that could not be read and were replaced."""

    batch: VisionLanguageBatch
    bad: tuple[BadWindow, ...]


class VisionLanguageLoader:
    """Loads batches of conversations.

    Args:
        dataset: the conversations.
        order: which conversation a position holds.
        seed: of replacements.
    """

    def __init__(self, dataset: VisionLanguageDataset, order: WindowOrder, seed: int) -> None:
        self.dataset, self.order, self.seed = dataset, order, seed

    def load(self, positions: range) -> LoadedConversations:
        """Read the conversations at some positions.

        Raises:
            DataError: if a conversation cannot be read, and no other one either.
        """
        bad: list[BadWindow] = []
        batch = collate_vision_language([self._sample(position, bad) for position in positions])
        return LoadedConversations(batch=batch, bad=tuple(bad))

    def _sample(self, position: int, bad: list[BadWindow]) -> VisionLanguageSample:
        """The conversation, or, if it cannot be read, one that the position alone decides."""
        index, random = self.order.window(position), np.random.default_rng([self.seed, position, 0, _REPLACEMENT])
        reason = ""
        for _ in range(_MOST_ATTEMPTS):
            try:
                return self.dataset[index]
            except DataError as error:
                reason, file = str(error), str(self.dataset.records.path)
                bad.append(BadWindow(dataset=DATASET, window=index, file=file, reason=reason))
            index = int(random.integers(len(self.dataset)))
        raise DataError(f"{_MOST_ATTEMPTS} conversations in a row cannot be read, the last because: {reason}")
