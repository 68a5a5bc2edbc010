"""One window in the original's format: against its numbers, and by hand where the original is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.data.action_prediction import IGNORE_INDEX, ActionPredictionBatchTransform
from robovlms.data.text import ByteTokenizer
from robovlms.errors import ConfigError, DataError

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
W, F, A = 4, 3, 7
BEGIN, END, PAD = "<s>", "</s>", "<pad>"


class Words:
    """A tokenizer whose tokens are words and marks; puts its marks around a text, as those of transformers may."""

    def __init__(self, bos=BEGIN, eos=END):
        self.bos_token, self.eos_token, self.pad_token_id = bos, eos, 2
        self.words = [BEGIN, END, PAD]
        self.bos_token_id = None if bos is None else 0
        self.eos_token_id = None if eos is None else 1

    def __call__(self, text, add_special_tokens=True):
        found = re.findall(r"<[^>]+>|\w+|[^\w\s]", text)
        self.words += [word for word in dict.fromkeys(found) if word not in self.words]
        ids = [self.words.index(word) for word in found]
        marks = [self.bos_token_id], [self.eos_token_id]
        before, after = ([i for i in mark if i is not None and add_special_tokens] for mark in marks)
        return {"input_ids": before + ids + after}

    def decode(self, ids):
        """Words; actions as their number, from 1000 on; -100 as a dot."""
        return " ".join("." if i < 0 else self.words[i] if i < 1000 else str(i) for i in ids)


def make(tokenizer=None, **settings):
    defaults = {"tokenizer": tokenizer or Words(), "window_size": 2, "fwd_pred_next_n": 1, "model_name": "kosmos"}
    defaults |= {"action_tokenizer": ActionTokenizer.reserved(1000, 2)}
    return ActionPredictionBatchTransform(**defaults | settings)


def window(window_size=2, fwd_pred_next_n=1, size=2, seed=0):
    """Actions whose last number is 0 or 1, a full mask, tiny images."""
    rng, steps = np.random.default_rng(seed), window_size + fwd_pred_next_n
    action = rng.uniform(-1, 1, (steps, size))
    action[:, -1] = np.arange(steps) % 2
    return action, np.ones(steps, bool), rng.integers(0, 256, (steps, 2, 2, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny_tokenizer():
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(GOLDENS / "tiny_tokenizer")


@needs_goldens
@pytest.mark.parametrize("case", ["inter_cont_full", "seg_disc_full", "inter_disc_rpad"])
def test_the_originals_numbers(case, tiny_tokenizer):
    with np.load(GOLDENS / "d_oxe_transform.npz") as data:
        given, expected = (
            {key.removeprefix(f"{case}_{part}_"): data[key] for key in data if key.startswith(f"{case}_{part}_")}
            for part in ("in", "out")
        )
    organize, kind, _ = case.split("_")
    transform = ActionPredictionBatchTransform(
        tokenizer=tiny_tokenizer,
        model_name="kosmos",
        action_tokenizer=ActionTokenizer(tiny_tokenizer, layout="original"),
        window_size=W,
        fwd_pred_next_n=F,
        organize_type={"inter": "interleave", "seg": "segment"}[organize],
        discrete=kind == "disc",
        special_history_id=-100,
    )
    item = transform("push the blue block", given["action"], given["mask"], given["images"])
    assert {key for key, value in item.items() if value is not None} == set(expected)
    for key, array in expected.items():
        found = item[key].numpy()
        assert found.dtype == array.dtype, key
        tolerance = 1e-6 if key.startswith("image_") else 1e-12
        np.testing.assert_allclose(found, array, rtol=0, atol=tolerance, err_msg=key)


def test_interleaved_actions_by_hand():
    words = Words()
    item = make(words, fwd_pred_next_n=2)("go", *window(fwd_pred_next_n=2))
    prompt = "<s> Input : What 2 step actions should the robot take to go ? Output : </s>"
    tokens = [words.decode(row) for row in item["input_ids"].tolist()]
    # Arm numbers fall into bins 0 and 1; a closed gripper is the smallest action, an open one the largest.
    assert tokens == [f"{prompt} 1001 1000 1000 1001 </s>", f"{prompt} 1000 1001 1001 1000 </s>"]
    dots = ". " * len(prompt.split())
    labels = [words.decode(row) for row in item["labels"].tolist()]
    assert labels == [row.replace(prompt + " ", dots) for row in tokens]
    assert item["attention_mask"].tolist() == [[True] * 17 + [False] * 4 + [True]] * 2


@pytest.mark.parametrize("is_learned", [True, False])
def test_a_stop_token_that_is_not_predicted_has_no_label(is_learned):
    for organize_type in ("interleave", "segment"):
        transform = make(predict_stop_token=is_learned, organize_type=organize_type)
        labels = transform("go", *window())["labels"]
        assert (labels[..., -1] == (1 if is_learned else IGNORE_INDEX)).all()
        assert (labels[..., -2] >= 1000).all()


def test_steps_behind_the_episode_have_no_labels_and_nor_has_what_follows_them():
    action, mask, images = window(2, 3)
    mask[3:] = False  # of the steps 0 to 3 that are left, the last is not in the episode
    labels = make(fwd_pred_next_n=3)("go", action, mask, images)["labels"][:, -7:].tolist()
    assert min(labels[0]) >= 0
    assert [label >= 1000 for label in labels[1]] == [True] * 4 + [False] * 3
    assert labels[1][4:] == [IGNORE_INDEX] * 3


def test_masked_steps_of_an_interleaved_chunk_are_counted_and_not_placed():
    """As in the original; it makes no difference to windows of interleaved datasets, which begin in the episode."""
    action, mask, images = window(2, 2)
    mask[0] = False
    labels = make(fwd_pred_next_n=2)("go", action, mask, images)["labels"][:, -5:].tolist()
    assert [label >= 1000 for label in labels[0]] == [True, True, False, False, False]
    assert labels[0][4] == IGNORE_INDEX
    assert [label >= 1000 for label in labels[1]] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("masked", "told"), [((), "Here are 2 step actions"), ((0,), "Here is 1 step action"), ((0, 1), "")]
)
def test_a_segment_tells_the_real_part_of_the_history(masked, told):
    words = Words()
    action, mask, images = window(3, 1)
    mask[list(masked)] = False
    ids = make(words, window_size=3, organize_type="segment")("go", action, mask, images)["input_ids"].tolist()
    text = words.decode(ids)
    assert text.startswith(f"<s> Input : {told} that the robot has taken : </s> 10" if told else "<s> Input : What")
    assert sum(i >= 1000 for i in ids) == (2 - len(masked) + 1) * 2
    assert text.count("</s>") == 2  # closes the history or the prompt, and the answer
    labels = make(words, window_size=3, organize_type="segment")("go", action, mask, images)["labels"].tolist()
    assert [label for label in labels if label != IGNORE_INDEX] == ids[-3:]


def test_without_action_history_a_segment_is_the_question():
    words = Words()
    ids = make(words, organize_type="segment", action_history=False)("go", *window())["input_ids"].tolist()
    assert words.decode(ids).startswith("<s> Input : What action should")


def test_a_continuous_prompt_is_its_own_label():
    for organize_type in ("interleave", "segment"):
        item = make(discrete=False, organize_type=organize_type)("go", *window())
        assert item["input_ids"].ndim == 1
        assert torch.equal(item["input_ids"], item["labels"])
        assert item["attention_mask"].all()
        assert item["input_ids"].data_ptr() != item["labels"].data_ptr()


def test_placeholders_of_a_continuous_segment_can_be_embedded():
    """The original's default of -100 is no token: an embedding fails on it."""
    words, settings = Words(), {"discrete": False, "organize_type": "segment", "window_size": 3}
    ids = make(words, **settings)("go", *window(3, 1))["input_ids"]
    assert ids.tolist().count(words.pad_token_id) == 2
    torch.nn.Embedding(len(words.words), 4)(ids)
    assert make(words, special_history_id=-100, **settings)("go", *window(3, 1))["input_ids"].tolist().count(-100) == 2
    assert make(words, special_history_id=7, **settings)("go", *window(3, 1))["input_ids"].tolist().count(7) >= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"norm_action": True, "norm_min": -0.5, "norm_max": 0.5},
        {"regular_action": True, "x_mean": 0.1, "x_std": 2.0},
        {"regular_action": True, "x_mean": [0.1, 0.2], "x_std": [2.0, 3.0]},
        {"use_mu_law": True},
    ],
    ids=["norm", "regular", "regular per number", "mu-law"],
)
def test_only_the_gripper_is_left_as_it_is(settings):
    """The original spares the last row instead and changes the gripper, so that every label became 0."""
    action, mask, images = window(3, 2)
    found = make(window_size=3, fwd_pred_next_n=2, **settings)("go", action, mask, images)["action_tensors"].numpy()
    assert found[:, -1].tolist() == [0, 1, 0, 1]
    x = action[:-1, 0]
    if "norm_min" in settings:
        expected = 2 * (np.clip(x, -0.5, 0.5) + 0.5) - 1
    elif "x_mean" in settings:
        expected = (x - 0.1) / (2 + 1e-6)
    else:
        expected = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)  # the last row too


