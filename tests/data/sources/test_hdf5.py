"""Files as robomimic, LIBERO and mobile bases have them, written with h5py and read back."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.sources import hdf5_files
from robovlms.data.sources.hdf5 import HDF5Source
from robovlms.data.sources.hdf5_files import read_rows
from robovlms.data.sources.registry import find_format, open_source
from robovlms.errors import ConfigError, DataError

OSC = {"type": "OSC_POSE", "control_delta": True, "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5]}
ENV_ARGS = {"env_name": "NutAssemblySquare", "type": 1, "env_kwargs": {"control_freq": 20, "controller_configs": OSC}}
LIBERO_TASK = "KITCHEN_SCENE1_open_the_bottom_drawer_of_the_cabinet"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ROBOVLMS_CACHE", str(folder))
    return folder


def pictures(length: int, size: tuple[int, int], mark: int) -> np.ndarray:
    """Random pixels; the first of a picture's first row is (mark, step, 0), of its last row (mark, step, 255)."""
    frames = np.random.default_rng(mark).integers(0, 200, (length, *size, 3), np.uint8)
    frames[:, 0, 0] = [(mark, step, 0) for step in range(length)]
    frames[:, -1, 0] = [(mark, step, 255) for step in range(length)]
    return frames


def numbers(length: int, width: int, mark: int) -> np.ndarray:
    """Number j of step i is (i + j / 10 + mark) / 100."""
    return (np.arange(length)[:, None] + np.arange(width) / 10 + mark) / 100


def write_robomimic(path: Path, lengths: tuple[int, ...] = (4, 6), env_args: Any = ENV_ARGS, **storage: Any) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = env_args if isinstance(env_args, str) else json.dumps(env_args)
        data.attrs["total"] = sum(lengths)
        for number, length in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo["actions"] = numbers(length, 7, number)
            demo["states"] = numbers(length, 30, number)
            for camera, size in (("agentview", (8, 10)), ("robot0_eye_in_hand", (6, 6))):
                demo.create_dataset(f"obs/{camera}_image", data=pictures(length, size, number), **storage)
            for key, width in (("eef_pos", 3), ("eef_quat", 4), ("gripper_qpos", 2)):
                demo[f"obs/robot0_{key}"] = numbers(length, width, number)
        file["mask/train"] = np.array([b"demo_1"])
        file["mask/valid"] = np.array([b"demo_0"])
    return path


def write_libero(path: Path, said: Any = "open the bottom drawer", lengths: tuple[int, ...] = (5,)) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps(
            {"problem_name": "x"} | ({} if said is None else {"language_instruction": said})
        )
        data.attrs["bddl_file_name"] = f"chiliocosm/{path.stem}.bddl"
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["env_args"] = json.dumps(ENV_ARGS)
        for number, length in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = str(length)
            demo["actions"] = numbers(length, 7, number)
            demo["robot_states"] = numbers(length, 9, number)
            for camera in ("agentview", "eye_in_hand"):
                demo[f"obs/{camera}_rgb"] = pictures(length, (8, 8), number)
            pose = numbers(length, 6, number)
            demo["obs/ee_states"], demo["obs/ee_pos"], demo["obs/ee_ori"] = pose, pose[:, :3], pose[:, 3:]
            demo["obs/gripper_states"], demo["obs/joint_states"] = numbers(length, 2, 1), numbers(length, 7, 2)
    return path


