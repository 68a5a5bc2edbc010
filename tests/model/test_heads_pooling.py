import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from robovlms.model.head import adaptive_max_pool


@st.composite
def rows(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    b, k, latent = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=b * k, max_size=b * k))
    tokens = torch.randn(b, k, 2, generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
    return tokens, torch.tensor(bits).view(b, k), latent


@given(rows())
def test_a_row_gives_what_its_real_tokens_give_alone(case: tuple[torch.Tensor, torch.Tensor, int]) -> None:
    tokens, mask, latent = case
    pooled = adaptive_max_pool(tokens.masked_fill(~mask.unsqueeze(-1), torch.nan), mask, latent)
    assert pooled.shape == (len(tokens), latent, 2)
    for row, real, found in zip(tokens, mask, pooled, strict=True):
        alone = F.adaptive_max_pool1d(row[real].t(), latent).t() if real.any() else torch.zeros(latent, 2)
        assert torch.equal(found, alone)


@given(rows())
def test_no_mask_and_a_full_mask_are_the_library(case: tuple[torch.Tensor, torch.Tensor, int]) -> None:
    tokens, mask, latent = case
    expected = F.adaptive_max_pool1d(tokens.transpose(1, 2), latent).transpose(1, 2)
    assert torch.equal(adaptive_max_pool(tokens, None, latent), expected)
    assert torch.equal(adaptive_max_pool(tokens, torch.ones_like(mask), latent), expected)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (2, 3, 4)])
def test_any_leading_axes(lead: tuple[int, ...]) -> None:
    tokens, mask = torch.randn(*lead, 5, 2), torch.ones(*lead, 5, dtype=torch.bool)
    mask[..., 3] = False
    expected = adaptive_max_pool(tokens[..., [0, 1, 2, 4], :], None, 2)
    assert expected.shape == (*lead, 2, 2)
    assert torch.equal(adaptive_max_pool(tokens, mask, 2), expected)


def test_the_gradient_reaches_the_largest_real_token_only() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [9.0]], [[1.0], [2.0], [3.0]]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    adaptive_max_pool(tokens, mask, 1).sum().backward()
    assert tokens.grad.squeeze(-1).tolist() == [[0, 1, 0], [0, 0, 0]]