def test_normalisation_comes_before_regularisation_before_the_mu_law():
    action, mask, images = window()
    settings = {"norm_action": True, "norm_max": 3.0, "regular_action": True, "x_mean": 0.25, "use_mu_law": True}
    found = make(**settings)("go", action, mask, images)["action_tensors"][0, 0].item()
    x = ((action[0, 0] + 1) / 2 - 1 - 0.25) / (1 + 1e-6)
    assert found == pytest.approx(np.sign(x) * np.log1p(255 * abs(x)) / np.log(256), rel=1e-12)


def test_anything_but_one_is_a_closed_gripper():
    action, mask, images = window(3, 1)
    action[:, -1] = [-1, 1, 0.999, 1]
    assert make(window_size=3)("go", action, mask, images)["action_tensors"][:, -1].tolist() == [0, 1, 0]


def test_grippers_may_be_anywhere_or_nowhere():
    action, mask, images = window(size=3)
    action[:, 0] = [5, 1, 1]
    settings = {"norm_action": True, "norm_min": -2.0, "norm_max": 2.0}
    found = make(gripper_dims=(0, 2), **settings)("go", action, mask, images)["action_tensors"]
    assert found[:, [0, 2]].tolist() == [[0, 0], [1, 1]]
    found = make(gripper_dims=(), **settings)("go", action, mask, images)["action_tensors"].numpy()
    np.testing.assert_allclose(found, np.clip(action[:-1], -2, 2) / 2)


