"""Images with questions and answers, on which a policy can be trained beside its robot data. NumPy only, no torch.

::

    {"id": "7", "image": "coco/7.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
                                                         {"from": "gpt", "value": "A cat."}]}

one such object per line, or a JSON list of them; an object without "image" is text only.

Source: the format of LLaVA, https://github.com/haotian-liu/LLaVA (docs/Finetune_Custom_Data.md).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from robovlms.data.records import Records
from robovlms.data.vision_language_text import IMAGE, ConversationEncoder
from robovlms.errors import ConfigError, DataError, unknown_name

VisionLanguageSample = dict[str, np.ndarray]
_GREY = (127, 127, 127)  # about the mean of most vision towers, so nearly 0 after their normalisation


class VisionLanguageDataset:
    """Conversations about images. Opening reads the file once and keeps where its entries begin.

    A sample is a dict: image uint8 [3, h, w] (zeros if there is none), image_mask bool [], image_at int64 [], input_ids
    and labels int64 [l]; see `VisionLanguageBatch`.

    Args:
        path: JSON or JSON-lines file.
        image_root: folder that "image" is relative to.
        encoder: conversation -> token ids.
        image_size: height and width of a sample's image, in pixels.
        aspect: "stretch" fills the size with the whole picture, as camera frames are resized for the vision tower;
            "pad" keeps the ratio of height and width and fills up with grey on both sides.

    Raises:
        DataError: if the file cannot be read, or is empty.
    """

    def __init__(
        self,
        path: Path | str,
        image_root: Path | str,
        *,
        encoder: ConversationEncoder,
        image_size: tuple[int, int],
        aspect: Literal["stretch", "pad"] = "stretch",
    ) -> None:
        if aspect not in ("stretch", "pad"):
            raise ConfigError(unknown_name("aspect", aspect, ["stretch", "pad"]))
        self.image_root, self.encoder = Path(image_root), encoder
        self.image_size, self.aspect = image_size, aspect
        self.records = Records(path)
        if not len(self.records):
            raise DataError(f"{path}: holds no conversation")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> VisionLanguageSample:
        """Return one sample.

        Raises:
            IndexError: if there are not as many.
            DataError: names the line of what is no conversation, or whose image cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"conversation {index} of {len(self)}")
        record = self.records[index]
        try:
            return self._sample(record)
        except DataError as error:
            raise DataError(f"{self.records.place(index)}: {error}") from error

    def _sample(self, record: dict[str, Any]) -> VisionLanguageSample:
        name = record.get("image")
        if not (name is None or (isinstance(name, str) and name)):
            raise DataError(f"image: expected a path, got {name!r}")
        turns = turns_of(record)
        if name is None and IMAGE in turns[0][0]:
            raise DataError(f"the question has {IMAGE}, but the entry has no image")
        conversation = self.encoder.encode(turns)
        blank = np.zeros((3, *self.image_size), np.uint8)
        return {
            "image": blank if name is None else self._image(self.image_root / name),
            "image_mask": np.array(name is not None),
            "image_at": np.array(conversation.image_at, np.int64),
            "input_ids": conversation.input_ids,
            "labels": conversation.labels,
        }

    def _image(self, file: Path) -> UInt8[np.ndarray, "3 h w"]:
        try:
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{file}: not readable as a picture: {error}") from error
        fit = stretched if self.aspect == "stretch" else padded
        return np.ascontiguousarray(np.asarray(fit(picture, *self.image_size)).transpose(2, 0, 1))


def turns_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(question, answer) of an entry.

    Raises:
        DataError: if the entry has no conversation, or human and gpt do not take turns.
    """
    said = record.get("conversations")
    if not isinstance(said, list) or not said:
        raise DataError(f"expected 'conversations', a list of turns; the entry has {sorted(record)}")
    texts = []
    for number, turn in enumerate(said):
        who, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        expected = ("human", "gpt")[number % 2]
        if who not in ("human", "gpt"):
            raise DataError(f"turn {number}: " + unknown_name("speaker", str(who), ["human", "gpt"]))
        if who != expected or not isinstance(text, str) or not text.strip():
            raise DataError(f"turn {number}: expected a text of {expected!r}, got {text!r} of {who!r}")
        texts.append(text)
    if len(texts) % 2:
        raise DataError(f"turn {len(texts) - 1}: a question without an answer")
    return list(zip(texts[::2], texts[1::2], strict=True))


def stretched(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The whole picture at another size, bicubic with anti-aliasing; the ratio of height and width changes."""
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def padded(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The whole picture in its own ratio, in the middle of a grey one."""
    scale = min(height / picture.height, width / picture.width)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = Image.new("RGB", (width, height), _GREY)
    canvas.paste(picture.resize(size, Image.Resampling.BICUBIC), ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas
