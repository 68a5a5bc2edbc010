"""Windows of a small dataset in the original's format, as items, as batches, and into a policy."""

import dataclasses

import numpy as np
import pytest
import torch

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.data.action_prediction import IGNORE_INDEX
from robovlms.data.action_prediction_collator import ActionPredictionPaddedCollator
from robovlms.data.action_prediction_dataset import ActionPredictionDataset
from robovlms.data.collate import collate
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.text import ByteTokenizer
from robovlms.errors import ConfigError, DataError

W, F, A = 3, 2, 3
LENGTHS = (7, 3, 5, 9)
BATCH_NAMES = {
    *("rgb", "hand_rgb", "fwd_rgb_chunck", "fwd_hand_rgb_chunck", "fwd_mask", "text", "text_mask"),
    *("action", "action_mask", "action_chunck", "chunck_mask"),
    *("instr_and_action_ids", "instr_and_action_labels", "instr_and_action_mask"),
}


@pytest.fixture
def items(dataset):
    """Windows of the four episodes."""
    source = LeRobotSource(dataset)
    return lambda **settings: ActionPredictionDataset(
        source, **{"window_size": W, "fwd_pred_next_n": F, "model_name": "tiny"} | settings
    )


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory, make):
    """Two episodes with a static and a wrist camera."""
    episodes = [make.episode(i, 5, cameras=("static", "wrist")) for i in range(2)]
    path = make.write(tmp_path_factory.mktemp("data") / "two", episodes, cameras=(make.STATIC, make.WRIST))
    return LeRobotSource(path)


def seen_at(image):
    """(episode, step) of a frame [3, h, w] in [0, 1], which its first pixel tells."""
    return [round(value * 255) for value in image[:2, 0, 0].tolist()]


def test_interleaved_windows_have_a_whole_history(items):
    dataset = items()
    assert len(dataset) == sum(max(0, length - W + 1) for length in LENGTHS)
    assert [dataset.place(i) for i in range(6)] == [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 2)]
    item = dataset[1]
    assert [seen_at(image) for image in item["image_tensors"]] == [[0, 1], [0, 2], [0, 3]]
    assert [seen_at(image) for image in item["image_chunk"][2]] == [[0, 4], [0, 5]]
    assert item["action_mask"].tolist() == [True] * 4
    last = dataset[4]
    assert last["action_mask"].tolist() == [True, True, True, False]
    assert last["image_chunk_mask"].tolist() == [[True, True], [True, False], [False, False]]
    assert last["action_chunk_mask"].tolist() == [[True, True], [True, True], [True, False]]


def test_a_segment_hides_ever_more_of_the_history(items):
    dataset = items(organize_type="segment", discrete=False)
    assert len(dataset) == sum(LENGTHS) * W
    assert [dataset.place(i) for i in (0, 1, 2, 3, 20, 21)] == [(0, 0), (0, 0), (0, 0), (0, 1), (0, 6), (1, 0)]
    masks = [dataset[i]["action_mask"].tolist() for i in range(6, 9)]  # of episode 0, step 2
    assert masks == [[True, True, True, True], [False, True, True, True], [False, False, True, True]]
    assert dataset[0]["action_mask"].tolist() == [False, False, True, True]
    told = [ByteTokenizer().decode(dataset[i]["input_ids"].tolist()) for i in range(6, 9)]
    assert ["Here are 2 step" in told[0], "Here is 1 step" in told[1], "Here" in told[2]] == [True, True, False]


def test_short_episodes_have_no_interleaved_window(items):
    dataset = items(window_size=6)
    assert [dataset.span(i) for i in range(4)] == [range(2), range(2, 2), range(2, 2), range(2, 6)]
    assert dataset.place(2) == (3, 5)
    assert dataset[2]["image_tensors"].shape == (6, 3, 16, 16)


def test_actions_are_learned_targets(items):
    """Arm numbers in [-1, 1] by quantiles, gripper 1 = open; the dataset's gripper opens at -1."""
    dataset = items(discrete=False)
    steps = dataset.source.read(0, np.arange(0), np.arange(0, W + F - 1), ())
    expected = dataset.action_codec.encode(steps.actions)
    found = dataset[0]["action_tensors"].numpy()
    assert np.array_equal(found, expected)
    assert found.dtype == np.float32
    assert found[:, 2].tolist() == [1, 0, 1, 0]
    scaled = items(discrete=False, norm_action=True, norm_min=-0.5, norm_max=0.5)[0]["action_tensors"].numpy()
    np.testing.assert_allclose(scaled[:, :2], np.clip(expected[:, :2] * 2, -1, 1), atol=1e-6)
    assert scaled[:, 2].tolist() == [1, 0, 1, 0]


