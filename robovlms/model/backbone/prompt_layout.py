"""Where a prompt's begin and end marks stand."""

from robovlms.data.text import Tokenizer


def special_token_layout(tokenizer: Tokenizer, template: str = "{instruction}") -> tuple[int, int]:
    """How many marks stand before and after a prompt's text: (images_at, prompt_tail).

    Args:
        tokenizer: adds its own marks, if it has any.
        template: text around the instruction, which may spell marks out.

    >>> from robovlms.data.text import ByteTokenizer
    >>> special_token_layout(ByteTokenizer())
    (1, 0)
    """
    ids = tokenizer(template.format(instruction="a"), add_special_tokens=True)["input_ids"]
    bos, eos = (getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    return int(bos is not None and ids[0] == bos), int(eos is not None and len(ids) > 1 and ids[-1] == eos)
