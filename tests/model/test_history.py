import torch
from hypothesis import given
from hypothesis import strategies as st

from robovlms.model.history import attention_allowed, positions_of

masks = st.lists(st.booleans(), min_size=1, max_size=12)


@given(masks, st.integers(1, 3), st.booleans())
def test_attention_rules(prefix: list[bool], num_queries: int, is_prefix_lm: bool) -> None:
    mask = torch.tensor([[*prefix, *([True] * num_queries)]])
    allowed = attention_allowed(mask, num_queries, is_prefix_lm)[0]
    size = mask.shape[1]
    for query in range(size):
        for key in range(size):
            both_prefix = query < size - num_queries and key < size - num_queries
            expected = key == query or (bool(mask[0, key]) and (key <= query or (is_prefix_lm and both_prefix)))
            assert bool(allowed[query, key]) == expected
    assert allowed.any(-1).all()


@given(masks)
def test_positions_count_real_tokens_only(mask: list[bool]) -> None:
    positions = positions_of(torch.tensor([mask]))[0]
    real = [int(p) for p, is_real in zip(positions, mask, strict=True) if is_real]
    assert real == list(range(sum(mask)))
