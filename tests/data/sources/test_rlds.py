import json
import pickle
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.sources.rlds_fixture import bridge_episode, picture, write_rlds

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.convert import convert_dataset
from robovlms.data.datamodule import GRDataModule
from robovlms.data.sources import rlds as module
from robovlms.data.sources.registry import open_source
from robovlms.data.sources.rlds import RldsSource
from robovlms.data.streaming import StreamingDataset
from robovlms.data.text import ByteTokenizer, PromptEncoder
from robovlms.data.view import write_view
from robovlms.errors import ConfigError, DataError

LENGTHS = [[5, 3, 1], [7]]  # steps stored; the first of each does not count in Bridge


@pytest.fixture
def bridge(tmp_path: Path) -> Path:
    numbers = iter(range(10))
    shards = [[bridge_episode(next(numbers), length) for length in lengths] for lengths in LENGTHS]
    return write_rlds(tmp_path, shards)


def test_opened_by_its_folder_or_its_version(bridge: Path) -> None:
    for path in (bridge, bridge.parent):
        source = open_source(path)
        assert isinstance(source, RldsSource)
        assert len(source) == 4
        assert source.lengths.tolist() == [4, 2, 0, 6]
        assert [(c.name, c.height, c.width) for c in source.cameras] == [("static", 8, 8), ("static_2", 8, 8)]
        assert source.action_space.control_hz == 5
        assert source.proprio_names[-1] == "gripper"


def test_any_steps_of_any_episode(bridge: Path) -> None:
    source = RldsSource(bridge)
    stored = bridge_episode(3, 7)
    read = source.read(3, np.array([5, 0, 5]), np.array([1, 1]), ("static_2",))
    assert read.images["static_2"][:, 0, 0].tolist() == [[3, 6, 1], [3, 1, 1], [3, 6, 1]]
    np.testing.assert_array_equal(read.actions[:, :6], stored["steps/action"][[2, 2], :6])
    np.testing.assert_array_equal(read.proprio, stored["steps/observation/state"][[6, 1, 6]])
    assert source.instruction(3) == "do thing 3"
    assert source.task(3) == "bridge_orig"
    assert source.file(3).name == "bridge_orig-train.tfrecord-00001-of-00002"
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read_episode(1).steps.actions, source.read_episode(1).steps.actions)