def test_float32_actions_stay_float32():
    action, mask, images = window()
    settings = {"norm_action": True, "regular_action": True, "x_mean": [0.1, 0.2], "use_mu_law": True}
    assert make(**settings)("go", action.astype(np.float32), mask, images)["action_tensors"].dtype == torch.float32


@pytest.mark.parametrize("marks", [(None, None), (BEGIN, None), (None, END)])
@pytest.mark.parametrize("organize_type", ["interleave", "segment"])
@pytest.mark.parametrize("discrete", [True, False])
def test_a_mark_that_the_tokenizer_lacks_is_not_spelled(marks, organize_type, discrete):
    """The original wrote the word "None" into the prompt of a tokenizer without an end mark."""
    words = Words(*marks)
    item = make(words, organize_type=organize_type, discrete=discrete, window_size=3)("go", *window(3, 1))
    assert "None" not in words.words
    rows = item["input_ids"].reshape(-1, item["input_ids"].shape[-1]).tolist()
    for row in rows:
        assert (row[0] == 0) == (marks[0] is not None)
        assert (row[-1] == 1) == (marks[1] is not None)
    if discrete and marks[1] is None:  # so the answer ends with its last action
        assert item["labels"].flatten()[-1] >= 1000


def test_images_by_hand():
    action, mask, images = window(3, 2)
    mask[:1] = False
    item = make(window_size=3, fwd_pred_next_n=2)("go", action, mask, images, images[::-1])
    as_tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    as_tensor[0] = as_tensor[1]  # the first real one
    assert torch.equal(item["image_tensors"], as_tensor[:3])
    assert torch.equal(item["image_chunk"], torch.stack([as_tensor[i + 1 : i + 3] for i in range(3)]))
    assert item["image_chunk_mask"].tolist() == [[True, True]] * 3
    assert item["gripper_image_tensors"].shape == (3, 3, 2, 2)
    assert torch.equal(item["gripper_image_tensors"][2], torch.from_numpy(images[2]).permute(2, 0, 1) / 255)
    assert item["gripper_image_chunk"].shape == (3, 2, 3, 2, 2)


