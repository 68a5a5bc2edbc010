"""Continuous action values <-> token ids, one token per number; NumPy only.

::

    value ── clip ── bin 0 … n-1 ── id              begin_idx < id < end_idx, in both layouts
    value ── centre of the bin ──── id

Two layouts place the bins on the value axis and the ids in the vocabulary:

    ============  =================================  ===============================  ==========================
    layout        bins                               ids                              id of bin k
    ============  =================================  ===============================  ==========================
    reserved      n equal cells, n centres           n ids that no text has           begin_idx + 1 + k, rising
    original      n edges, n - 1 centres: the last   the n last text tokens before    end_idx - 1 - k, falling
                  two bins share the last centre     the specials and a gap of 10
    ============  =================================  ===============================  ==========================

"reserved" is for new policies. "original" is for weights of the original RoboVLMs only: it takes real tokens away from
the text, and a NaN gives the same id as the largest action.

>>> reserved = ActionTokenizer.reserved(100, bins=4)
>>> reserved.bin_centers.tolist(), reserved.encode_actions_to_token_ids([-1.0, -0.1, 0.1, 1.0])
([-0.75, -0.25, 0.25, 0.75], [100, 101, 102, 103])
>>> original = ActionTokenizer.original(100, 6, bins=5)
>>> original.bins.tolist(), original.encode_actions_to_token_ids([-1.0, -0.1, 0.1, 1.0])
([-1.0, -0.5, 0.0, 0.5, 1.0], [83, 82, 81, 79])
>>> original.decode_token_ids_to_actions([83, 82, 81, 80, 79]).tolist()
[-0.75, -0.25, 0.25, 0.75, 0.75]
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from robovlms.errors import ConfigError, DataError, unknown_name

Layout = Literal["reserved", "original"]
_GAP = 10  # ids that the original leaves free before the special tokens
_LAYOUTS = ("reserved", "original")


class ActionTokenizer:
    """Maps every number of an action to one token.

    Args:
        tokenizer: of the text. For "reserved" a tokenizer with `add_tokens` gets the special tokens "<action_000>" …
            added, once however often this is called; to keep a prompt that spells such a name out of the action ids,
            call the tokenizer with `split_special_tokens=True`. Any other gives ids from its `vocab_size` on. For
            "original" its `vocab_size` and its special tokens are counted, see `count_special_tokens`.
        bins: n, tokens per number, at least 2.
        min_action: smallest value; smaller ones are clipped to it.
        max_action: largest value; larger ones are clipped to it.
        layout: "reserved" or "original", see the module.

    Attributes:
        layout: as given.
        bins: edges of the bins on the value axis, float64, ascending; [n + 1] for "reserved", [n] for "original".
        bin_centers: float64, ascending; [n] for "reserved", [n - 1] for "original".
        min_action, max_action: as given.
        action_token_begin_idx: the id before the smallest action id.
        action_token_end_idx: the id after the largest action id.

    Raises:
        ConfigError: if the range or the number of bins makes no sense, the layout is unknown, or the vocabulary has no
            room.

    Source: for the layout "original", the released RoboVLMs, after RT-2 (Brohan et al., 2023, section 3.2).
    """

    def __init__(
        self,
        tokenizer: Any,
        bins: int = 256,
        min_action: float = -1.0,
        max_action: float = 1.0,
        layout: str = "reserved",
    ) -> None:
        if layout not in _LAYOUTS:
            raise ConfigError("action tokenizer: " + unknown_name("layout", layout, _LAYOUTS))
        _check(bins, min_action, max_action)
        self._tokenizer = tokenizer
        if layout == "reserved":
            first = _reserve(tokenizer, bins)
        else:
            first = tokenizer.vocab_size - count_special_tokens(tokenizer) - _GAP - bins
        self._place(layout, first, bins, min_action, max_action)

    @classmethod
    def original(
        cls,
        vocab_size: int,
        num_special_tokens: int,
        bins: int = 256,
        min_action: float = -1.0,
        max_action: float = 1.0,
    ) -> "ActionTokenizer":
        """Layout "original" without a tokenizer.

        Args:
            vocab_size: of the text tokenizer, without added tokens.
            num_special_tokens: as counted by `count_special_tokens`.
            bins, min_action, max_action: as in the class.
        """
        return cls._without_tokenizer(
            "original", vocab_size - num_special_tokens - _GAP - bins, bins, min_action, max_action
        )

    @classmethod
    def reserved(
        cls, first_id: int, bins: int = 256, min_action: float = -1.0, max_action: float = 1.0
    ) -> "ActionTokenizer":
        """Layout "reserved" without a tokenizer: ids `first_id` to `first_id + bins - 1`."""
        return cls._without_tokenizer("reserved", first_id, bins, min_action, max_action)

    @classmethod
    def _without_tokenizer(cls, layout: Layout, first: int, bins: int, low: float, high: float) -> "ActionTokenizer":
        _check(bins, low, high)
        self = cls.__new__(cls)
        self._tokenizer = None
        self._place(layout, first, bins, low, high)
        return self

    def _place(self, layout: str, first: int, bins: int, low: float, high: float) -> None:
        if first < 0:
            raise ConfigError(f"action tokenizer: the vocabulary has no room for {bins} bins; {-first} ids are missing")
        self.layout, self.min_action, self.max_action = layout, float(low), float(high)
        self.bins = np.linspace(low, high, bins + 1 if layout == "reserved" else bins)
        self.bin_centers = (self.bins[:-1] + self.bins[1:]) / 2
        self.action_token_begin_idx, self.action_token_end_idx = first - 1, first + bins

    @property
    def vocab_size(self) -> int:
        """n, the number of action tokens."""
        return self.action_token_end_idx - self.action_token_begin_idx - 1

    def encode_actions_to_token_ids(self, action: Any) -> int | list:
        """Values to ids.

        Args:
            action: a number, a nested list, an array or a tensor of any shape, in the unit of the bins.

        Returns:
            Python ints, nested in lists as the input's shape; one int for a single number.

        Raises:
            DataError: on NaN in the layout "reserved".
        """
        return self.bins_to_ids(self.to_bins(action)).tolist()

    def decode_token_ids_to_actions(self, ids: Any) -> Float[np.ndarray, "*shape"] | np.float64:
        """Ids to the centres of their bins.

        Args:
            ids: an id, a nested list, an array or a tensor of any shape.

        Returns:
            float64 of the same shape, between the outermost bin centres.

        Raises:
            DataError: if an id is not an action token.
        """
        return self.from_bins(self.ids_to_bins(ids))

    def __call__(self, action: Any) -> str | list[str]:
        """Text of the tokens of an action: one string, or one per row of a batch."""
        if self._tokenizer is None:
            raise ConfigError("action tokenizer: built without a text tokenizer, so its tokens have no text")
        ids = self.bins_to_ids(self.to_bins(action))
        return self._tokenizer.decode(ids.tolist()) if ids.ndim <= 1 else self._tokenizer.batch_decode(ids.tolist())

    def to_bins(self, actions: Any) -> Int64[np.ndarray, "*shape"]:
        """Values to bin numbers 0 … n - 1, int64 of the same shape; arguments and errors as in encoding."""
        values = _to_numpy(actions)
        if self.layout == "reserved" and np.isnan(values).any():
            raise DataError(f"action tokenizer: {int(np.isnan(values).sum())} of {values.size} values are NaN")
        # Clipped in the input's own precision, as the original does: it decides the id at a bound float32 cannot hold.
        cell = np.digitize(np.clip(values, self.min_action, self.max_action), self.bins)
        return np.asarray(np.clip(cell - 1, 0, self.vocab_size - 1), dtype=np.int64)

    def from_bins(self, bins: Int64[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"] | np.float64:
        """Bin numbers 0 … n - 1 to the values at their centres, float64."""
        return self.bin_centers[np.minimum(bins, len(self.bin_centers) - 1)]

    def bins_to_ids(self, bins: Any) -> Any:
        """Bin numbers 0 … n - 1 to ids; plain arithmetic, for integers, arrays and tensors alike."""
        if self.layout == "reserved":
            return self.action_token_begin_idx + 1 + bins
        return self.action_token_end_idx - 1 - bins

    def ids_to_bins(self, ids: Any) -> Int64[np.ndarray, "*shape"]:
        """Inverse of `bins_to_ids`, int64.

        Raises:
            DataError: if an id is not an action token.
        """
        array = _to_numpy(ids)
        first, last = self.action_token_begin_idx + 1, self.action_token_end_idx - 1
        is_action = (first <= array) & (array <= last) & (array == np.floor(array))
        if not is_action.all():
            raise DataError(f"{array[~is_action].flat[0]} is not an action token; their ids are {first} to {last}")
        return np.asarray(array - first if self.layout == "reserved" else last - array, dtype=np.int64)


def count_special_tokens(tokenizer: Any) -> int:
    """Special tokens as the original counts them: the entries of `special_tokens_map_extended`, lists by their length,
    a token with two roles twice.

    transformers 5 has no such map; there the named tokens (`special_tokens_map`) and the unnamed ones
    (`extra_special_tokens`) are added up, which gives the same number unless loading dropped repeated ones. Where the
    number that a checkpoint was trained with is known, give it to `ActionTokenizer.original`.
    """
    tokens = getattr(tokenizer, "special_tokens_map_extended", None)
    if tokens is None:
        tokens = dict(getattr(tokenizer, "special_tokens_map", None) or {})
        tokens["extra_special_tokens"] = list(getattr(tokenizer, "extra_special_tokens", None) or ())
    return sum(len(value) if isinstance(value, (list, tuple)) else 1 for value in tokens.values())


def _reserve(tokenizer: Any, bins: int) -> int:
    if not hasattr(tokenizer, "add_tokens"):
        return tokenizer.vocab_size
    width = max(3, len(str(bins - 1)))
    names = [f"<action_{i:0{width}d}>" for i in range(bins)]
    tokenizer.add_tokens(names, special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(names)
    if ids != list(range(ids[0], ids[0] + bins)):
        raise ConfigError(
            f"action tokenizer: {names[0]} to {names[-1]} must have consecutive ids, but the tokenizer held some of "
            "them before other tokens were added; load it anew"
        )
    return ids[0]


def _check(bins: int, low: float, high: float) -> None:
    if bins < 2:
        raise ConfigError(f"action tokenizer: bins must be at least 2, got {bins}")
    if not (np.isfinite([low, high]).all() and low < high):
        raise ConfigError(f"action tokenizer: min_action must be below max_action, got {low} and {high}")


def _to_numpy(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, without importing its library
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    return np.asarray(values)
