"""Where a tokenizer marks the beginning and the end of a prompt."""

from robovlms.data.text import Tokenizer


def special_token_layout(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many tokens of its own a tokenizer puts before and after a text: (images_at, prompt_tail).

    >>> from robovlms.data.text import ByteTokenizer
    >>> special_token_layout(ByteTokenizer())
    (1, 0)
    """
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    bos, eos = (getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    return int(bos is not None and ids[0] == bos), int(eos is not None and len(ids) > 1 and ids[-1] == eos)