def test_a_segment_keeps_all_images_and_no_history_keeps_one():
    action, mask, images = window(3, 2)
    mask[:1] = False
    settings = {"window_size": 3, "fwd_pred_next_n": 2}
    as_tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    item = make(organize_type="segment", **settings)("go", action, mask, images)
    assert torch.equal(item["image_tensors"], as_tensor)
    assert item["image_chunk"] is None
    assert item["gripper_image_tensors"] is None
    for organize_type in ("interleave", "segment"):
        item = make(organize_type=organize_type, image_history=False, **settings)("go", action, mask, images, images)
        assert torch.equal(item["image_tensors"], as_tensor[2:3])
        assert torch.equal(item["gripper_image_tensors"], as_tensor[2:3])
        assert item["image_chunk"] is None
        assert item["gripper_image_chunk"] is None


def test_functions_of_the_caller_read_images_and_texts():
    words, seen = Words(), []

    def image_fn(images):
        assert all(isinstance(image, Image.Image) for image in images)
        return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])

    def text_fn(texts):
        seen.extend(texts)
        ids = torch.tensor([words(text)["input_ids"] + [2] for text in texts])
        return ids, ids != 2

    action, mask, images = window()
    ours = make(words, image_fn=image_fn, text_fn=text_fn)("go", action, mask, images)
    plain = make(words)("go", action, mask, images)
    assert torch.equal(ours["input_ids"], plain["input_ids"])
    assert ours["image_tensors"].dtype == torch.uint8
    assert torch.equal(ours["image_tensors"] / 255, plain["image_tensors"])
    assert seen == ["Input: What action should the robot take to go?\nOutput: \n</s>"]


def test_inference_ends_where_the_model_goes_on():
    words, (action, mask, images) = Words(), window(2, 1)
    settings = {"mode": "inference", "window_size": 3}
    item = make(words, organize_type="segment", **settings)("go", action[:2], mask, images)
    text = words.decode(item["input_ids"].tolist())
    assert text.startswith("<s> Input : Here are 2 step actions")
    assert text.endswith("Output :")
    assert item["action_chunk"] is None
    assert item["action_chunk_mask"] is None
    assert item["action_tensors"].shape == (2, 2)
    assert item["action_mask"].tolist() == [True, True]


def test_inference_interleaved_pads_chunks_that_are_not_complete():
    words, (action, mask, images) = Words(), window(2, 1)
    settings = {"mode": "inference", "window_size": 3, "fwd_pred_next_n": 2}
    item = make(words, **settings)("go", action[:2], mask, images)
    rows = [[i for i in row if i != words.pad_token_id] for row in item["input_ids"].tolist()]
    assert [sum(i >= 1000 for i in row) for row in rows] == [4, 2, 0]
    assert all(row[-1] == 1 for row in rows)
    padding = item["input_ids"] == words.pad_token_id
    assert padding.sum(1).tolist() == [0, 2, 4]
    assert (item["labels"][padding] == IGNORE_INDEX).all()
    assert not item["attention_mask"][padding].any()


