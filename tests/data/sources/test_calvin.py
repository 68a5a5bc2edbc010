import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.sources.calvin_fixture import calvin_frame, write_annotations, write_calvin

from robovlms.actions.pose import tcp_to_world_frame, world_to_tcp_frame
from robovlms.actions.space import ActionSpace
from robovlms.data.sources import calvin_frames
from robovlms.data.sources.calvin import CalvinSource
from robovlms.data.sources.calvin_frames import CalvinFrames
from robovlms.data.sources.registry import open_source
from robovlms.errors import ConfigError, DataError

SPANS = [(300, 312), (306, 311), (1000, 1008)]
TASKS = ["open_drawer", "lift_red_block", "open_drawer"]
RECORDINGS = [(295, 312), (1000, 1010)]
NONE = np.zeros(0, np.int64)


def write(path: Path, **changes: Any) -> Path:
    arguments = {"spans": SPANS, "tasks": TASKS, "wrist_size": 8, "recordings": RECORDINGS} | changes
    return write_calvin(path, **arguments)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with two splits that nobody changes."""
    path = tmp_path_factory.mktemp("calvin")
    write(path / "training")
    write(path / "validation", spans=[(0, 3)], tasks=["turn_on_led"], recordings=None)
    return path


@pytest.fixture
def source(root: Path) -> CalvinSource:
    return CalvinSource(root / "training")


def frame_numbers(pixels: np.ndarray) -> list[int]:
    """Which frames the pictures are of."""
    return (pixels[:, 0, 0, 0].astype(int) * 256 + pixels[:, 0, 0, 1]).tolist()


def stored(frames: list[int], key: str) -> np.ndarray:
    return np.stack([calvin_frame(frame, 16, 8)[key] for frame in frames]).astype(np.float32)


# --------------------------------------------------------------------------------------------------------------- what


def test_every_annotation_is_an_episode(source: CalvinSource) -> None:
    assert len(source) == 3
    assert source.lengths.tolist() == [12, 5, 8]
    assert source.lengths.dtype == np.int64
    assert source.starts.tolist() == [300, 306, 1000]
    assert [source.task(n) for n in range(3)] == TASKS
    assert source.instruction(1) == "please lift red block"
    assert source.file(1).name == "episode_0000306.npz"
    assert [(one.name, one.height, one.source) for one in source.cameras] == [
        ("static", 16, "calvin/static"),
        ("wrist", 8, "calvin/wrist"),
    ]


def test_an_episode_has_the_frames_that_the_annotator_counted(source: CalvinSource) -> None:
    """(start, end) has end - start of them, and the action of its last step is that of frame end - 1."""
    episode = source.read_episode(2)
    assert frame_numbers(episode.steps.images["static"]) == list(range(1000, 1008))
    np.testing.assert_array_equal(episode.steps.actions, stored(list(range(1000, 1008)), "rel_actions"))


def test_frames_and_steps_come_in_the_order_asked_for(source: CalvinSource) -> None:
    steps = source.read(1, np.array([3, 0, 0, 4]), np.array([4, 1]), ("wrist", "static"))
    assert list(steps.images) == ["wrist", "static"]
    assert frame_numbers(steps.images["static"]) == frame_numbers(steps.images["wrist"]) == [309, 306, 306, 310]
    assert (steps.images["static"][:, 0, 0, 2] == 0).all()
    assert (steps.images["wrist"][:, 0, 0, 2] == 1).all()
    np.testing.assert_array_equal(steps.images["wrist"][1], calvin_frame(306, 16, 8)["rgb_gripper"])
    np.testing.assert_array_equal(steps.proprio, stored([309, 306, 306, 310], "robot_obs"))
    np.testing.assert_array_equal(steps.actions, stored([310, 307], "rel_actions"))
    assert steps.actions.dtype == steps.proprio.dtype == np.float32


def test_nothing_asked_for_is_nothing(source: CalvinSource) -> None:
    steps = source.read(0, NONE, NONE, ("static",))
    assert steps.images["static"].shape == (0, 16, 16, 3)
    assert (steps.proprio.shape, steps.actions.shape) == ((0, 15), (0, 7))
    assert source.read(0, np.array([1]), NONE, ()).images == {}


def test_relative_actions(source: CalvinSource) -> None:
    space = source.action_space
    assert space.names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert [one.unit for one in space.dimensions] == ["0.02 m"] * 3 + ["0.05 rad"] * 3 + ["1"]
    assert (space.low == -1).all()
    assert (space.high == 1).all()
    assert (space.frame, space.is_delta, space.gripper_opens, space.control_hz) == ("world", True, "positive", 30)
    assert space.gripper_dims == (6,)


def test_absolute_actions(root: Path) -> None:
    source = CalvinSource(root / "training", action="actions")
    space = source.action_space
    assert (space.frame, space.is_delta, space.rotation) == ("world", False, "euler_xyz")
    assert [one.unit for one in space.dimensions] == ["m"] * 3 + ["rad"] * 3 + ["1"]
    np.testing.assert_allclose(space.high, [0.66, 0.54, 1.24, np.pi, np.pi, np.pi, 1], rtol=1e-6)
    np.testing.assert_array_equal(source.read(0, NONE, np.array([2]), ()).actions, stored([302], "actions"))


def test_actions_seen_from_the_tcp(root: Path) -> None:
    source, world = CalvinSource(root / "training", tcp_frame=True), CalvinSource(root / "training")
    assert source.action_space.frame == "tcp"
    steps = np.array([5, 1, 5])
    found = source.read(0, NONE, steps, ()).actions
    frames = [305, 301, 305]
    obs = np.stack([calvin_frame(frame, 16, 8)["robot_obs"] for frame in frames])
    rel = np.stack([calvin_frame(frame, 16, 8)["rel_actions"] for frame in frames])
    np.testing.assert_allclose(found, world_to_tcp_frame(rel, obs), rtol=1e-6)
    back = tcp_to_world_frame(found.astype(np.float64), obs)
    np.testing.assert_allclose(back, world.read(0, NONE, steps, ()).actions, atol=2e-5)
    assert not np.allclose(found[:, :6], back[:, :6], atol=0.1)


def test_every_tcp_action_is_within_its_limits(root: Path) -> None:
    rng = np.random.default_rng(0)
    corners = np.concatenate([rng.choice([-1.0, 1.0], (5000, 6)), np.ones((5000, 1))], axis=1)
    obs = rng.uniform(-np.pi, np.pi, (5000, 15))
    space: ActionSpace = CalvinSource(root / "training", tcp_frame=True).action_space
    found = world_to_tcp_frame(corners, obs)
    assert (np.abs(found) <= space.high + 0.02).all()  # what a turn of 0.03 rad adds to its rate
    assert np.abs(found[:, :3]).max() > 1.7
    assert (np.abs(found[:, 3:6]).max(0) > space.high[3:6] - 0.05).all()


def test_excluded_tasks_are_left_out(root: Path) -> None:
    source = CalvinSource(root / "training", exclude_tasks=["open_drawer"])
    assert (len(source), source.task(0), source.starts.tolist()) == (1, "lift_red_block", [306])
    with pytest.raises(ConfigError, match="unknown task 'open_drawr'; did you mean 'open_drawer'"):
        CalvinSource(root / "training", exclude_tasks=["open_drawr"])
    with pytest.raises(DataError, match="no annotation is left of 3"):
        CalvinSource(root / "training", exclude_tasks=sorted(set(TASKS)))


def test_numbers_are_all_numbers_and_no_picture_is_unpacked(source: CalvinSource, monkeypatch: Any) -> None:
    unpacked = set()
    read = calvin_frames._read_array
    monkeypatch.setattr(calvin_frames, "_read_array", lambda archive, name: unpacked.add(name) or read(archive, name))
    pieces = list(source.numbers())
    assert unpacked == {"rel_actions", "robot_obs"}
    assert [len(piece["action"]) for piece in pieces] == [12, 5, 8]
    np.testing.assert_array_equal(pieces[1]["proprio"], stored(list(range(306, 311)), "robot_obs"))
    assert len(source.proprio_names) == len(set(source.proprio_names)) == pieces[1]["proprio"].shape[1] == 15


# -------------------------------------------------------------------------------------------------------------- where


def test_splits(root: Path) -> None:
    assert CalvinSource(root).path == root / "training"
    assert len(CalvinSource(root, split="validation")) == 1
    assert CalvinSource(root / "validation", split="validation").task(0) == "turn_on_led"
    with pytest.raises(ConfigError, match="split is 'training', but .*validation is itself a split"):
        CalvinSource(root / "validation", split="training")
    with pytest.raises(DataError, match="unknown split 'train'; did you mean 'training'"):
        CalvinSource(root, split="train")


def test_the_format_is_found(root: Path, tmp_path: Path) -> None:
    assert CalvinSource.is_at(root)
    assert CalvinSource.is_at(root / "validation")
    assert not CalvinSource.is_at(tmp_path)
    assert not CalvinSource.is_at(tmp_path / "nothing")
    assert isinstance(open_source(root, split="validation"), CalvinSource)
    assert isinstance(open_source(root / "training", format="calvin", tcp_frame=True), CalvinSource)


def test_opening_looks_at_one_frame_only(tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    for file in path.glob("episode_*.npz"):
        if file.name != "episode_0000300.npz":
            file.unlink()
    source = CalvinSource(path)
    assert len(source) == 3
    with pytest.raises(DataError, match=r"episode_0001002.npz: the frame is missing \(step 2 of episode 2\)"):
        source.read(2, np.array([2]), NONE, ())


def test_pictures_in_one_camera(tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    for file in path.glob("episode_*.npz"):
        arrays = dict(np.load(file))
        del arrays["rgb_gripper"]
        np.savez_compressed(file, **arrays)
    source = CalvinSource(path)
    assert [camera.name for camera in source.cameras] == ["static"]
    with pytest.raises(DataError, match="unknown camera 'wrist'"):
        source.read(0, np.array([0]), NONE, ("wrist",))


# ---------------------------------------------------------------------------------------------------------- efficiency


def test_each_file_is_opened_once_and_only_what_is_asked_for_is_unpacked(
    source: CalvinSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, unpacked = [], []
    archive, read = zipfile.ZipFile, calvin_frames._read_array
    monkeypatch.setattr(zipfile, "ZipFile", lambda file: opened.append(file.name) or archive(file))
    monkeypatch.setattr(
        calvin_frames, "_read_array", lambda archive, name: unpacked.append(name) or read(archive, name)
    )
    source.read(0, np.array([0, 1, 1]), np.array([0, 1, 2, 2]), ("static",))
    assert opened == [f"episode_0000{frame}.npz" for frame in (300, 301, 302)]
    assert sorted(unpacked) == ["rel_actions"] * 3 + ["rgb_static"] * 2 + ["robot_obs"] * 2
    source.read(1, np.array([0]), np.array([0]), ())
    assert opened[3:] == ["episode_0000306.npz"]
    source.read(0, np.array([6, 1]), np.array([2]), ())  # frame 306 again, as another episode's
    assert len(opened) == 4


def test_what_is_kept_in_memory_is_bounded(root: Path) -> None:
    picture = 16 * 16 * 3
    frames = CalvinFrames(root / "training", 3 * picture)
    expected = {"rgb_static": ((16, 16, 3), np.uint8)}
    for frame in range(300, 310):
        frames.read(frame, expected)
        assert frames.num_bytes <= 3 * picture
    assert frames.num_bytes == 3 * picture
    assert list(frames._arrays) == [(frame, "rgb_static") for frame in (307, 308, 309)]
    frames.read(307, expected)
    frames.read(300, expected)
    assert list(frames._arrays) == [(frame, "rgb_static") for frame in (309, 307, 300)]
    forgetful = CalvinSource(root / "training", cache_mb=0)
    assert len(forgetful.read_episode(0)) == 12
    assert forgetful.num_cached_bytes == 0


def test_what_was_read_cannot_change_what_is_kept(source: CalvinSource) -> None:
    at = np.array([0])
    first = source.read(0, at, at, ("static",))
    first.images["static"][:] = 0
    first.proprio[:] = 0
    first.actions[:] = 0
    second = source.read(0, at, at, ("static",))
    assert frame_numbers(second.images["static"]) == [300]
    assert second.proprio.any()
    assert second.actions.any()


def test_it_can_be_pickled_without_its_memory(source: CalvinSource) -> None:
    before = source.read_episode(0)
    assert source.num_cached_bytes > 0
    copy = pickle.loads(pickle.dumps(source))
    assert copy.num_cached_bytes == 0
    np.testing.assert_array_equal(copy.read_episode(0).steps.images["static"], before.steps.images["static"])
    assert copy.fingerprint == source.fingerprint


def test_the_fingerprint_changes_with_the_data_and_its_meaning(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path / "training")
    known = {CalvinSource(path).fingerprint}
    assert known == {CalvinSource(root / "training").fingerprint}  # of equal data elsewhere
    known.add(CalvinSource(path, tcp_frame=True).fingerprint)
    known.add(CalvinSource(path, action="actions").fingerprint)
    known.add(CalvinSource(path, exclude_tasks=["open_drawer"]).fingerprint)
    np.savez_compressed(path / "episode_0001000.npz", **calvin_frame(1000, 16, 12))
    known.add(CalvinSource(path).fingerprint)
    np.save(path / "ep_start_end_ids.npy", np.array([(290, 312), (1000, 1010)]))
    known.add(CalvinSource(path).fingerprint)
    assert len(known) == 6


# ------------------------------------------------------------------------------------------------------------- refused


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no CALVIN dataset with language: expected lang_annotations/auto_lang_ann.npy"):
        CalvinSource(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": "rel_action"}, "unknown action 'rel_action'; did you mean 'rel_actions'"),
        ({"action": "actions", "tcp_frame": True}, "it needs 'rel_actions'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        CalvinSource(root, **options)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((306, 314), r"annotation 1 has frames 306 to 313.*nearest has \[295, 312\]"),
        ((294, 300), "annotation 1 has frames 294 to 299"),
        ((311, 1001), "annotation 1 has frames 311 to 1000"),
        ((5000, 5001), r"nearest has \[1000, 1010\]"),
    ],
)
def test_annotations_out_of_the_recordings_are_refused(span: tuple[int, int], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "training", spans=[SPANS[0], span, SPANS[2]])
    with pytest.raises(DataError, match=message):
        CalvinSource(path)


def test_an_annotation_may_end_with_its_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "training", spans=[(295, 313)], tasks=["lift"], recordings=[(1000, 1010), (295, 312)])
    assert len(CalvinSource(path).read_episode(0)) == 18


@pytest.mark.parametrize(
    "recordings", [np.zeros((2, 3), int), np.zeros((2, 2)), np.zeros((0, 2), int), np.zeros(2, int)]
)
def test_damaged_recordings_are_refused(recordings: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    np.save(path / "ep_start_end_ids.npy", recordings)
    with pytest.raises(DataError, match="ep_start_end_ids.npy"):
        CalvinSource(path)


@pytest.mark.parametrize("data", [None, b"", b"\x93NUMPY", pickle.dumps([1])])
def test_missing_or_broken_recordings_are_refused(data: bytes | None, tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    file = path / "ep_start_end_ids.npy"
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(DataError, match="ep_start_end_ids.npy"):
        CalvinSource(path)


def test_harmful_annotations_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    write_annotations(path, {"language": {"ann": [Path("x")]}})
    with pytest.raises(DataError, match="auto_lang_ann.npy: the pickle asks for pathlib"):
        CalvinSource(path)


@pytest.mark.parametrize(("frames", "steps"), [([8], []), ([], [8]), ([-1], []), ([0], [0, 99])])
def test_steps_out_of_the_episode_are_refused(frames: list[int], steps: list[int], source: CalvinSource) -> None:
    with pytest.raises(DataError, match="episode 2 has 8 steps, asked for"):
        source.read(2, np.array(frames, np.int64), np.array(steps, np.int64), ())


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[400:420] = bytes(20)
    file.write_bytes(data)


def _without(key: str) -> Callable[[Path], None]:
    return lambda file: _rewrite(file, {key: None})


def _with(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda file: _rewrite(file, arrays)


def _rewrite(file: Path, changes: dict[str, np.ndarray | None]) -> None:
    arrays = dict(np.load(file)) | changes
    np.savez_compressed(file, **{key: array for key, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "not readable as a frame"),
        (_flip, "not readable as a frame"),
        (lambda file: file.write_bytes(b""), "not readable as a frame"),
        (_without("rgb_static"), "no item named 'rgb_static.npy'.*the frame has .*'rgb_gripper'"),
        (_with(rgb_static=np.zeros((16, 15, 3), np.uint8)), r"rgb_static: expected uint8 \[16, 16, 3\].*\[16, 15, 3\]"),
        (_with(rgb_static=np.zeros((16, 16, 3))), r"rgb_static: expected uint8 .* found float64"),
        (_with(rel_actions=np.zeros(6)), r"rel_actions: expected floating \[7\], found float64 \[6\]"),
        (_with(robot_obs=np.zeros(15, object)), "not readable as a frame: Object arrays cannot be loaded"),
    ],
)
def test_damaged_frames_are_named(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    damage(path / "episode_0000307.npz")
    source = CalvinSource(path)
    with pytest.raises(DataError, match=message) as caught:
        source.read(1, np.array([0, 1]), np.array([1]), ("static",))
    assert "episode_0000307.npz" in str(caught.value)
    assert "(step 1 of episode 1)" in str(caught.value)
    source.read(1, np.array([0, 2]), np.array([2]), ("static", "wrist"))  # the others are fine


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    _rewrite(path / "episode_0000307.npz", {"rel_actions": np.array([0, 0, np.nan, 0, 0, 0, 1.0])})
    with pytest.raises(DataError, match="episode_0000307.npz: episode 1, step 1: rel_actions 'z' is nan"):
        CalvinSource(path).read(1, NONE, np.array([0, 1]), ())


def test_pictures_of_another_shape_are_refused_at_opening(tmp_path: Path) -> None:
    path = write(tmp_path / "training")
    _rewrite(path / "episode_0000300.npz", {"rgb_static": np.zeros((16, 16), np.uint8)})
    with pytest.raises(DataError, match=r"rgb_static: expected \[height, width, 3\], found \[16, 16\]"):
        CalvinSource(path)
