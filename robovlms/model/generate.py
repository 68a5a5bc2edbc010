"""Words instead of actions: the VLM continues a text about an image."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from robovlms.errors import PolicyError
from robovlms.model.backbone.base import Backbone, Media
from robovlms.model.cache import KVCache
from robovlms.model.history.frames import FIRST_IMAGE_BLOCK, PREFIX_BLOCK, image_pieces
from robovlms.model.history.sequence import Kind, Stretch, attention_allowed, join, length_of, piece, positions_of

_IMAGE = "<image>"


@torch.inference_mode()
def generate_text(backbone: Backbone, prompt: str, image: Any, max_new_tokens: int) -> str:
    """Continue `prompt` greedily; arguments as in `BaseRoboVLM.generate`.

    Raises:
        PolicyError: if the prompt is empty, or the image is no picture.
    """
    lead, body = _prompt_ids(backbone, prompt)
    tokens = None if image is None else _encode(backbone, image)
    prefix = _prefix(backbone, lead, body, tokens)
    media, size = _media(backbone, prefix, tokens), len(prefix.layout)
    cache = KVCache(1, size + max_new_tokens)
    slots = torch.arange(size + max_new_tokens, device=prefix.embeds.device).unsqueeze(0)
    allowed = torch.zeros(1, size, slots.shape[1], dtype=torch.bool, device=slots.device)
    allowed[:, :, :size] = attention_allowed(prefix.layout, prefix.keys(), window=1)
    cache.aim(slots[:, :size])
    positions, next_position = positions_of(prefix, backbone.position_rows), length_of(prefix)
    read = torch.tensor([size - 1], device=slots.device)
    hidden = backbone.decode(prefix.embeds, allowed, positions, read, cache, media)
    words: list[int] = []
    for i in range(max_new_tokens):
        word = backbone.logits(hidden).argmax(-1)
        words.append(int(word))
        if words[-1] == getattr(backbone.tokenizer, "eos_token_id", None) or i == max_new_tokens - 1:
            break
        cache.aim(slots[:, size + i : size + i + 1])
        embeds = _widened(backbone, backbone.word_embedding(word).to(prefix.embeds.dtype))
        position = (next_position + i).view(1, 1).expand(*(() if backbone.position_rows == 1 else (3,)), 1, 1)
        seen = (slots <= size + i).unsqueeze(1)
        after = None if media is None else Media(tokens=media.tokens, allowed=media.allowed[:, -1:])
        hidden = backbone.decode(embeds, seen, position, read * 0, cache, after)
    return backbone.tokenizer.decode(words, skip_special_tokens=True)


def _prompt_ids(backbone: Backbone, prompt: str) -> tuple[list[int], list[int]]:
    """Ids before and after the image."""
    before, marked, after = prompt.partition(_IMAGE)
    ids = list(backbone.tokenizer(before, add_special_tokens=backbone.add_special_tokens)["input_ids"])
    ids = ids[: len(ids) - backbone.prompt_tail]
    if marked:
        body = list(backbone.tokenizer(after, add_special_tokens=False)["input_ids"])
        lead = ids
    else:
        lead, body = ids[: backbone.images_at], ids[backbone.images_at :]
    if not lead + body:
        raise PolicyError("the prompt is empty; give at least one word")
    return lead, body


def _encode(backbone: Backbone, image: Any) -> Tensor:
    """Image tokens [1, 1, k, e]."""
    if not isinstance(image, Tensor):
        pixels = np.asarray(image)
        if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
            raise PolicyError(f"image: expected uint8 [h, w, 3], got {pixels.dtype} {list(pixels.shape)}")
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != 3:
        raise PolicyError(f"image: expected a tensor [3, h, w], got {list(image.shape)}")
    device = next(backbone.parameters()).device
    return backbone.encode_images(backbone.preprocess(image.unsqueeze(0).to(device))).unsqueeze(1)


def _prefix(backbone: Backbone, lead: list[int], body: list[int], tokens: Tensor | None) -> Stretch:
    device, block = next(backbone.parameters()).device, PREFIX_BLOCK if backbone.bidirectional == "prefix" else 0

    def text(ids: list[int], block: int) -> Stretch:
        row: Int64[Tensor, "1 l"] = torch.tensor([ids], dtype=torch.int64, device=device)
        return piece(backbone.word_embedding(row), torch.ones_like(row, dtype=torch.bool), Kind.TEXT, block=block)

    images: list[Stretch] = []
    if tokens is not None and not backbone.is_cross_attention:
        images = image_pieces(
            backbone, tokens, torch.ones(1, 1, dtype=torch.bool, device=device), backbone.bidirectional
        )
    lead_block = FIRST_IMAGE_BLOCK if backbone.bidirectional == "lead_and_images" else block
    stretch = join(text(lead, lead_block), *images, text(body, block))
    dtype = stretch.embeds.dtype if tokens is None else tokens.dtype
    return Stretch(embeds=_widened(backbone, stretch.embeds.to(dtype)), real=stretch.real, layout=stretch.layout)


def _widened(backbone: Backbone, embeds: Tensor) -> Tensor:
    return torch.nn.functional.pad(embeds, (0, backbone.embed_width - embeds.shape[-1]))


def _media(backbone: Backbone, prefix: Stretch, tokens: Tensor | None) -> Media | None:
    if not backbone.is_cross_attention or tokens is None:
        return None
    media = tokens.flatten(1, 2)
    allowed = torch.ones(1, len(prefix.layout), media.shape[1], dtype=torch.bool, device=media.device)
    return Media(tokens=media, allowed=allowed)