def test_a_stream_is_the_same_and_looks_at_nothing_first(bridge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RldsSource(bridge)
    expected = [whole.read_episode(number) for number in range(4)]
    monkeypatch.setattr(module, "look_into", None)  # no index
    source = RldsSource(bridge)
    streamed = [episode for shard in range(source.num_shards) for episode in source.episodes(shard)]
    assert [(episode.shard, episode.record) for episode in streamed] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    for episode, one in zip(streamed, expected, strict=True):
        assert (episode.length, episode.instruction) == (len(one), one.instruction)
        everything = np.arange(episode.length)
        read = episode.read(everything, everything, ("static",))
        np.testing.assert_array_equal(read.actions, one.steps.actions)
        np.testing.assert_array_equal(read.images["static"], one.steps.images["static"])
    assert [episode.record for episode in source.episodes(0, first_record=1)] == [1, 2]


def test_lengths_are_kept_between_runs(bridge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RldsSource(bridge).lengths.tolist() == [4, 2, 0, 6]
    monkeypatch.setattr(module.RldsSource, "_lengths_of", None)
    assert RldsSource(bridge).lengths.tolist() == [4, 2, 0, 6]


def test_the_newest_version(tmp_path: Path) -> None:
    for version in ("1.0.0", "0.10.0", "0.9.0"):
        write_rlds(tmp_path, [[bridge_episode(0, 3)]], version=version)
    assert RldsSource(tmp_path / "bridge_orig").path.name == "1.0.0"
    assert RldsSource(tmp_path / "bridge_orig" / "0.10.0").path.name == "0.10.0"


def test_statistics(bridge: Path) -> None:
    computed = RldsSource(bridge).statistics
    assert computed["action"].count == 12
    assert computed["action"].max[0] == pytest.approx(0.06)
    published = {
        name: {key: [float(i)] * 7 for i, key in enumerate(("min", "q01", "mean", "q99", "max"))} | {"std": [1.0] * 7}
        for name in ("action", "proprio")
    }
    content = {"bridge_orig": published | {"num_transitions": 99, "num_trajectories": 4}}
    (bridge / "dataset_statistics_x.json").write_text(json.dumps(content))
    found = RldsSource(bridge).statistics
    assert found["action"].count == 99
    assert found["proprio"].q99 == (3.0,) * 7


def test_dear_sets_ask_for_their_statistics(bridge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_DEAR_BYTES", 10)
    with pytest.raises(DataError, match="robovlms data stats"):
        _ = RldsSource(bridge).statistics


def test_language_table_says_what_to_do_in_numbers(tmp_path: Path) -> None:
    text = np.zeros((3, 16), np.int64)
    text[:, :4] = [ord(letter) for letter in "밀어 !"[:4]]
    rng = np.random.default_rng(0)
    episode = {
        "steps/observation/rgb": [picture(rng.integers(0, 256, (6, 10, 3), np.uint8), "jpeg") for _ in range(3)],
        "steps/observation/effector_translation": rng.random((3, 2)).astype(np.float32),
        "steps/observation/instruction": text,
        "steps/action": rng.random((3, 2)).astype(np.float32),
        "steps/reward": np.zeros(3, np.float32),
    }
    source = RldsSource(write_rlds(tmp_path, [[episode]], name="language_table"))
    assert source.instruction(0) == "밀어 !"[:4]
    assert source.read_episode(0).steps.images["static"].shape == (3, 6, 10, 3)
    assert source.action_space.names == ("x", "y")


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["steps/observation/image_0"].pop(), "expected 5 pictures, found 4"),
        (lambda e: e["steps/observation/image_0"].__setitem__(2, b"no picture"), "step 2, .*image_0: not readable"),
        (
            lambda e: e["steps/observation/image_0"].__setitem__(2, picture(np.zeros((4, 4, 3), np.uint8))),
            "step 2, .*expected 8x8, got 4x4",
        ),
        (lambda e: e.update({"steps/action": e["steps/action"][:, :6]}), "at least 7 numbers per step, found 6"),
        (lambda e: e.update({"steps/action": e["steps/action"].ravel()[:-1]}), "34 numbers do not"),
        (lambda e: e.update({"steps/action": np.zeros(0, np.float32)}), "steps/action: 0 numbers do not"),
        (lambda e: e["steps/action"].__setitem__((3, 1), np.nan), r"step 2: action 'y' is nan"),
        (lambda e: e["steps/observation/state"].__setitem__((4, 0), np.inf), r"step 3: proprio 'x' is inf"),
        (lambda e: e.update({"steps/language_instruction": [b"\xff"] * 5}), "steps/language_instruction: not a text"),
        (lambda e: e.pop("steps/language_instruction"), "no key 'steps/language_instruction'"),
        (lambda e: e.pop("steps/action"), "no key 'steps/action'"),
    ],
)  # fmt: skip
def test_damaged_episodes_are_named(tmp_path: Path, change: Change, message: str) -> None:
    good, bad = bridge_episode(0, 5), bridge_episode(1, 5)
    change(bad)
    source = RldsSource(write_rlds(tmp_path, [[good, bad]]))
    assert len(source.read_episode(0)) == 4
    with pytest.raises(DataError, match=rf"00000-of-00001: record 1.*{message}"):
        source.read_episode(1)


def test_truncated_and_missing_files(bridge: Path) -> None:
    source = RldsSource(bridge)
    last = source.shards[1]
    whole = last.read_bytes()
    last.write_bytes(whole[:-10])
    assert any("record 0" in line for line in source.verify())
    with pytest.raises(DataError, match="00001-of-00002: record 0, at byte 0: expected"):
        RldsSource(bridge).read_episode(3)
    last.unlink()
    with pytest.raises(DataError, match="00001-of-00002 is missing: dataset_info.json says 2 files, 1 of this split"):
        RldsSource(bridge)


