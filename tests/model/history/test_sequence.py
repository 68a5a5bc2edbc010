import dataclasses

import torch
from hypothesis import given
from hypothesis import strategies as st

from robovlms.model.history.sequence import (
    PREFIX_FRAME,
    Kind,
    Stretch,
    attention_allowed,
    fold,
    join,
    length_of,
    piece,
    positions_of,
    prepend,
    unroll,
)

masks = st.lists(st.booleans(), min_size=1, max_size=5)


def text(mask: list[bool], block: int = 0) -> Stretch:
    real = torch.tensor([mask])
    return piece(torch.zeros(1, len(mask), 2), real, Kind.TEXT, block=block)


def frames(prefix: list[bool], image: list[bool], t: int, block: int) -> Stretch:
    """A prefix, then t frames of an image and one query."""
    real = torch.tensor(image).expand(1, t, -1)
    one = join(
        piece(torch.zeros(1, t, len(image), 2), real, Kind.IMAGE, block=block),
        piece(torch.zeros(1, t, 1, 2), torch.ones(1, t, 1, dtype=torch.bool), Kind.QUERY),
    )
    return prepend(text(prefix), unroll(one))


@given(masks, masks, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 1]))
def test_attention_follows_the_rules_token_by_token(
    prefix: list[bool], image: list[bool], t: int, window: int, block: int
) -> None:
    stretch = frames(prefix, image, t, block)
    layout, real = stretch.layout, stretch.real[0]
    allowed = attention_allowed(layout, stretch.keys(), window)[0]
    expected = torch.zeros_like(allowed)
    for query in range(len(layout)):
        for key in range(len(layout)):
            a, b = int(layout.frame[query]), int(layout.frame[key])
            both_image = block and layout.kinds[query] == layout.kinds[key] == Kind.IMAGE
            if a == b:
                sees = key <= query or both_image
            else:
                sees = b == PREFIX_FRAME or (b < a and a - b < window and a != PREFIX_FRAME)
            expected[query, key] = bool(real[key]) and bool(sees)
        if not expected[query].any():  # padding alone
            expected[query, query] = True
    assert torch.equal(allowed, expected)


@given(masks, masks, st.integers(1, 4))
def test_positions_count_real_tokens_only(prefix: list[bool], image: list[bool], t: int) -> None:
    stretch = frames(prefix, image, t, 0)
    positions, real = positions_of(stretch, 1)[0], stretch.real[0]
    assert positions[real].tolist() == list(range(int(real.sum())))
    assert int(length_of(stretch)) == int(real.sum())
    moved = positions_of(stretch, 1, torch.tensor([7]))[0]
    assert torch.equal(moved, positions + 7)


def test_hidden_queries_are_seen_by_nobody() -> None:
    stretch = frames([True], [True, True], 2, 0)
    allowed = attention_allowed(stretch.layout, stretch.keys(hidden=Kind.QUERY), 2)[0]
    assert not allowed[:, stretch.layout.columns(Kind.QUERY)].any()


def test_queries_of_their_own_frame_are_not_seen_by_the_next_one() -> None:
    stretch = frames([True], [True, True], 2, 0)
    allowed = attention_allowed(stretch.layout, stretch.keys(own=Kind.QUERY), 2)[0]
    first, second = stretch.layout.columns(Kind.QUERY).tolist()
    assert not allowed[second, first]
    assert allowed[first, first]
    assert allowed[second].sum() == 1 + 2 + 2 + 1  # prefix, both images, itself


def test_images_stand_in_a_grid_and_move_the_position_on_by_its_longer_side() -> None:
    token = torch.arange(6)
    advance = torch.tensor([0, 0, 0, 0, 0, 3])
    grid = torch.stack([token * 0, token // 3, token % 3])
    image = piece(torch.zeros(1, 6, 2), torch.ones(1, 6, dtype=torch.bool), Kind.IMAGE, positions=(advance, grid))
    stretch = join(text([True, True]), image, text([True, False, True]))
    positions = positions_of(stretch, 3)[:, 0]
    assert positions[:, :2].tolist() == [[0, 1]] * 3
    assert positions[:, 2:8].tolist() == [[2] * 6, [2, 2, 2, 3, 3, 3], [2, 3, 4, 2, 3, 4]]
    assert positions[0, 8:].tolist() == [5, 6, 6]
    missing = dataclasses.replace(stretch, real=stretch.real & (torch.arange(11) < 2) | (torch.arange(11) > 7))
    assert positions_of(missing, 3)[0, 0, 8:].tolist() == [2, 3, 4]


def test_folding_and_unrolling_keep_the_tokens() -> None:
    embeds = torch.arange(24.0).view(2, 3, 2, 2)
    stretch = piece(embeds, torch.ones(2, 3, 2, dtype=torch.bool), Kind.IMAGE)
    assert torch.equal(fold(stretch).embeds, embeds.flatten(0, 1))
    rolled = unroll(stretch)
    assert torch.equal(rolled.embeds, embeds.flatten(1, 2))
    assert rolled.layout.frame.tolist() == [0, 0, 1, 1, 2, 2]
    assert rolled.layout.index.tolist() == [0, 1, 0, 1, 0, 1]


def test_narrow_tokens_are_filled_with_zeros_beside_wide_ones() -> None:
    wide = piece(torch.ones(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), Kind.IMAGE)
    assert join(text([True]), wide).embeds.tolist() == [[[0.0] * 4, [1.0] * 4]]
