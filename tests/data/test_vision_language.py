"""Conversations about images: files, ids and labels, pictures, batches."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robovlms.data.records import Records
from robovlms.data.text import ByteTokenizer
from robovlms.data.vision_language import VisionLanguageDataset, padded, stretched
from robovlms.data.vision_language_batch import collate_vision_language
from robovlms.data.vision_language_text import IGNORED, ConversationEncoder
from robovlms.errors import ConfigError, DataError

BOS, EOS = 1, 2


class MarkedTokenizer(ByteTokenizer):
    """Adds a begin and an end token to a prompt."""

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        ids = super().__call__(text)["input_ids"]
        return {"input_ids": [BOS, *ids, EOS] if add_special_tokens else ids}


def ids_of(text: str) -> list[int]:
    return [byte + 3 for byte in text.encode()]


def entry(*texts: str, image: str | None = "cat.png") -> dict[str, Any]:
    said = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]
    return {"id": "1", "conversations": said} | ({} if image is None else {"image": image})


ENTRIES = [
    entry("<image>\nWhat is it?", "A cat.", "Sure?", "Yes"),
    entry("Was ist Öl? 油", "Öl.", image=None),
    entry("Describe.", "Grey fur.", image="sub/tall.png"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (8, 4), (10, 20, 30)).save(tmp_path / "cat.png")
    Image.new("L", (2, 8), 255).save(tmp_path / "sub/tall.png")
    return tmp_path


def write(folder: Path, entries: list[Any], name: str = "data.jsonl") -> Path:
    file = folder / name
    if name.endswith("jsonl"):
        file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in entries), encoding="utf-8")
    else:
        file.write_text(json.dumps(entries, ensure_ascii=False, indent=1), encoding="utf-8")
    return file


def open_dataset(folder: Path, entries: list[Any] = ENTRIES, **changes: Any) -> VisionLanguageDataset:
    encoder = ConversationEncoder(ByteTokenizer(), template="Q: {question} A:", add_special_tokens=True, images_at=1)
    arguments: dict[str, Any] = {"encoder": encoder, "image_size": (4, 4)} | changes
    return VisionLanguageDataset(write(folder, entries), folder, **arguments)


def test_answers_and_their_ends_are_learned(folder: Path) -> None:
    sample = open_dataset(folder)[0]
    parts = [([BOS, *ids_of("Q: ")], False), (ids_of("\nWhat is it? A:"), False), ([*ids_of("A cat."), EOS], True)]
    parts += [(ids_of("Q: Sure? A:"), False), ([*ids_of("Yes"), EOS], True)]
    assert sample["input_ids"].tolist() == [i for ids, _ in parts for i in ids]
    assert sample["labels"].tolist() == [i if learned else -100 for ids, learned in parts for i in ids]
    assert (int(sample["image_at"]), bool(sample["image_mask"])) == (4, True)
    np.testing.assert_array_equal(sample["image"], np.full((3, 4, 4), np.array([10, 20, 30])[:, None, None]))


def test_without_a_place_the_image_stands_where_the_policys_images_do(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert [int(dataset[i]["image_at"]) for i in (1, 2)] == [1, 1]
    assert not dataset[1]["image_mask"]
    assert not dataset[1]["image"].any()
    assert dataset[2]["image"].min() == 255
    tail = ConversationEncoder(MarkedTokenizer(), add_special_tokens=True, images_at=1, prompt_tail=1)
    found = tail.encode([("hi", "yo")])
    assert found.input_ids.tolist() == [BOS, *ids_of("hi\nyo"), EOS]
    assert found.image_at == 1


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=4))
def test_labels_read_as_the_answers(turns: list[tuple[str, str]]) -> None:
    found = ConversationEncoder(ByteTokenizer(), max_text_len=10_000).encode(turns)
    learned = found.labels[found.labels != IGNORED].tolist()
    assert learned == [i for _, answer in turns for i in [*ids_of(answer.strip()), EOS]]
    is_learned = found.labels != IGNORED
    np.testing.assert_array_equal(found.labels[is_learned], found.input_ids[is_learned])


def test_what_is_too_long_is_cut_at_the_end() -> None:
    encoder = ConversationEncoder(ByteTokenizer(), template="{question}:", max_text_len=5)
    found = encoder.encode([("ab", "cdef")])
    assert found.input_ids.tolist() == ids_of("ab:cd")
    assert found.labels.tolist() == [-100] * 3 + ids_of("cd")
    with pytest.raises(DataError, match="no answer begins within the first 5 tokens"):
        encoder.encode([("abcd", "e")])


@pytest.mark.parametrize(
    ("template", "tokenizer", "message"),
    [
        ("question", ByteTokenizer(), "lacks the field {question}"),
        ("{question}", lambda text, add_special_tokens=False: None, "function has no end token"),
    ],
)
def test_an_encoder_that_cannot_work_is_refused(template: str, tokenizer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConversationEncoder(tokenizer, template=template)


def test_pictures_fill_their_size_or_keep_their_ratio() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    wide = Image.fromarray(pixels)
    half = np.asarray(stretched(wide, 4, 4))
    assert half.shape == (4, 4, 3)
    assert half[:, 0].max() < 10
    assert half[:, 3].min() > 190
    framed = np.asarray(padded(wide, 8, 8))
    assert (framed[:2] == 127).all()
    assert (framed[6:] == 127).all()
    np.testing.assert_array_equal(framed[2:6], pixels)
    tall = np.asarray(padded(wide.transpose(Image.Transpose.ROTATE_90), 6, 3))
    assert tall.shape == (6, 3, 3)
    assert (tall != 127).all()


def test_aspect_is_one_of_two(folder: Path) -> None:
    assert open_dataset(folder, aspect="pad")[0]["image"][:, 0, 0].tolist() == [127] * 3
    with pytest.raises((ConfigError, TypeError), match="aspect"):
        open_dataset(folder, aspect="padd")


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_lists_and_lines_mean_the_same(folder: Path, name: str) -> None:
    records = Records(write(folder, ENTRIES, name))
    assert [records[i] for i in range(len(records))] == ENTRIES
    assert pickle.loads(pickle.dumps(records))[1] == ENTRIES[1]


JSON_VALUES = st.dictionaries(st.text(max_size=4), st.one_of(st.text(), st.integers(), st.none()), max_size=3)


@given(st.lists(JSON_VALUES, max_size=5), st.sampled_from([None, 1, 3]), st.booleans(), st.booleans())
def test_entries_come_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any], indent: int | None, ascii_only: bool, lines: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "records"
    texts = [json.dumps(one, ensure_ascii=ascii_only) for one in entries]
    whole = json.dumps(entries, ensure_ascii=ascii_only, indent=indent)
    file.write_text("\n\n".join(texts) if lines else f"\n {whole} \n", encoding="utf-8")
    records = Records(file)
    assert [records[i] for i in range(len(records))] == entries


def test_opening_keeps_no_text(folder: Path) -> None:
    write(folder, [entry("<image>" + "x" * 10_000, "y")] * 50)
    assert len(pickle.dumps(Records(folder / "data.jsonl"))) < 3000


def test_lines_are_named(folder: Path) -> None:
    file = folder / "lines.jsonl"
    file.write_text('{"id": 1}\n\n{"id": \n["a"]\n')
    records = Records(file)
    assert len(records) == 3
    with pytest.raises(DataError, match=r"lines.jsonl, line 3: not readable as JSON"):
        records[1]
    with pytest.raises(DataError, match=r"lines.jsonl, line 4: expected an object, found list"):
        records[2]
    (folder / "list.json").write_text('[{"a": 1}, 3 {"b": 2}]')
    with pytest.raises(DataError, match=r"list.json: not readable as JSON: expected ',' or '\]' after entry 2"):
        Records(folder / "list.json")
    (folder / "list.json").write_text('[{"a": 1}, {"b": ')
    with pytest.raises(DataError, match=r"list.json: not readable as JSON"):
        Records(folder / "list.json")
    with pytest.raises(DataError, match=r"nothing.json: not readable"):
        Records(folder / "nothing.json")
    (folder / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty.jsonl: holds no conversation"):
        VisionLanguageDataset(
            folder / "empty.jsonl", folder, encoder=ConversationEncoder(ByteTokenizer()), image_size=(4, 4)
        )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"id": "1"}, r"expected 'conversations', a list of turns; the entry has \['id'\]"),
        (entry("Q"), "turn 0: a question without an answer"),
        (entry("Q", "A", "Q"), "turn 2: a question without an answer"),
        (entry("Q", ""), "turn 1: expected a text of 'gpt', got ''"),
        ({"conversations": [{"from": "gpt", "value": "A"}]}, "turn 0: expected a text of 'human', got 'A' of 'gpt'"),
        ({"conversations": [{"from": "humann", "value": "A"}]}, "unknown speaker 'humann'; did you mean 'human'"),
        ({"conversations": ["hi"]}, "turn 0: unknown speaker 'None'"),
        (entry("<image>", "A", image=None), "the question has <image>, but the entry has no image"),
        (entry("<image><image>", "A"), "expected <image> at most once"),
        (entry("Q", "A", "<image>", "A"), "expected <image> at most once, in the first question"),
        (entry("Q", "A", image="no.png"), r"no.png: not readable as a picture"),
        (entry("Q", "A", image="data.jsonl"), r"data.jsonl: not readable as a picture"),
        (entry("Q", "A") | {"image": ["a", "b"]}, r"image: expected a path, got \['a', 'b'\]"),
    ],
)
def test_bad_entries_are_named_with_their_line(folder: Path, bad: dict[str, Any], message: str) -> None:
    dataset = open_dataset(folder, [ENTRIES[0], bad])
    assert len(dataset[0]["input_ids"])
    with pytest.raises(DataError, match=rf"data.jsonl, line 2: .*{message}"):
        dataset[1]
    with pytest.raises(IndexError):
        dataset[2]


def test_a_batch_is_padded_on_the_right(folder: Path) -> None:
    dataset = open_dataset(folder)
    samples = [dataset[i] for i in range(3)]
    batch = collate_vision_language(samples)
    lengths = [len(sample["input_ids"]) for sample in samples]
    assert batch.text_mask.sum(1).tolist() == lengths
    assert batch.input_ids.shape == (3, max(lengths))
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 4, 4), torch.uint8)
    assert batch.image_mask.tolist() == [True, False, True]
    assert (batch.labels[~batch.text_mask] == IGNORED).all()
    for row, sample in enumerate(samples):
        for name in ("input_ids", "labels"):
            assert getattr(batch, name)[row, : lengths[row]].tolist() == sample[name].tolist()
    assert len(batch.to("cpu")) == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels", torch.full((26,), -100), "labels: nothing is learned in row 1"),
        ("labels", torch.arange(26), "labels: not the ids of real tokens in row 1"),
        ("image_at", torch.tensor(26), "image_at: the image does not stand before the first answer in row 1"),
        ("text_mask", torch.arange(26) > 0, "text_mask: padding is not on the right in row 1"),
    ],
)
def test_rows_that_do_not_fit_are_named(folder: Path, name: str, value: torch.Tensor, message: str) -> None:
    sample = open_dataset(folder, [entry("Describe.", "Grey fur.")])[0]
    assert len(sample["input_ids"]) == 26
    batch = collate_vision_language([sample, sample])
    tensor = torch.stack([getattr(batch, name)[0], value])
    with pytest.raises(DataError, match=message):
        dataclasses.replace(batch, **{name: tensor}).validate()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("image_mask", torch.zeros(2), r"image_mask: expected torch.bool \[2\], got torch.float32 \[2\]"),
        ("labels", torch.zeros(2, 3).long(), r"labels: expected torch.int64 \[2, 26\], got torch.int64 \[2, 3\]"),
        ("images", torch.zeros(2, 4, 4).byte(), r"images: expected torch.uint8 \[2, 3, 4\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder: Path, name: str, tensor: torch.Tensor, message: str) -> None:
    sample = open_dataset(folder, [entry("Describe.", "Grey fur.")])[0]
    batch = collate_vision_language([sample, sample])
    object.__setattr__(batch, name, tensor)  # past the types, which are checked in tests only
    with pytest.raises(DataError, match=message):
        batch.validate()
