import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.errors import ConfigError
from robovlms.model.head import DiscreteDecoder, Vocabulary

D, A, N, VOCAB = 6, 3, 2, 40


class Words(torch.nn.Module):
    """A text model with 40 tokens, of which 8 before the end stand for actions."""

    def __init__(self, bins: int = 8) -> None:
        super().__init__()
        self.action_tokenizer = ActionTokenizer.original(VOCAB, 5, bins=bins)
        self.table = torch.nn.Embedding(VOCAB, D)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.table.weight.t()


def build(vocabulary: Any = None, **settings: Any) -> DiscreteDecoder:
    torch.manual_seed(0)
    settings = {"fwd_pred_next_n": N, "n_bin": 8, **settings}
    return DiscreteDecoder(D, 8, A, vocabulary=vocabulary, **settings)


def everything(b: int = 2, t: int = 1) -> torch.Tensor:
    return torch.ones(b, t, N, dtype=torch.bool)


@given(
    arrays(np.float32, (2, 3, 4), elements=st.floats(-2, 2, width=32)),
    st.integers(2, 300),
    st.sampled_from([(-1.0, 1.0), (-0.65, 0.65), (0.0, 0.3)]),
    st.booleans(),
)
def test_encodes_as_the_tokenizer(
    values: np.ndarray, bins: int, limits: tuple[float, float], is_original: bool
) -> None:
    vocabulary = Words() if is_original else None
    if vocabulary is not None:
        vocabulary.action_tokenizer = ActionTokenizer.original(1000, 5, bins, *limits)
    head = DiscreteDecoder(
        D,
        8,
        4,
        fwd_pred_next_n=3,
        n_bin=bins,
        min_action=limits[0],
        max_action=limits[1],
        vocabulary=vocabulary,
        gripper_dims=(),
    )
    ids = head.encode(torch.from_numpy(values))
    assert ids.tolist() == np.reshape(head.action_tokenizer.encode_actions_to_token_ids(values), (2, 12)).tolist()


@pytest.mark.parametrize("vocabulary", [None, Words()])
def test_tokens_are_step_major_and_grippers_the_ends_of_the_range(vocabulary: Words | None) -> None:
    head = build(vocabulary, gripper_dims=(1,))
    actions = torch.tensor([[[[-1.0, 1.0, 0.1], [0.6, 0.0, 1.0]]]])
    numbers = [-1.0, 1.0, 0.1, 0.6, -1.0, 1.0]
    assert head.encode(actions).tolist() == [[head.action_tokenizer.encode_actions_to_token_ids(numbers)]]


def test_numbers_that_are_not_supervised_may_be_nan() -> None:
    ids = build().encode(torch.full((1, 1, N, A), torch.nan))
    assert ((ids >= 0) & (ids < 8)).all()


@pytest.mark.parametrize("vocabulary", [None, Words()])
def test_only_action_tokens_are_chosen(vocabulary: Words | None) -> None:
    head = build(vocabulary)
    tokenizer = head.action_tokenizer
    logits = torch.randn(500, VOCAB if vocabulary else 8)
    if vocabulary:
        logits[:, : tokenizer.action_token_begin_idx + 1] += 100
        logits[:, tokenizer.action_token_end_idx :] += 100
    chosen = head.choose(logits)
    first, last = tokenizer.action_token_begin_idx + 1, tokenizer.action_token_end_idx - 1
    assert set(chosen.tolist()) == set(range(first, last + 1))
    best = logits[:, first : last + 1].max(1).values
    assert torch.equal(logits.gather(1, chosen.unsqueeze(1)).squeeze(1), best)


@pytest.mark.parametrize("vocabulary", [None, Words()])
def test_logits_for_the_tokenizer_hold_actions_only(vocabulary: Words | None) -> None:
    head = build(vocabulary)
    features = torch.randn(2, 3, N * A, D)
    logits, free = head.action_logits(features), head(features)
    assert logits.shape == free.shape == (2, 3, N * A, VOCAB if vocabulary else 8)
    assert torch.equal(logits.argmax(-1), head.choose(free))
    is_action = logits.isfinite()
    assert (is_action.sum(-1) == 8).all()
    assert torch.equal(logits[is_action], free[is_action])
    values = head.action_tokenizer.decode_token_ids_to_actions(logits.argmax(-1))
    np.testing.assert_allclose(values.reshape(2, 3, N, A)[..., :2], head.predict(features)[..., :2].detach(), rtol=1e-6)


@pytest.mark.parametrize("vocabulary", [None, Words()])
def test_loss_is_the_cross_entropy_of_the_supervised_tokens(vocabulary: Words | None) -> None:
    head = build(vocabulary, gripper_dims=(0,))
    features, actions, mask = torch.randn(2, 1, N * A, D), torch.rand(2, 1, N, A), everything()
    mask[1, 0, 1] = False
    loss = head.loss(features, actions, mask)
    errors = F.cross_entropy(head(features).flatten(0, 2), head.encode(actions).flatten(), reduction="none")
    errors = errors.view(2, 1, N, A)
    kept = torch.stack([errors[0, 0, 0], errors[0, 0, 1], errors[1, 0, 0]])
    torch.testing.assert_close(loss["total_loss"], kept.mean())
    torch.testing.assert_close(loss["loss_arm"], kept[:, 1:].mean())
    torch.testing.assert_close(loss["loss_gripper"], kept[:, 0].mean())


def test_metrics_by_hand() -> None:
    """Logits are given by features; two of three supervised arm numbers and the gripper are met."""
    head = DiscreteDecoder(4, 8, 2, fwd_pred_next_n=3, n_bin=4)
    torch.nn.init.eye_(head.output.weight)
    actions = torch.tensor([[[[-0.9, 1.0], [0.1, 0.0], [0.9, 0.0]]]])  # bins 0 3 | 2 0 | 3 0
    features = torch.eye(4)[torch.tensor([[[0, 3, 0, 0, 3, 1]]])]
    mask = torch.tensor([[[True, True, False]]])
    loss = head.loss(features, actions, mask)
    assert loss["accuracy_arm"].item() == 0.5
    assert loss["accuracy_gripper"].item() == 1.0
    assert loss["l1_arm"].item() == pytest.approx((0 + 1.0) / 2)
    assert not any(loss[name].requires_grad for name in ("accuracy_arm", "accuracy_gripper", "l1_arm"))


def test_prediction_by_hand() -> None:
    head = DiscreteDecoder(4, 8, 2, n_bin=4)
    torch.nn.init.eye_(head.output.weight)
    features = torch.tensor([[[[0.0, 0.0, 2.0, 1.0], [0.0, 1.0, 2.0, -1.0]]]])
    arm, gripper = head.predict(features).flatten().tolist()
    e = math.e
    assert arm == 0.25
    assert gripper == pytest.approx((e**2 + 1 / e) / (1 + e + e**2 + 1 / e))


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (-0.65, 0.65), (0.1, 0.7), (-0.1, 1.3)])
@pytest.mark.parametrize("bins", [3, 5, 7, 99])
def test_the_middle_bin_of_an_odd_number_counts_as_closed(bins: int, limits: tuple[float, float]) -> None:
    head = DiscreteDecoder(3, 8, 2, n_bin=bins, min_action=limits[0], max_action=limits[1])
    assert head.predict(torch.zeros(1, 1, 2, 3))[..., 1].item() == pytest.approx((bins - 1) / 2 / bins, rel=1e-5)


@pytest.mark.parametrize("vocabulary", [None, Words()])
def test_what_the_tokens_say_comes_back_within_half_a_bin(vocabulary: Words | None) -> None:
    head = build(vocabulary, gripper_dims=(2,))
    head.logits = lambda hidden: hidden
    actions = torch.rand(5, 2, N, A) * 2 - 1
    actions[..., 2] = (actions[..., 2] > 0).float()
    one_hot = 50 * F.one_hot(head.encode(actions), VOCAB if vocabulary else 8).float()
    chunk = head.predict(one_hot)
    half = 1 / 7 if vocabulary else 1 / 8
    assert (chunk - actions)[..., :2].abs().max() <= half + 1e-6
    torch.testing.assert_close(chunk[..., 2], actions[..., 2], atol=1e-6, rtol=0)


def test_own_tables_are_parameters_and_the_text_model_is_not_registered() -> None:
    assert {name: p.shape for name, p in build().named_parameters()} == {
        "embedding.weight": (8, D),
        "output.weight": (8, D),
    }
    words = Words()
    head = build(words)
    assert isinstance(words, Vocabulary)
    assert list(head.parameters()) == []
    assert head.state_dict() == {}
    assert torch.equal(head.embed_tokens(torch.tensor([3])), words.table.weight[3:4])
    head.loss(torch.randn(2, 1, N * A, D), torch.rand(2, 1, N, A), everything())["total_loss"].backward()
    assert words.table.weight.grad.any()


def test_a_vocabulary_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"are \(8, -1.0, 1.0\), those of the vocabulary are \(7, -1.0, 1.0\)"):
        build(Words(bins=7))
    with pytest.raises(ConfigError, match="Linear needs embed, logits and action_tokenizer"):
        build(torch.nn.Linear(2, 2))


def test_from_the_original_there_are_no_weights_to_load() -> None:
    head = DiscreteDecoder.from_original({}, in_features=D, hidden_size=8, action_dim=A, n_bin=8, vocabulary=Words())
    assert head.state_dict() == {}


def test_no_action_is_made_of_what_is_not_finite() -> None:
    head = build()
    features = torch.randn(2, 1, N * A, D, generator=torch.Generator().manual_seed(0))
    features[0, 0, 1] = float("nan")
    with torch.no_grad():
        chunk = head.predict(features)
    assert not chunk[0, 0].isfinite().all()
    assert chunk[1].isfinite().all()
