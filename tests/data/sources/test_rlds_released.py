"""What released datasets have that orderly ones have not: other names, failures, silence, swapped colours; and cost."""

import io
import json
import mmap
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.sources.rlds_fixture import bridge_episode, encode, example_class, picture, rt1_episode, write_rlds
from PIL import Image

from robovlms.data.sources.crc32c import masked_crc32c
from robovlms.data.sources.oxe import OXE
from robovlms.data.sources.rlds import RldsSource
from robovlms.errors import DataError


def droid_episode(length: int) -> dict[str, Any]:
    observation = "steps/observation/"
    names = ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left")
    frame = picture(np.zeros((4, 6, 3), np.uint8), "jpeg")
    return {observation + name: [frame] * length for name in names} | {
        observation + "cartesian_position": np.zeros((length, 6), np.float32),
        observation + "gripper_position": np.zeros((length, 1), np.float32),
        "steps/action_dict/cartesian_velocity": np.full((length, 6), 0.5, np.float32),
        "steps/action_dict/gripper_position": np.ones((length, 1), np.float32),
        "steps/language_instruction": [b"wipe"] * length,
        "steps/is_first": np.zeros(length, np.int64),
    }


def edit_info(folder: Path, **split: Any) -> None:
    """Change the description of the only split."""
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0] |= split
    (folder / "dataset_info.json").write_text(json.dumps(info))


@pytest.mark.parametrize(("folder", "name"), [("droid", "droid"), ("droid_100", "r2d2_faceblur")])
def test_droid_is_called_otherwise_in_its_files(tmp_path: Path, folder: str, name: str) -> None:
    made = write_rlds(tmp_path, [[droid_episode(2)]], name="r2d2_faceblur")
    made.parent.rename(tmp_path / folder)
    for path in (tmp_path / folder, tmp_path / folder / "1.0.0"):
        source = RldsSource(path)
        assert source.name == name
        assert source.standard == OXE["droid"]
        assert source.read_episode(0).steps.actions.tolist() == [[0.5] * 6 + [0.0]] * 2
        assert source.file(0).name == "r2d2_faceblur-train.tfrecord-00000-of-00001"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}", "bridge_orig-train.tfrecord-00000"),
        ("{SPLIT}_{SHARD_INDEX}_{NUM_SHARDS}", "train_00000_00001"),
        ("", "bridge_orig-train.tfrecord-00000-of-00001"),
    ],
)
def test_files_named_by_a_template(tmp_path: Path, template: str, name: str) -> None:
    folder = write_rlds(tmp_path, [[bridge_episode(0, 4)]])
    (folder / "bridge_orig-train.tfrecord-00000-of-00001").rename(folder / name)
    edit_info(folder, filepathTemplate=template)
    assert RldsSource(folder).file(0).name == name


def test_features_are_not_needed(tmp_path: Path) -> None:
    folder = write_rlds(tmp_path, [[bridge_episode(0, 4)]])
    (folder / "features.json").unlink()
    assert RldsSource(folder).lengths.tolist() == [3]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_episodes_without_an_instruction_are_left_out(tmp_path: Path, text: str) -> None:
    episodes = [bridge_episode(0, 4), bridge_episode(1, 5, instruction=text), bridge_episode(2, 6)]
    folder = write_rlds(tmp_path, [episodes])
    source = RldsSource(folder)
    assert source.lengths.tolist() == [3, 0, 5]
    assert [episode.length for episode in source.episodes(0)] == [3, 0, 5]
    assert source.statistics["action"].count == 8
    assert len(source.read_episode(1)) == 0
    standard = tmp_path / "all.yaml"
    standard.write_text(
        "cameras: {static: image_0}\naction: [{key: action, columns: [0, 1]}]\ndimensions: [x]\n"
        "instruction: language_instruction\ncontrol_hz: 5\nneeds_instruction: false\n"
    )
    assert RldsSource(folder, standard=str(standard)).lengths.tolist() == [4, 5, 6]


def test_failed_episodes_are_left_out(tmp_path: Path) -> None:
    episodes = [rt1_episode(i, 3) | {"success": np.array([i % 2])} for i in range(3)]
    source = RldsSource(write_rlds(tmp_path, [episodes], name="kuka"))
    assert source.lengths.tolist() == [0, 3, 0]
    filtered = [rt1_episode(i, 3) for i in range(2)]  # a copy that says nothing holds successes only
    assert RldsSource(write_rlds(tmp_path / "copy", [filtered], name="kuka")).lengths.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("encoding", "expected"), [("png", [[30, 20, 10], [10, 20, 30]]), ("jpeg", [[10, 20, 30]] * 2)]
)
def test_blue_comes_first_in_released_pictures(tmp_path: Path, encoding: str, expected: list[list[int]]) -> None:
    """Of berkeley_autolab_ur5 those of the wrist; repaired copies are JPEG."""
    pixels = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    stored = rt1_episode(0, 1) | {
        "steps/observation/image": [picture(pixels, encoding)],
        "steps/observation/hand_image": [picture(pixels, encoding)],
        "steps/observation/robot_state": np.zeros((1, 15), np.float32),
    }
    source = RldsSource(write_rlds(tmp_path, [[stored]], name="berkeley_autolab_ur5"))
    images = source.read_episode(0).steps.images
    for name, colour in zip(("wrist", "static"), expected, strict=True):
        np.testing.assert_allclose(images[name][0, 4, 4].astype(int), colour, atol=3)