def write_base(path: Path, length: int = 4, width: int = 3, **attrs: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["images"], file["actions"] = pictures(length, (6, 8), 9), numbers(length, width, 0)
        file.attrs.update(attrs)
    return path


def test_robomimic(tmp_path: Path) -> None:
    source = open_source(write_robomimic(tmp_path / "square.hdf5"))
    assert find_format(source.path) == "hdf5"
    assert (source.layout, len(source), source.lengths.tolist()) == ("robomimic", 2, [4, 6])
    assert [(c.name, c.height, c.width, c.source) for c in source.cameras] == [
        ("agentview", 8, 10, "robomimic/agentview"),
        ("robot0_eye_in_hand", 6, 6, "robomimic/robot0_eye_in_hand"),
    ]
    assert source.proprio_names[:4] == ("eef_x", "eef_y", "eef_z", "eef_quat_x")
    assert (source.task(0), source.instruction(1)) == ("NutAssemblySquare", "nut assembly square")
    space = source.action_space
    assert space.names == ("x", "y", "z", "rx", "ry", "rz", "gripper")
    assert [d.unit for d in space.dimensions] == ["0.05 m"] * 3 + ["0.5 rad"] * 3 + ["1"]
    assert (space.low.tolist(), space.high.tolist()) == ([-1.0] * 7, [1.0] * 7)
    assert (space.frame, space.is_delta, space.rotation, space.gripper_opens) == (
        "world",
        True,
        "axis_angle",
        "negative",
    )
    assert space.control_hz == 20
    steps = source.read(1, np.array([0, 0, 3]), np.array([5, 4]), ("agentview",))
    np.testing.assert_array_equal(steps.images["agentview"], pictures(6, (8, 10), 1)[[0, 0, 3]])
    np.testing.assert_array_equal(steps.actions, numbers(6, 7, 1)[[5, 4]].astype(np.float32))
    state = np.concatenate([numbers(6, n, 1) for n in (3, 4, 2)], axis=1)
    np.testing.assert_array_equal(steps.proprio, state[[0, 0, 3]].astype(np.float32))


def test_filter_keys_choose_demos(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5")
    assert open_source(path, filter_key="train").lengths.tolist() == [6]
    assert open_source(path, filter_key="valid").lengths.tolist() == [4]
    with pytest.raises(ConfigError, match="unknown filter_key 'trian'; did you mean 'train'"):
        open_source(path, filter_key="trian")


def test_what_env_args_say_is_taken(tmp_path: Path) -> None:
    body = {
        "type": "BASIC",
        "body_parts": {"right": {"type": "OSC_POSE", "input_type": "delta", "input_ref_frame": "base"}},
    }
    kwargs = {"control_freq": 10, "controller_configs": body, "lang": "lift it"}
    path = write_robomimic(tmp_path / "a.hdf5", env_args={"env_name": "Lift", "env_kwargs": kwargs})
    source = open_source(path)
    assert (source.action_space.frame, source.action_space.control_hz, source.instruction(0)) == ("base", 10, "lift it")
    assert open_source(path, instruction="go").instruction(1) == "go"
    absolute = {"env_name": "Lift", "env_kwargs": {"controller_configs": {**OSC, "control_delta": False}}}
    with pytest.raises(DataError, match="OSC_POSE with targets; only OSC_POSE with changes"):
        open_source(write_robomimic(tmp_path / "b.hdf5", env_args=absolute))
    with pytest.raises(DataError, match="c.hdf5: attribute 'env_args' of /data is no JSON"):
        open_source(write_robomimic(tmp_path / "c.hdf5", env_args="{oops"))


@pytest.mark.parametrize(
    "said", ["open the bottom drawer", '"open the bottom drawer"', ["open", "the", "bottom", "drawer"]]
)
def test_libero_instructions(tmp_path: Path, said: Any) -> None:
    source = open_source(write_libero(tmp_path / f"{LIBERO_TASK}_demo.hdf5", said))
    assert (source.layout, source.instruction(0), source.task(0)) == ("libero", "open the bottom drawer", LIBERO_TASK)


def test_libero_tells_by_its_file_name_otherwise(tmp_path: Path) -> None:
    (tmp_path / "libero_90").mkdir()
    write_libero(tmp_path / "libero_90" / f"{LIBERO_TASK}_demo.hdf5", None)
    assert open_source(tmp_path).instruction(0) == "open the bottom drawer of the cabinet"


def test_libero_pictures_are_turned_over(tmp_path: Path) -> None:
    path = write_libero(tmp_path / "turn_on_the_stove_demo.hdf5")
    raw, some = pictures(5, (8, 8), 0)[[4, 1]], (np.array([4, 1]), np.array([0]), ("agentview",))
    source = open_source(path)
    np.testing.assert_array_equal(source.read(0, *some).images["agentview"], raw[:, ::-1])
    assert source.cameras[0].source == "libero/agentview"
    as_stored = open_source(path, flip_images=False)
    np.testing.assert_array_equal(as_stored.read(0, *some).images["agentview"], raw)
    assert as_stored.cameras[0].source == "libero/upside_down/agentview"
    assert as_stored.fingerprint != source.fingerprint
    upright = write_libero(tmp_path / "upright_demo.hdf5")
    with h5py.File(upright, "r+") as file:
        file["data"].attrs["macros_image_convention"] = "opencv"
    np.testing.assert_array_equal(open_source(upright).read(0, *some).images["agentview"], raw)


def test_libero_proprioception_is_told_once(tmp_path: Path) -> None:
    path = write_libero(tmp_path / "a_demo.hdf5")
    source = open_source(path)
    assert len(source.proprio_names) == len(set(source.proprio_names)) == 15
    whole = source.read_episode(0).steps.proprio
    np.testing.assert_array_equal(whole[:, :6], numbers(5, 6, 0).astype(np.float32))
    parts = write_libero(tmp_path / "b_demo.hdf5")
    with h5py.File(parts, "r+") as file:
        del file["data/demo_0/obs/ee_states"]
    again = open_source(parts)
    assert again.proprio_names == source.proprio_names
    np.testing.assert_array_equal(again.read_episode(0).steps.proprio, whole)


def test_mobile_base(tmp_path: Path) -> None:
    write_base(tmp_path / "episode_2_go_to_the_box.h5", 3, control_hz=10.0)
    write_base(tmp_path / "episode_10.h5", 5, control_hz=10.0, language_instruction="follow the line")
    source = open_source(tmp_path)
    assert (source.layout, source.lengths.tolist()) == ("mobile_base", [3, 5])
    assert [source.instruction(i) for i in (0, 1)] == ["go to the box", "follow the line"]
    space = source.action_space
    assert [(d.name, d.unit, d.low, d.high, d.kind) for d in space.dimensions] == [
        ("linear_x", "m/s", -0.5, 0.5, "base"),
        ("linear_y", "m/s", -0.5, 0.5, "base"),
        ("angular_z", "rad/s", -1.0, 1.0, "base"),
    ]
    assert (space.frame, space.control_hz, source.proprio_names) == ("base", 10.0, ())
    steps = source.read_episode(1).steps
    assert steps.proprio is None
    np.testing.assert_array_equal(steps.images["front"], pictures(5, (6, 8), 9))
    np.testing.assert_array_equal(steps.actions, numbers(5, 3, 0).astype(np.float32))


def test_an_instruction_in_a_dataset(tmp_path: Path) -> None:
    path = write_base(tmp_path / "a.h5", width=2)
    with h5py.File(path, "r+") as file:
        file["language_instruction"] = np.array([b"go on"] * 4)
    assert open_source(path, control_hz=5).instruction(0) == "go on"
    assert open_source(path, control_hz=5).action_space.names == ("linear_x", "linear_y")
    with h5py.File(path, "r+") as file:
        file["language_instruction"][1] = b"stop"
    with pytest.raises(DataError, match=r"a.h5: language_instruction: expected one text, found \['go on', 'stop'\]"):
        open_source(path, control_hz=5)


def test_a_base_needs_a_rate_an_instruction_and_speeds_within_its_limit(tmp_path: Path) -> None:
    path = write_base(tmp_path / "0001.h5")
    with pytest.raises(ConfigError, match="set the option control_hz"):
        open_source(path)
    with pytest.raises(DataError, match=r"0001.h5: no instruction in it, nor in its name"):
        open_source(path, control_hz=10).instruction(0)
    slow = open_source(path, control_hz=10, max_velocity=[0.02, 1])
    with pytest.raises(
        DataError, match=r"0001.h5, step 1: action 'linear_y' is 0.011 m/s, beyond ±0.0101.*max_velocity"
    ):
        open_source(path, control_hz=10, max_velocity=[0.0101, 1]).read_episode(0)
    with pytest.raises(DataError, match=r"step 2: action 'linear_y' is 0.021 m/s, beyond ±0.02;"):
        slow.read_episode(0)
    assert slow.read(0, np.array([0]), np.array([1]), ()).actions.shape == (1, 3)
    with pytest.raises(ConfigError, match="max_velocity: expected two numbers"):
        open_source(path, control_hz=10, max_velocity=[1.0])
    with pytest.raises(ConfigError, match="max_velocity is for mobile bases"):
        open_source(write_robomimic(tmp_path / "r.hdf5"), max_velocity=[1, 1])


def test_demos_come_in_natural_order(tmp_path: Path) -> None:
    source = open_source(write_robomimic(tmp_path / "a.hdf5", tuple(range(1, 13))))
    assert source.lengths.tolist() == list(range(1, 13))


@pytest.mark.parametrize("storage", [{}, {"chunks": (2, 8, 10, 3)}, {"chunks": True, "compression": "gzip"}])
def test_windows_of_any_storage(tmp_path: Path, storage: dict[str, Any]) -> None:
    if "chunks" in storage and storage["chunks"] is not True:
        storage = {**storage, "chunks": (2, 3, 3, 3)}
    source = open_source(write_robomimic(tmp_path / "a.hdf5", (40,), **storage))
    frames = np.array([0, 0, 39, 1, 20])
    read = source.read(0, frames, frames, ("agentview", "robot0_eye_in_hand"))
    np.testing.assert_array_equal(read.images["agentview"], pictures(40, (8, 10), 0)[frames])
    np.testing.assert_array_equal(read.images["robot0_eye_in_hand"], pictures(40, (6, 6), 0)[frames])


class CountedRows:
    """Stands for an `h5py.Dataset`, which takes rising slices; counts the rows that are read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.num_read = array, array.shape, array.dtype, 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        assert 0 <= rows.start < rows.stop <= len(self)
        self.num_read += rows.stop - rows.start
        return self.array[rows]


@given(st.lists(st.integers(0, 99), max_size=12))
def test_only_the_rows_asked_for_are_read(rows: list[int]) -> None:
    dataset = CountedRows(np.arange(200).reshape(100, 2))
    np.testing.assert_array_equal(read_rows(dataset, np.array(rows, np.int64)), dataset.array[rows])
    assert dataset.num_read <= 4 * len(set(rows))


def test_no_picture_is_read_without_cameras(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", (4,))
    source = open_source(path)
    with h5py.File(path, "r+") as file:
        del file["data/demo_0/obs/agentview_image"]
    assert source.read(0, np.arange(2), np.arange(3), ()).images == {}
    with pytest.raises(DataError, match=r"a.hdf5: data/demo_0/obs/agentview_image not readable"):
        source.read(0, np.arange(2), np.arange(3), ("agentview",))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for number in range(6):
        write_base(tmp_path / "many" / f"episode_{number}_go.h5", 3 + number, control_hz=5.0)
    return tmp_path / "many"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened."""
    names: list[str] = []
    original = h5py.File

    def counted(path: Path, *arguments: Any, **keywords: Any) -> Any:
        names.append(Path(path).name)
        return original(path, *arguments, **keywords)

    monkeypatch.setattr(h5py, "File", counted)
    return names


def test_the_second_opening_looks_into_changed_files_only(many: Path, opened: list[str]) -> None:
    assert open_source(many).lengths.tolist() == [3, 4, 5, 6, 7, 8]
    assert len(opened) == 6
    opened.clear()
    again = open_source(many)
    assert (again.lengths.tolist(), opened) == ([3, 4, 5, 6, 7, 8], [])
    before = again.fingerprint
    write_base(many / "episode_2_go.h5", 30, control_hz=5.0)
    (many / "episode_0_go.h5").unlink()
    opened.clear()
    changed = open_source(many)
    assert (changed.lengths.tolist(), opened) == ([4, 30, 6, 7, 8], ["episode_2_go.h5"])
    assert changed.fingerprint != before


def test_without_a_cache_every_opening_looks(
    many: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert len(open_source(many)) == 6
    assert len(opened) == 12


def test_a_damaged_index_is_written_anew(many: Path, cache: Path, opened: list[str]) -> None:
    open_source(many)
    [index] = (cache / "index").iterdir()
    index.write_text("{")
    assert len(open_source(many)) == 6
    assert len(opened) == 12
    open_source(many)
    assert len(opened) == 12


def test_open_files_are_few_and_stay_behind(many: Path) -> None:
    source = HDF5Source(many, max_open=2)
    assert source.num_open == 0
    for episode in range(6):
        source.read(episode, np.arange(2), np.arange(2), ("front",))
    assert source.num_open == 2
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.num_open, copy.fingerprint) == (0, source.fingerprint)
    np.testing.assert_array_equal(copy.read_episode(3).steps.actions, source.read_episode(3).steps.actions)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_inherits_no_open_file(many: Path) -> None:
    source = open_source(many)
    expected = source.read_episode(0, ("front",)).steps.images["front"]
    assert source.num_open == 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # no assertion here: an exception would run the rest of the tests twice
        inherited = source.num_open
        is_same = bool((source.read_episode(0, ("front",)).steps.images["front"] == expected).all())
        os.write(writer, bytes([inherited, is_same]))
        os._exit(0)
    os.waitpid(child, 0)
    assert tuple(os.read(reader, 2)) == (0, 1)
    assert source.read_episode(0, ("front",)).steps.images["front"].shape == expected.shape


def replace(path: Path, key: str, value: Any) -> Path:
    with h5py.File(path, "r+") as file:
        del file[key]
        if value is not None:
            file[key] = value
    return path


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data/demo_1/actions", numbers(5, 7, 0), r"demo_1: actions has 5 steps, but obs/agentview_image has 6"),
        ("data/demo_1/obs/robot0_eef_pos", numbers(7, 3, 0), "actions has 6 steps, but obs/robot0_eef_pos has 7"),
        ("data/demo_1/obs/agentview_image", None, r"demo_1: no array 'obs/agentview_image'"),
        ("data/demo_0/actions", None, r"demo_0: no array 'actions'"),
        ("data/demo_0/actions", numbers(4, 14, 0), r"actions have 14 numbers; one arm of robosuite has 7"),
        ("data/demo_0/obs/robot0_eef_pos", numbers(4, 2, 0), r"robot0_eef_pos: expected 3 numbers"),
        ("data/demo_0/obs/agentview_image", np.zeros((4, 8, 8, 3)), r"expected pictures uint8 .* found float64"),
        ("data", None, r"none of the layouts libero, robomimic, mobile_base; it holds \['mask'\]"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = replace(write_robomimic(tmp_path / "bad.hdf5"), key, value)
    with pytest.raises(DataError, match=message) as error:
        open_source(path)
    assert str(tmp_path) in str(error.value)


def test_num_samples_must_be_right(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        file["data/demo_1"].attrs["num_samples"] = 9
    with pytest.raises(DataError, match=r"a.hdf5: data/demo_1: actions has 6 steps, but num_samples says 9"):
        open_source(path)


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    values = numbers(6, 7, 1)
    values[4, 2] = np.nan
    source = open_source(replace(write_robomimic(tmp_path / "a.hdf5"), "data/demo_1/actions", values))
    with pytest.raises(DataError, match=r"a.hdf5: data/demo_1, step 4: actions 'z' is nan"):
        source.read_episode(1)
    assert len(source.read_episode(0)) == 4


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"PK" + data[2:]]
)
def test_damaged_files_are_named(many: Path, damage: Callable[[bytes], bytes]) -> None:
    file = many / "episode_3_go.h5"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"episode_3_go.h5: not readable as HDF5"):
        open_source(many)


def test_a_file_that_breaks_later_is_named(many: Path) -> None:
    source = open_source(many)
    file = many / "episode_3_go.h5"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"episode_3_go.h5"):
        source.read_episode(3)
    file.unlink()
    with pytest.raises(DataError, match=r"episode_3_go.h5"):
        source.read_episode(3)