def test_the_first_step_of_inference_has_one_image_and_no_action():
    for organize_type in ("interleave", "segment"):
        for discrete in (True, False):
            for image_history in (True, False):
                transform = make(
                    mode="inference", organize_type=organize_type, discrete=discrete, image_history=image_history
                )
                item = transform("go", np.zeros((0, 2)), [True], np.zeros((1, 2, 2, 3), np.uint8))
                assert item["image_tensors"].shape == (1, 3, 2, 2)
                assert item["action_tensors"].shape == (0, 2)


@given(
    st.integers(1, 3), st.integers(1, 3), st.booleans(), st.sampled_from(["interleave", "segment"]), st.integers(0, 99)
)
def test_nothing_given_is_changed_and_labels_are_ids_or_nothing(w, f, discrete, organize_type, seed):
    action, mask, images = window(w, f, seed=seed)
    mask &= np.random.default_rng(seed).random(w + f) < 0.7
    before = [x.copy() for x in (action, mask, images)]
    settings = {"norm_action": True, "regular_action": True, "use_mu_law": True, "organize_type": organize_type}
    transform = make(window_size=w, fwd_pred_next_n=f, discrete=discrete, **settings)
    item = transform("go", action, mask, images, images)
    for given_array, copy in zip((action, mask, images), before, strict=True):
        assert np.array_equal(given_array, copy)
    is_label = item["labels"] != IGNORE_INDEX
    assert torch.equal(item["labels"][is_label], item["input_ids"][is_label])
    assert item["action_chunk"].shape == (w, f, 2)
    assert torch.equal(item["action_chunk"][:, 0], item["action_tensors"][:w])
    item["action_tensors"].zero_()
    assert np.array_equal(action, before[0])


def test_the_masks_other_names():
    action, mask, images = window(2, 2)
    transform = make(fwd_pred_next_n=2)
    expected = transform("go", action, mask, images)
    for name in ("episode_mask", "image_mask"):
        found = transform(task_description="go", action=action, images=images, **{name: mask})
        assert torch.equal(found["action_mask"], expected["action_mask"])
    seen = mask.copy()
    seen[0] = False
    both = transform("go", action, mask, images, image_mask=seen)
    assert both["action_mask"].all()
    assert torch.equal(both["image_tensors"][0], both["image_tensors"][1])


def test_the_bytes_of_the_built_in_tokenizer():
    tokenizer = ByteTokenizer()
    action_tokenizer = ActionTokenizer(tokenizer, 4)
    ids = make(tokenizer, action_tokenizer=action_tokenizer)("go", *window())["input_ids"][0].tolist()
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.decode(ids) == "Input: What action should the robot take to go?\nOutput:"
    assert all(i >= tokenizer.vocab_size for i in ids[-3:-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"organize_type": "interleaved"}, "did you mean 'interleave'"),
        ({"mode": "infer"}, "did you mean 'inference'"),
        ({"window_size": 0}, "window_size must be at least 1, got 0"),
        ({"action_tokenizer": None}, "no action_tokenizer"),
        ({"model_name": "vicunna"}, "did you mean 'vicuna'"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_lengths_that_do_not_fit():
    action, mask, images = window(2, 1)
    with pytest.raises(DataError, match="2 \\+ 1 steps needs as many actions, masks and images, got 2, 3 and 3"):
        make()("go", action[:2], mask, images)
    with pytest.raises(DataError, match="1 gripper images beside 3 images"):
        make()("go", action, mask, images, images[:1])
    with pytest.raises(DataError, match="needs `images` and one of"):
        make()("go", action, images=images)
    with pytest.raises(DataError, match="3 actions with 2 masks; expected one mask per image"):
        make(mode="inference", organize_type="segment")("go", action, mask, images)
