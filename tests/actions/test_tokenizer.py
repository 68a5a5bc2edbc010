import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from robovlms.actions.tokenizer import ActionTokenizer, count_special_tokens
from robovlms.data.text import ByteTokenizer
from robovlms.errors import ConfigError, DataError

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
NUM_BINS = st.integers(2, 1024)
RANGES = st.sampled_from([(-1.0, 1.0), (-0.65, 0.65), (0.0, 3.0), (-7.0, -0.1)])


class WordTokenizer:
    """Known words and added tokens; what a tokenizer of transformers does, as far as it is asked here."""

    def __init__(self, num_words: int = 50) -> None:
        self.vocab_size, self.added = num_words, {}

    def add_tokens(self, names: list[str], special_tokens: bool = False) -> int:
        assert special_tokens  # or a prompt could not keep their names out
        new = [name for name in names if name not in self.added]
        self.added |= {name: self.vocab_size + len(self.added) + i for i, name in enumerate(new)}
        return len(new)

    def convert_tokens_to_ids(self, names: list[str]) -> list[int]:
        return [self.added[name] for name in names]


def _goldens() -> list[dict[str, Any]]:
    return json.loads((GOLDENS / "a_action_tokenizer.json").read_text()) if GOLDENS.is_dir() else []


def _golden(case: dict[str, Any]) -> tuple[ActionTokenizer, dict[str, np.ndarray]]:
    text = SimpleNamespace(
        vocab_size=case["vocab_size"],
        special_tokens_map_extended=case["special_tokens_map_extended"],
        decode=lambda ids: " ".join(map(str, ids)),
    )
    tokenizer = ActionTokenizer(text, case["bins"], case["min_action"], case["max_action"], layout="original")
    arrays_ = np.load(GOLDENS / "a_action_tokenizer.npz")
    prefix = case["prefix"]
    return tokenizer, {key.removeprefix(prefix): arrays_[key] for key in arrays_.files if key.startswith(prefix)}


