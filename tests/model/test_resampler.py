"""The resampler against the formula written out, and its parameters' names against those of OpenFlamingo."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robovlms.model.resampler import PerceiverResampler, attend

WIDTH, LATENTS, HEADS, HEAD_WIDTH = 12, 5, 3, 4


def resampler(depth: int = 2) -> PerceiverResampler:
    """Norms and latents away from their first values, so that each of them matters."""
    torch.manual_seed(0)
    module = PerceiverResampler(WIDTH, depth=depth, num_latents=LATENTS, num_heads=HEADS, head_dim=HEAD_WIDTH)
    for parameter in module.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"])


def attention(latents: Tensor, image: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """One latent and one head at a time."""
    latents, image = norm(latents, state, f"{name}.norm_latents"), norm(image, state, f"{name}.norm_media")
    looked_at = torch.cat([image, latents])
    to_key, to_value = state[f"{name}.to_kv.weight"].chunk(2)
    rows = []
    for latent in latents:
        parts = []
        for head in range(HEADS):
            columns = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            query = state[f"{name}.to_q.weight"][columns] @ latent
            scores = looked_at @ to_key[columns].T @ query / HEAD_WIDTH**0.5
            parts.append(scores.softmax(0) @ (looked_at @ to_value[columns].T))
        rows.append(state[f"{name}.to_out.weight"] @ torch.cat(parts))
    return torch.stack(rows)


def feed_forward(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    inner = norm(x, state, f"{name}.0") @ state[f"{name}.1.weight"].T
    return (0.5 * inner * (1 + torch.erf(inner / 2**0.5))) @ state[f"{name}.3.weight"].T


@torch.inference_mode()
def test_equals_the_formula_written_out() -> None:
    module, images = resampler(), torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    state = module.state_dict()
    for image, actual in zip(images, module(images), strict=True):
        latents = state["latents"]
        for layer in range(2):
            latents = latents + attention(latents, image, state, f"layers.{layer}.0")
            latents = latents + feed_forward(latents, state, f"layers.{layer}.1")
        torch.testing.assert_close(actual, norm(latents, state, "norm"), atol=1e-5, rtol=0)


def test_names_and_shapes_are_those_of_openflamingo() -> None:
    """Source: https://github.com/mlfoundations/open_flamingo, vision tower ViT-L/14."""
    width, inner = 1024, 512
    layer = {
        "0.norm_media.weight": (width,),
        "0.norm_media.bias": (width,),
        "0.norm_latents.weight": (width,),
        "0.norm_latents.bias": (width,),
        "0.to_q.weight": (inner, width),
        "0.to_kv.weight": (2 * inner, width),
        "0.to_out.weight": (width, inner),
        "1.0.weight": (width,),
        "1.0.bias": (width,),
        "1.1.weight": (4 * width, width),
        "1.3.weight": (width, 4 * width),
    }
    expected = {f"layers.{i}.{name}": shape for i in range(6) for name, shape in layer.items()}
    expected |= {"latents": (64, width), "norm.weight": (width,), "norm.bias": (width,)}
    with torch.device("meta"):
        actual = {name: tuple(tensor.shape) for name, tensor in PerceiverResampler(width).state_dict().items()}
    assert actual == expected


def test_every_image_token_matters_and_their_order_does_not() -> None:
    module, image = resampler(), torch.randn(1, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    image.requires_grad_()
    latents = module(image)
    latents.square().sum().backward()
    assert (image.grad.abs().amax(-1) > 1e-6).all()
    torch.testing.assert_close(module(image.detach().flip(1)), latents.detach(), atol=1e-5, rtol=0)
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("num_tokens", [1, 7])
def test_any_number_of_tokens_becomes_as_many_as_there_are_latents(num_tokens: int) -> None:
    assert resampler(depth=1)(torch.randn(3, num_tokens, WIDTH)).shape == (3, LATENTS, WIDTH)


def test_attention_with_a_mask_equals_attention_without_the_masked() -> None:
    query, key, value = (torch.randn(2, n, HEADS * HEAD_WIDTH) for n in (4, 6, 6))
    allowed = torch.tensor([True, False, True, True, False, True]).expand(2, 4, -1)
    expected = attend(query, key[:, allowed[0, 0]], value[:, allowed[0, 0]], HEADS)
    torch.testing.assert_close(attend(query, key, value, HEADS, allowed), expected, atol=1e-6, rtol=0)
    assert not nn.functional.mse_loss(attend(query, key, value, HEADS), expected) < 1e-3
