"""From an instruction to token ids: one prompt format per backbone, the same in training and inference."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robovlms.errors import DataError


@runtime_checkable
class Tokenizer(Protocol):
    """What is asked of a tokenizer; those of transformers fit."""

    def __call__(self, text: str, add_special_tokens: bool = ...) -> Any:
        """Return an object with the list `input_ids`."""


class ByteTokenizer:
    """UTF-8 bytes as tokens: id = byte + 3, after pad 0, bos 1 and eos 2. Needs no training and knows every language.

    >>> ByteTokenizer()("Öl")["input_ids"]
    [198, 153, 111]
    """

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2
    vocab_size = 259

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        ids = [byte + 3 for byte in text.encode()]
        return {"input_ids": [self.bos_token_id, *ids] if add_special_tokens else ids}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; bytes that are no UTF-8 become "\ufffd"."""
        return bytes(i - 3 for i in ids if 3 <= i < self.vocab_size).decode(errors="replace")


class PromptEncoder:
    """Puts an instruction into the prompt template and tokenises it.

    Args:
        tokenizer: of the backbone.
        template: text with the field `{instruction}`; `{eos}` is the tokenizer's end mark, nothing if it has none.
        max_text_len: longest prompt in tokens.
        add_special_tokens: whether the tokenizer adds its own begin and end tokens.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: str, max_text_len: int, add_special_tokens: bool = False
    ) -> None:
        if "{instruction}" not in template:
            raise DataError(f"prompt template {template!r} lacks the field {{instruction}}")
        self.tokenizer, self.template, self.max_text_len = tokenizer, template, max_text_len
        self.add_special_tokens = add_special_tokens
        self._known: dict[str, np.ndarray] = {}

    def encode(self, instruction: str) -> np.ndarray:
        """Return the prompt's token ids, int64 [l].

        Raises:
            DataError: if the prompt is longer than `max_text_len`.
        """
        if instruction not in self._known:
            end = getattr(self.tokenizer, "eos_token", None) or ""
            prompt = self.template.format(instruction=instruction, eos=end)
            encoded = self.tokenizer(prompt, add_special_tokens=self.add_special_tokens)
            ids = np.array(encoded["input_ids"], np.int64)
            if len(ids) > self.max_text_len:
                raise DataError(
                    f"the prompt {prompt!r} has {len(ids)} tokens, more than model.tokenizer.max_text_len = "
                    f"{self.max_text_len}; shorten the instruction or raise the limit"
                )
            self._known[instruction] = ids
        return self._known[instruction]

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes whenever any text may get other ids."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            described = backend.to_str()
        else:
            vocabulary = getattr(self.tokenizer, "get_vocab", dict)()
            described = json.dumps([type(self.tokenizer).__name__, sorted(vocabulary.items())])
        return hashlib.sha256(f"{self.add_special_tokens} {described}".encode()).hexdigest()


def pad_right(rows: Sequence[np.ndarray], pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stack token ids of different lengths; return ids int64 [b, l] and mask bool [b, l], True = a real token."""
    length = max(len(row) for row in rows)
    mask = np.arange(length) < np.array([len(row) for row in rows])[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.concatenate(rows)
    return ids, mask