def test_a_damaged_file_does_not_lose_the_others(
    bridge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))
    last = RldsSource(bridge).shards[1]
    last.write_bytes(last.read_bytes()[:-10])
    source = RldsSource(bridge)
    assert source.lengths.tolist() == [4, 2, 0, 1]
    assert source.statistics["action"].count == 6
    assert "1 episodes cannot be read; the first: " in capsys.readouterr().err
    assert len(source.read_episode(0)) == 4
    out = convert_dataset(source, tmp_path / "out", storage="png", skip_unreadable=True, show_progress=False)
    assert open_source(out).lengths.tolist() == [4, 2]
    write_view(source, tmp_path / "pages")
    assert (tmp_path / "pages" / "index.html").is_file()


def test_other_views_may_be_missing(tmp_path: Path) -> None:
    episode = bridge_episode(0, 4)
    del episode["steps/observation/image_1"]
    source = RldsSource(write_rlds(tmp_path, [[episode]]))
    assert [camera.name for camera in source.cameras] == ["static"]


def test_slices_and_other_files_are_refused(bridge: Path) -> None:
    with pytest.raises(ConfigError, match="slices such as .* data.val_episodes"):
        RldsSource(bridge, split="train[:90%]")
    info = json.loads((bridge / "dataset_info.json").read_text())
    (bridge / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "array_record"}))
    with pytest.raises(DataError, match="'array_record' are not read, only tfrecord"):
        RldsSource(bridge)


def test_fewer_records_than_promised(bridge: Path) -> None:
    info = json.loads((bridge / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["3", "2"]
    (bridge / "dataset_info.json").write_text(json.dumps(info))
    source = RldsSource(bridge)
    assert source.lengths.tolist() == [4, 2, 0, 6, 1]  # what is not there is met, counted and replaced in training
    with pytest.raises(DataError, match="record 1 asked for, the file has 1"):
        source.read_episode(4)
    assert any("holds 1 records, dataset_info.json says 2" in line for line in source.verify())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "trian"}, ConfigError, "unknown split 'trian'; did you mean 'train'"),
        ({"standard": "taco_play"}, DataError, "camera 'static': unknown key 'rgb_static'"),
        ({"standard": "brige_orig"}, ConfigError, "did you mean 'bridge_orig'"),
    ],
)
def test_wrong_options(bridge: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RldsSource(bridge, **options)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected it there"):
        RldsSource(tmp_path / "nowhere")
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        RldsSource(tmp_path)


def test_streamed_training(tmp_path: Path) -> None:
    """Every window of an epoch comes once; the index is never made."""
    shards = [[bridge_episode(10 * s + r, 4 + r) for r in range(5)] for s in range(4)]
    source = RldsSource(write_rlds(tmp_path, shards))
    codec = ActionCodec(
        space=source.action_space, normalizer=Normalizer(offset=np.zeros(7), scale=np.ones(7), is_bounded=False)
    )
    stream = StreamingDataset.of(
        source,
        window_size=2,
        fwd_pred_next_n=2,
        cameras=("static",),
        action_codec=codec,
        proprio_normalizer=None,
        prompt_encoder=PromptEncoder(ByteTokenizer(), "{instruction}", 64),
        action_columns=range(7),
        action_dim=7,
        proprio_dim=0,
        pool_episodes=1,
    )
    data = GRDataModule(train_dataset=stream, batch_size=1, stream_lanes=1)
    windows = sum(length - 1 for _ in range(4) for length in range(4, 9))
    batches = list(islice(data.train_batches(), windows))
    seen = Counter(tuple(batch.source[0].tolist()) for batch in batches)
    assert len(seen) == windows
    assert "lengths" not in vars(source)
    for batch in batches[:10]:
        step = int(batch.source[0, 1])
        assert batch.images[0, -1, 0, :, 0, 0].tolist()[1] == step + 1