def test_where_the_arm_of_bridge_went(tmp_path: Path) -> None:
    stored = bridge_episode(0, 5)
    state = np.array([[t**2 / 100, 0, 0, 0, 0, [3.1, -3.1][t % 2], 1] for t in range(5)], np.float32)
    stored["steps/observation/state"] = state
    source = RldsSource(write_rlds(tmp_path, [[stored]]), standard="bridge_orig_reached")
    steps = source.read_episode(0).steps
    turn = 2 * np.pi - 6.2
    np.testing.assert_allclose(steps.actions[:, [0, 5]], [[0.03, -turn], [0.05, turn], [0.07, -turn]], atol=1e-6)
    np.testing.assert_array_equal(steps.actions[:, 6], stored["steps/action"][1:4, 6])
    np.testing.assert_array_equal(steps.proprio, state[1:4])
    assert steps.images["static"][:, 0, 0].tolist() == [[0, 1, 0], [0, 2, 0], [0, 3, 0]]
    assert source.lengths.tolist() == [3]


def test_a_place_that_is_not_finite_is_named_once_it_matters(tmp_path: Path) -> None:
    stored = bridge_episode(0, 5)
    stored["steps/observation/state"][3, 2] = np.inf
    source = RldsSource(write_rlds(tmp_path, [[stored]]), standard="bridge_orig_reached")
    with pytest.raises(DataError, match="record 0, step 1: action 'z' is inf"):
        source.read(0, np.array([0]), np.array([0, 1]), ())
    assert source.read(0, np.array([0]), np.array([0]), ()).actions.shape == (1, 7)


def test_an_episode_without_a_step(tmp_path: Path) -> None:
    nothing = {"steps/is_first": np.zeros(0, np.int64), "steps/action": np.zeros(0, np.float32)}
    source = RldsSource(write_rlds(tmp_path, [[nothing], [nothing, bridge_episode(0, 3)]]))
    assert source.lengths.tolist() == [0, 0, 2]
    steps = source.read_episode(0).steps
    assert (steps.actions.shape, steps.proprio.shape, steps.images["static"].shape) == ((0, 7), (0, 7), (0, 8, 8, 3))
    with pytest.raises(DataError, match="no episode of split 'train' has a step"):
        RldsSource(write_rlds(tmp_path / "empty", [[nothing]]))


def test_a_first_picture_that_is_none(tmp_path: Path) -> None:
    bad = bridge_episode(0, 3)
    bad["steps/observation/image_0"][0] = b"no picture"
    with pytest.raises(DataError, match="00000-of-00001: record 0, step 0, image_0: 10 bytes that are no picture"):
        RldsSource(write_rlds(tmp_path, [[bad]]))


def test_cut_pictures(tmp_path: Path) -> None:
    """A JPEG whose head is whole and whose rest is not."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    bad = rt1_episode(0, 3)
    bad["steps/observation/image"] = [picture(noise, "jpeg")] * 2 + [picture(noise, "jpeg")[:2000]]
    assert Image.open(io.BytesIO(bad["steps/observation/image"][2])).size == (64, 64)
    source = RldsSource(write_rlds(tmp_path, [[bad]], name="fractal20220817_data"))
    with pytest.raises(DataError, match="record 0: step 2, steps/observation/image: not readable as a picture"):
        source.read_episode(0)


def test_opening_is_quick(tmp_path: Path) -> None:
    """Ten files, no index: below 0.1 s; best of three, other processes may be busy."""
    folder = write_rlds(tmp_path, [[bridge_episode(10 * s + r, 6) for r in range(3)] for s in range(10)])
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        RldsSource(folder)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.1


def resident_file_bytes() -> int:
    """Bytes of mapped files that this process has touched, and their neighbours, that the system maps with them."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        pytest.skip("the system does not say which pages were touched")
    return int(statm.read_text().split()[2]) * mmap.PAGESIZE


def test_lengths_touch_few_bytes(tmp_path: Path) -> None:
    """Four records of 40 pictures of 1 MB: the system says how much of the mapped files was brought into memory."""
    heads = {key: values for key, values in bridge_episode(0, 40).items() if "image" not in key}
    records, pictures, size = 4, 40, 2**20
    episode = heads | {"steps/observation/image_0": [bytes(size)] * pictures}
    first = bridge_episode(0, 40)
    folder = write_rlds(tmp_path, [[first]])
    file = folder / "bridge_orig-train.tfrecord-00000-of-00001"
    message = encode(episode, example_class())
    with file.open("r+b") as stream:
        stream.seek(0, io.SEEK_END)
        for _ in range(records):
            length = struct.pack("<Q", len(message))
            stream.write(length + struct.pack("<I", masked_crc32c(length)))
            for begin in range(0, len(message), size):
                piece = message[begin : begin + size]
                if any(piece):
                    stream.write(piece)
                else:
                    stream.seek(len(piece), io.SEEK_CUR)
            stream.write(bytes(4))
    edit_info(folder, shardLengths=[str(1 + records)])
    source = RldsSource(folder)
    before = resident_file_bytes()
    assert source.lengths.tolist() == [39] * (1 + records)
    assert resident_file_bytes() - before < 0.05 * records * len(message)