def test_files_must_agree(many: Path) -> None:
    write_base(many / "episode_4_go.h5", width=2, control_hz=5.0)
    with pytest.raises(DataError, match=r"episode_4_go.h5: action is 2, but 3 in .*episode_0_go.h5; open them apart"):
        open_source(many)
    write_base(many / "episode_4_go.h5", control_hz=7.0)
    with pytest.raises(DataError, match=r"about.control_hz is 7.0, but 5.0"):
        open_source(many)
    write_base(many / "episode_4_go.h5", control_hz=5.0)
    with h5py.File(many / "episode_4_go.h5", "r+") as file:
        del file["images"]
        file["images"] = pictures(4, (5, 5), 0)
    with pytest.raises(DataError, match=r"episode_4_go.h5: camera 'front' has \[5, 5\] pixels, but \[6, 8\]"):
        open_source(many)


def test_what_is_asked_for_must_exist(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5")
    source = open_source(path)
    with pytest.raises(DataError, match="unknown camera 'agentveiw'; did you mean 'agentview'"):
        source.read(0, np.arange(1), np.arange(1), ("agentveiw",))
    with pytest.raises(DataError, match=r"demo_0 has 4 steps, asked for \[4\]"):
        source.read(0, np.array([4]), np.arange(1), ())
    with pytest.raises(ConfigError, match="unknown layout 'robomimc'; did you mean 'robomimic'"):
        open_source(path, layout="robomimc")
    with pytest.raises(ConfigError, match="did you mean 'flip_images'"):
        open_source(path, flip_image=True)
    with pytest.raises(DataError, match=r"a.hdf5: no array 'actions'; it holds \['data', 'mask'\]"):
        open_source(path, layout="mobile_base", control_hz=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file that ends with .hdf5 or .h5"):
        open_source(tmp_path / "empty", format="hdf5")


def test_statistics_are_those_of_the_numbers(tmp_path: Path) -> None:
    statistics = open_source(write_robomimic(tmp_path / "a.hdf5")).statistics
    stacked = np.concatenate([numbers(n, 7, i) for i, n in enumerate((4, 6))])
    np.testing.assert_allclose(statistics["action"].mean, stacked.mean(0), rtol=1e-5)
    assert statistics["action"].count == 10


def test_a_dataset_is_seen_by_its_names_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    assert not HDF5Source.is_at(tmp_path)
    for number in range(3):
        (tmp_path / f"{number}.npz").touch()
    assert not HDF5Source.is_at(tmp_path)
    (tmp_path / "deep" / "a.hdf5").touch()
    assert HDF5Source.is_at(tmp_path)
    assert HDF5Source.is_at(tmp_path / "deep" / "a.hdf5")
    assert not HDF5Source.is_at(tmp_path / "0.npz")


def test_h5py_is_not_imported_to_list_formats() -> None:
    assert "h5py" not in vars(hdf5_files)