@needs_goldens
@pytest.mark.parametrize("case", _goldens(), ids=lambda case: case["prefix"])
def test_the_original_layout_equals_the_original(case: dict[str, Any]) -> None:
    tokenizer, golden = _golden(case)
    assert tokenizer.action_token_begin_idx == case["action_token_begin_idx"]
    assert tokenizer.action_token_end_idx == case["action_token_end_idx"]
    assert tokenizer.vocab_size == case["vocab_size_property"]
    np.testing.assert_allclose(tokenizer.bins, golden["bins"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(tokenizer.bin_centers, golden["bin_centers"], rtol=1e-12, atol=1e-15)
    assert tokenizer.encode_actions_to_token_ids(golden["values"]) == golden["ids"].tolist()
    np.testing.assert_allclose(tokenizer.decode_token_ids_to_actions(golden["ids"]), golden["roundtrip"], rtol=1e-12)
    assert tokenizer.encode_actions_to_token_ids(golden["nd_values"]) == golden["nd_ids"].tolist()
    scalar = tokenizer.encode_actions_to_token_ids(np.array(case["scalar_0d"]["value"]))
    assert (type(scalar), scalar) == (int, case["scalar_0d"]["ids"])
    assert tokenizer(case["call_1d"]["value"]) == case["call_1d"]["text"]


@needs_goldens
@pytest.mark.parametrize("case", _goldens(), ids=lambda case: case["prefix"])
def test_the_original_layout_decodes_action_ids_only(case: dict[str, Any]) -> None:
    tokenizer, golden = _golden(case)
    ids, values = golden["decode_ids"], golden["decode_vals"]
    is_action = (ids > tokenizer.action_token_begin_idx) & (ids < tokenizer.action_token_end_idx)
    assert is_action.sum() == case["bins"]
    assert 0 < is_action.sum() < len(ids)
    np.testing.assert_allclose(tokenizer.decode_token_ids_to_actions(ids[is_action]), values[is_action], rtol=1e-12)
    for token in ids[~is_action]:
        with pytest.raises(DataError, match=f"{token} is not an action token"):
            tokenizer.decode_token_ids_to_actions(token)


@needs_goldens
def test_special_tokens_of_a_transformers_tokenizer() -> None:
    transformers = pytest.importorskip("transformers")
    text = transformers.AutoTokenizer.from_pretrained(str(GOLDENS / "tiny_tokenizer"))
    tokenizer = ActionTokenizer(text, layout="original")
    expected = json.loads((GOLDENS / "e_losses.json").read_text())["disc"]
    assert tokenizer.action_token_begin_idx == expected["begin"]
    assert tokenizer.action_token_end_idx == expected["end"]


@needs_goldens
def test_reserved_tokens_of_a_transformers_tokenizer() -> None:
    transformers = pytest.importorskip("transformers")
    text = transformers.AutoTokenizer.from_pretrained(str(GOLDENS / "tiny_tokenizer"))
    first = ActionTokenizer(text, bins=8)
    again = ActionTokenizer(text, bins=8)
    assert len(text) == 708
    assert first.encode_actions_to_token_ids(-1.0) == again.encode_actions_to_token_ids(-1.0) == 700
    ids = text("turn <action_003> left", split_special_tokens=True)["input_ids"]
    assert max(ids) < 700
    assert text.decode(first.encode_actions_to_token_ids([-1.0, 1.0])).split() == ["<action_000>", "<action_007>"]


def test_special_tokens_are_counted_by_entry_and_lists_by_length() -> None:
    old = SimpleNamespace(special_tokens_map_extended={"bos": "<s>", "unk": "<s>", "more": ["<a>", "<b>", "<b>"]})
    new = SimpleNamespace(special_tokens_map={"bos": "<s>", "unk": "<s>"}, extra_special_tokens=["<a>"])
    assert count_special_tokens(old) == 5
    assert count_special_tokens(new) == 3
    assert count_special_tokens(ByteTokenizer()) == 0


def test_reserved_ids_lie_behind_the_text() -> None:
    tokenizer = ActionTokenizer(ByteTokenizer(), bins=16)
    ids = tokenizer.encode_actions_to_token_ids(np.linspace(-1, 1, 99))
    assert set(ids) == set(range(259, 275))
    assert (tokenizer.action_token_begin_idx, tokenizer.action_token_end_idx) == (258, 275)
    assert max(ByteTokenizer()("any text\xff")["input_ids"]) < min(ids)


def test_reserving_twice_adds_once_and_a_gap_is_refused() -> None:
    text = WordTokenizer()
    ActionTokenizer(text, bins=8)
    assert ActionTokenizer(text, bins=8).action_token_begin_idx == 49
    assert len(text.added) == 8
    text.add_tokens(["<other>"], special_tokens=True)
    assert ActionTokenizer(text, bins=4).action_token_begin_idx == 49
    with pytest.raises(ConfigError, match="<action_000> to <action_015> must have consecutive ids"):
        ActionTokenizer(text, bins=16)


@given(arrays(np.float64, array_shapes(max_dims=3, max_side=5), elements=st.floats(-9, 9)), NUM_BINS, RANGES)
def test_reserved_round_trip_is_within_half_a_cell(values: np.ndarray, bins: int, limits: tuple[float, float]) -> None:
    tokenizer = ActionTokenizer.reserved(7, bins, *limits)
    ids = tokenizer.encode_actions_to_token_ids(values)
    decoded = tokenizer.decode_token_ids_to_actions(ids)
    half = (limits[1] - limits[0]) / bins / 2
    assert np.abs(decoded - np.clip(values, *limits)).max() <= half * (1 + 1e-9)
    assert tokenizer.encode_actions_to_token_ids(decoded) == ids


@given(NUM_BINS, RANGES, st.sampled_from(["reserved", "original"]))
def test_every_id_is_used_and_decodes_in_order(bins: int, limits: tuple[float, float], layout: str) -> None:
    text = SimpleNamespace(vocab_size=2000)
    tokenizer = ActionTokenizer(text, bins, *limits, layout=layout)
    numbers = np.arange(bins)
    ids = tokenizer.bins_to_ids(numbers)
    assert sorted(ids) == list(range(tokenizer.action_token_begin_idx + 1, tokenizer.action_token_end_idx))
    assert np.array_equal(tokenizer.ids_to_bins(ids), numbers)
    values = tokenizer.decode_token_ids_to_actions(ids)
    shared = 1 if layout == "original" else 0
    assert (np.diff(values)[: bins - 1 - shared] > 0).all()
    assert len(np.unique(values)) == bins - shared == len(tokenizer.bin_centers)
    np.testing.assert_array_equal(tokenizer.to_bins(values), np.minimum(numbers, bins - 1 - shared))


def test_shapes_and_kinds_of_input() -> None:
    tokenizer = ActionTokenizer.reserved(0, bins=4)
    assert tokenizer.encode_actions_to_token_ids(0.1) == 2
    assert tokenizer.encode_actions_to_token_ids([]) == []
    assert tokenizer.encode_actions_to_token_ids([[-1, 0], [0.6, 5]]) == [[0, 2], [3, 3]]
    assert tokenizer.decode_token_ids_to_actions(3) == 0.75
    assert tokenizer.decode_token_ids_to_actions([[0], [3]]).tolist() == [[-0.75], [0.75]]
    assert tokenizer.decode_token_ids_to_actions([]).shape == (0,)
    assert tokenizer.to_bins(np.float32(-np.inf)) == 0
    assert tokenizer.to_bins(np.inf) == 3
    assert tokenizer.to_bins(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert tokenizer.to_bins([0.1]).dtype == np.int64


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_tensors(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    values = torch.tensor([[-1.0, 0.3], [0.5, 2.0]], dtype=getattr(torch, dtype), requires_grad=True)
    tokenizer = ActionTokenizer.reserved(5, bins=8)
    assert tokenizer.encode_actions_to_token_ids(values) == [[5, 10], [11, 12]]
    assert tokenizer.decode_token_ids_to_actions(torch.tensor([5, 12])).tolist() == [-0.875, 0.875]


def test_the_original_layout_at_the_bounds() -> None:
    """bins = 5: edges -0.65 … 0.65, ids 83 … 79. In float32 the upper bound lies below the last edge."""
    tokenizer = ActionTokenizer.original(100, 6, 5, -0.65, 0.65)
    values = [-np.inf, -0.65, 0.65, np.inf, np.nan]
    assert tokenizer.encode_actions_to_token_ids(np.array(values)) == [83, 83, 79, 79, 79]
    assert tokenizer.encode_actions_to_token_ids(np.array(values, dtype=np.float32)) == [83, 83, 80, 80, 79]
    assert tokenizer.decode_token_ids_to_actions(79) == tokenizer.decode_token_ids_to_actions(80)


def test_bad_input_is_refused() -> None:
    tokenizer = ActionTokenizer.reserved(5, bins=8)
    with pytest.raises(DataError, match="1 of 2 values are NaN"):
        tokenizer.encode_actions_to_token_ids([0.0, float("nan")])
    for token in (4, 13, -1, 6.5, float("nan")):
        with pytest.raises(DataError, match=f"{token} is not an action token; their ids are 5 to 12"):
            tokenizer.decode_token_ids_to_actions([6, token])
    with pytest.raises(ConfigError, match="have no text"):
        tokenizer([0.0])
    with pytest.raises(ConfigError, match="did you mean 'original'"):
        ActionTokenizer(ByteTokenizer(), layout="originel")
    with pytest.raises(ConfigError, match="bins must be at least 2"):
        ActionTokenizer(ByteTokenizer(), bins=1)
    with pytest.raises(ConfigError, match="below max_action, got 1 and"):
        ActionTokenizer(ByteTokenizer(), min_action=1, max_action=-1)
    with pytest.raises(ConfigError, match="no room for 256 bins; 7 ids"):
        ActionTokenizer(ByteTokenizer(), layout="original")


def test_text_of_tokens_row_by_row() -> None:
    text = SimpleNamespace(
        vocab_size=10,
        decode=lambda ids: " ".join(map(str, ids)),
        batch_decode=lambda rows: [",".join(map(str, row)) for row in rows],
    )
    tokenizer = ActionTokenizer(text, bins=4)
    assert tokenizer([-1.0, 1.0]) == "10 13"
    assert tokenizer([[-1.0, 1.0], [0.1, 0.1]]) == ["10,13", "12,12"]
