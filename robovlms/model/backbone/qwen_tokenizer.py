"""The tokenizer of the first Qwen models: byte pairs in a file of tiktoken, special tokens behind them.

Source: https://huggingface.co/Qwen/Qwen-VL/blob/main/tokenization_qwen.py
"""

import base64
from pathlib import Path
from typing import Any

from robovlms.errors import CheckpointError

QWEN_VOCABULARY = "qwen.tiktoken"
_PIECES = (  # what is tokenised apart: contractions, words, single digits, punctuation, white space
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NUM_EXTRA = 205
_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(_NUM_EXTRA)),
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>",
)  # fmt: skip


def qwen_tokenizer(path: Path) -> Any:
    """Build a tokenizer of transformers from `qwen.tiktoken`.

    Raises:
        CheckpointError: if the file is damaged.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ranks = read_ranks(path)
    letter = _letters()
    spelled = {token: "".join(letter[byte] for byte in token) for token in ranks}
    merges = [tuple(spelled[half] for half in _halves(token, ranks)) for token in ranks if len(token) > 1]
    tokenizer = Tokenizer(models.BPE({spelled[token]: rank for token, rank in ranks.items()}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in _SPECIAL])
    end = _SPECIAL[0]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read token -> rank, in the order of the ranks; a token's id is its rank."""
    try:
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
    except ValueError as error:
        raise CheckpointError(f"{path}: expected a token in base64 and its rank in every line: {error}") from None
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise CheckpointError(f"{path}: the ranks are not the numbers from 0 on; is the file complete?")
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge is this one: what is left when only tokens of lower rank may be merged."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        merged = [ranks.get(left + right, len(ranks)) for left, right in zip(parts, parts[1:], strict=False)]
        at = merged.index(min(merged))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _letters() -> list[str]:
    """A visible letter for each byte, as byte-level tokenizers of `tokenizers` write them.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2 (GPT-2).
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]
