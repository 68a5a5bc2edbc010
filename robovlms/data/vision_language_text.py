r"""A conversation about an image as token ids, with labels on the answers only.

::

    text      system  template(question 1)  answer 1  </s>  template(question 2)  answer 2  </s>
    labels      ·              ·             learned          ·             learned             · = -100
    image            at "<image>" of question 1; without one, behind the first `images_at` tokens

Every question and every answer is tokenised by itself, so that the ids of an answer do not depend on what stands before
it, and so that the ids of the first question are those that `generate` makes of the same prompt.

>>> from robovlms.data.text import ByteTokenizer
>>> encoder = ConversationEncoder(ByteTokenizer(), template="{question}?")
>>> conversation = encoder.encode([("a<image>b", "c")])
>>> [chr(i - 3) if i > 2 else i for i in conversation.input_ids.tolist()], conversation.image_at
(['a', 'b', '?', 'c', 2], 1)
>>> conversation.labels.tolist() == [-100, -100, -100, ord("c") + 3, 2]
True
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from robovlms.data.text import Tokenizer
from robovlms.errors import ConfigError, DataError

IMAGE = "<image>"
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Token ids of one conversation.

    Attributes:
        input_ids: int64 [l], without the image's tokens.
        labels: int64 [l], the ids of answers and of the end token after each, else -100; not shifted.
        image_at: tokens that stand before the image.
    """

    input_ids: Int64[np.ndarray, "l"]
    labels: Int64[np.ndarray, "l"]
    image_at: int


class ConversationEncoder:
    """Tokenises questions and answers.

    Args:
        tokenizer: of the backbone.
        template: text around a question, up to where the answer begins, with the field `{question}`.
        system: text before the first question.
        max_text_len: tokens that are kept; what goes beyond is cut off at the end.
        add_special_tokens: whether the tokenizer adds its own begin and end tokens to the first question; of the
            backbone.
        images_at: tokens before an image that has no place in the text; of the backbone.
        prompt_tail: tokens that the tokenizer adds at the end of a prompt, which are taken off; of the backbone.

    Raises:
        ConfigError: if the template lacks its field, or the tokenizer has no end token.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        template: str = "{question}\n",
        system: str = "",
        max_text_len: int = 512,
        add_special_tokens: bool = False,
        images_at: int = 0,
        prompt_tail: int = 0,
    ) -> None:
        if "{question}" not in template:
            raise ConfigError(f"template {template!r} of a conversation lacks the field {{question}}")
        end = getattr(tokenizer, "eos_token_id", None)
        if end is None:
            raise ConfigError(f"{type(tokenizer).__name__} has no end token, so answers could not end")
        self.tokenizer, self.template, self.system = tokenizer, template, system
        self.max_text_len, self.add_special_tokens = max_text_len, add_special_tokens
        self.images_at, self.prompt_tail, self._end = images_at, prompt_tail, int(end)

    def encode(self, turns: Sequence[tuple[str, str]]) -> Conversation:
        """Return the ids of questions and answers.

        Args:
            turns: (question, answer), at least one; "<image>" at most once, in the first question.

        Raises:
            DataError: if the image has no or several places, or no token of an answer is within `max_text_len`.
        """
        marks = [question.count(IMAGE) for question, _ in turns]
        if not turns or marks[0] > 1 or any(marks[1:]) or any(IMAGE in answer for _, answer in turns):
            raise DataError(f"expected {IMAGE} at most once, in the first question; questions have {marks}")
        ids: list[int] = []
        labels: list[int] = []
        image_at = 0
        for number, (question, answer) in enumerate(turns):
            text = self.template.replace("{question}", question.strip())
            if number == 0:
                asked, image_at = self._first(self.system + text)
            else:
                asked = self._ids(text)
            answered = [*self._ids(answer.strip()), self._end]
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
        if all(label == IGNORED for label in labels[: self.max_text_len]):
            raise DataError(f"no answer begins within the first {self.max_text_len} tokens; raise max_text_len")
        return Conversation(
            input_ids=np.array(ids[: self.max_text_len], np.int64),
            labels=np.array(labels[: self.max_text_len], np.int64),
            image_at=image_at,
        )

    def _first(self, text: str) -> tuple[list[int], int]:
        """Ids of the first question, and how many of them stand before the image."""
        before, marked, after = text.partition(IMAGE)
        ids = self._ids(before, self.add_special_tokens)
        ids = ids[: len(ids) - self.prompt_tail]
        return (ids + self._ids(after), len(ids)) if marked else (ids, min(self.images_at, len(ids)))

    def _ids(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])