def test_another_codec_is_taken(items, make):
    identity = Normalizer(offset=np.zeros(A), scale=np.ones(A), is_bounded=False)
    dataset = items(action_codec=ActionCodec(space=make.SPACE, normalizer=identity))
    assert dataset[0]["action_tensors"][:, 0].tolist() == pytest.approx([0, 0.01, 0.02, 0.03])


def test_the_trainers_sample_is_the_same_window(items):
    dataset = items(discrete=False)
    for index in (0, 4, 5, len(dataset) - 1):
        item, sample = dataset[index], dataset.sample(index)
        assert sample["source"].tolist() == list(dataset.place(index))
        assert np.array_equal(sample["images"][:, 0], (item["image_tensors"] * 255).round().byte().numpy())
        assert np.array_equal(sample["action_mask"], item["action_chunk_mask"].numpy())
        real = sample["action_mask"]
        assert np.array_equal(sample["actions"][real], item["action_chunk"].numpy()[real])
    assert collate([dataset.sample(0), dataset.sample(1)]).actions.shape == (2, W, F, A)


def test_two_cameras(two_cameras):
    dataset = ActionPredictionDataset(two_cameras, window_size=W, fwd_pred_next_n=F)
    item = dataset[0]
    assert item["image_tensors"].shape == item["gripper_image_tensors"].shape == (W, 3, 16, 16)
    camera = [round(item[key][0, 2, 0, 0].item() * 255) for key in ("image_tensors", "gripper_image_tensors")]
    assert camera == [0, 1]
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["hand_rgb"].shape == (2, W, 3, 16, 16)
    assert batch["fwd_hand_rgb_chunck"].shape == (2, W, F, 3, 16, 16)
    swapped = ActionPredictionDataset(two_cameras, window_size=W, fwd_pred_next_n=F, cameras=("wrist", "static"))
    assert torch.equal(swapped[0]["image_tensors"], item["gripper_image_tensors"])


@pytest.mark.parametrize("organize_type", ["interleave", "segment"])
@pytest.mark.parametrize("discrete", [True, False])
def test_batches(items, organize_type, discrete):
    dataset = items(organize_type=organize_type, discrete=discrete)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, collate_fn=dataset.collater)
    batch = next(iter(loader))
    assert set(batch) == BATCH_NAMES
    num_images = W if organize_type == "interleave" else W + F
    assert batch["rgb"].shape == (4, num_images, 3, 16, 16)
    assert batch["action"].shape == (4, W + F - 1, A)
    assert batch["action_chunck"].shape == (4, W, F, A)
    assert batch["chunck_mask"].shape == (4, W, F)
    assert batch["text"].ndim == (3 if organize_type == "interleave" and discrete else 2)
    for name in ("instr_and_action_ids", "instr_and_action_labels", "text_mask", "instr_and_action_mask"):
        assert batch[name].shape == batch["text"].shape
    if organize_type == "interleave":
        assert batch["fwd_rgb_chunck"].shape == (4, W, F, 3, 16, 16)
        assert batch["fwd_mask"].shape == (4, W, F)
    else:
        assert batch["fwd_rgb_chunck"] is batch["fwd_mask"] is None
    assert batch["hand_rgb"] is None


@pytest.mark.parametrize("organize_type", ["interleave", "segment"])
def test_inference_knows_nothing_after_now(items, organize_type):
    dataset = items(organize_type=organize_type, discrete=False, mode="inference")
    item = dataset[0]
    assert item["action_tensors"].shape == (W - 1, A)
    assert item["image_tensors"].shape == (W, 3, 16, 16)
    assert item["action_chunk"] is None


@pytest.mark.parametrize("history", ["policy_head", "interleaved"])
def test_a_policy_learns_the_same_from_both_formats(items, make, history):
    from robovlms.model_config import ModelConfig, VLMConfig
    from robovlms.testing.policies import TINY_OVERRIDES, wrap

    model = {"window_size": W, "fwd_pred_next_n": F, "history": history, "use_proprio": False}
    vlm = VLMConfig(name="tiny", overrides=TINY_OVERRIDES.get("tiny", {}))
    policy = wrap(ModelConfig(vlm=vlm, **model), make.SPACE, 0).eval()

    def image_fn(images):
        return policy.backbone.preprocess(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))

    dataset = items(discrete=False, image_fn=image_fn, prompt_encoder=policy.prompt_encoder)
    batch = dataset.collater([dataset[0], dataset[4]])
    arguments = {"vision_x": batch["rgb"], "actions": batch["action_chunck"], "action_mask": batch["chunck_mask"]}
    output = policy.forward(lang_x=batch["text"], attention_mask=batch["text_mask"], mode="train", **arguments)
    assert torch.isfinite(output.loss["total_loss"])
    output.loss["total_loss"].backward()

    own = collate([dataset.sample(0), dataset.sample(4)])
    expected = policy.forward_batch(own).loss["total_loss"]
    found = policy.forward(lang_x=own.input_ids, attention_mask=own.text_mask, mode="train", **arguments)
    torch.testing.assert_close(found.loss["total_loss"], expected)


def test_padding_by_hand():
    ids = [torch.tensor([5, 6, 7]), torch.tensor([8])]
    items_ = [_item(i) for i in ids]
    batch = ActionPredictionPaddedCollator(pad_token_id=9)(items_)
    assert batch["text"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["instr_and_action_labels"].tolist() == [[5, 6, 7], [8, IGNORE_INDEX, IGNORE_INDEX]]
    assert batch["text_mask"].tolist() == [[True, True, True], [True, False, False]]
    assert batch["text_mask"].dtype == torch.bool
    assert batch["hand_rgb"] is None


def test_padding_of_rows_by_hand():
    ids = [torch.tensor([[5, 6], [7, 8]]), torch.tensor([[1], [2]])]
    batch = ActionPredictionPaddedCollator()([_item(i) for i in ids])
    assert batch["instr_and_action_ids"].tolist() == [[[5, 6], [7, 8]], [[1, 0], [2, 0]]]
    assert batch["instr_and_action_labels"].tolist() == [[[5, 6], [7, 8]], [[1, -100], [2, -100]]]
    assert batch["instr_and_action_mask"].tolist() == [[[True, True]] * 2, [[True, False]] * 2]


def _item(ids, **changes):
    item = {"image_tensors": torch.zeros(W, 3, 2, 2), "action_tensors": torch.zeros(W + F - 1, A)}
    item |= {"action_mask": torch.ones(W + F - 1, dtype=torch.bool), "action_chunk": torch.zeros(W, F, A)}
    item |= {"action_chunk_mask": torch.ones(W, F, dtype=torch.bool)}
    return item | {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)} | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_tensors": None}, "item 1 of the batch has no 'image_tensors', others have"),
        ({"gripper_image_tensors": torch.zeros(1)}, "item 0 of the batch has no 'gripper_image_tensors', others have"),
        ({"action_tensors": torch.zeros(2, A)}, r"'action_tensors': item 1 of the batch is \[2, 3\], item 0 \[4, 3\]"),
    ],
)
def test_items_that_do_not_fit_each_other(change, message):
    ids = torch.tensor([1, 2])
    with pytest.raises(DataError, match=message):
        ActionPredictionPaddedCollator()([_item(ids), _item(ids, **change)])


def test_items_that_do_not_fit_the_settings():
    item = _item(torch.tensor([1, 2]))
    with pytest.raises(DataError, match="window_size 4, fwd_pred_next_n 2 were expected, got action chunks"):
        ActionPredictionPaddedCollator(window_size=4, fwd_pred_next_n=2)([item])
    with pytest.raises(DataError, match="ids of 2 axes"):
        ActionPredictionPaddedCollator(organize_type="interleave", discrete=True)([item])
    with pytest.raises(DataError, match="no items"):
        ActionPredictionPaddedCollator()([])


def test_tokenizers(items):
    dataset = items(n_bin=8, min_action=-2.0)
    tokens = dataset.batch_transform.action_tokenizer
    assert (tokens.vocab_size, tokens.min_action, tokens.max_action) == (8, -2.0, 1.0)
    own = ActionTokenizer.reserved(1000, 4)
    assert items(action_tokenizer=own).batch_transform.action_tokenizer is own
    assert items(discrete=False).batch_transform.action_tokenizer is None


def test_bad_input(items):
    with pytest.raises(ConfigError, match="did you mean 'organize_type'"):
        items(organise_type="segment")
    with pytest.raises(ConfigError, match="special_history_id: -100 is no token"):
        items(special_history_id=-100)
    with pytest.raises(ConfigError, match="one or two"):
        items(cameras=())
    with pytest.raises(DataError, match="did you mean 'static'"):
        items(cameras=("statik",))
    with pytest.raises(IndexError, match="window 16 of a dataset with 16 windows"):
        items()[16]
    with pytest.raises(IndexError, match="window -1"):
        items().place(-1)


def test_a_missing_camera_and_a_number_that_is_not_finite_name_their_place(items, monkeypatch):
    windows = items(discrete=False)
    read = windows.source.read
    monkeypatch.setattr(windows.source, "read", lambda *a: dataclasses.replace(read(*a), images={}))
    with pytest.raises(DataError, match=r"episode 0 has no camera 'static'"):
        windows[0]

    def broken(episode, frames, steps, cameras):
        found = read(episode, frames, steps, cameras)
        actions = np.where((steps == 4)[:, None], np.nan, found.actions).astype(np.float32)
        return dataclasses.replace(found, actions=actions)

    monkeypatch.setattr(windows.source, "read", broken)
    with pytest.raises(DataError, match=r"episode 0, step 4: an action is not finite"):
        windows[0]
