"""Plain folders: pictures and a CSV, and everything that can be wrong with them."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.sources.folder_table import READERS, read_table
from robovlms.data.sources.registry import find_format, open_source
from robovlms.data.sources.video import VideoWriter
from robovlms.errors import DataError

DESCRIPTION: dict[str, Any] = {
    "action_space": {
        "dimensions": [
            {"name": "vx", "unit": "m/s", "low": -1, "high": 1, "kind": "base"},
            {"name": "vy", "unit": "m/s", "low": -1.0, "high": 1.0, "kind": "base"},
        ],
        "frame": "base",
        "is_delta": True,
        "control_hz": 10,
    },
    "cameras": {"front": "front"},
    "proprio": ["battery"],
    "instruction": "go on",
}

SPACE: dict[str, Any] = DESCRIPTION["action_space"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path_factory.mktemp("cache")))


def columns(length: int, mark: int = 0) -> dict[str, list[float]]:
    """vx is step / 100 + mark / 10, vy its negative, the battery goes down from 1."""
    vx = [round(step / 100 + mark / 10, 4) for step in range(length)]
    return {"vx": vx, "vy": [-value for value in vx], "battery": [1 - step / 64 for step in range(length)]}


def write_csv(file: Path, table: dict[str, list[Any]]) -> None:
    rows = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    file.write_text("\n".join([",".join(table), *rows]) + "\n")


def picture(step: int, mark: int = 0, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*size, 3), (step, mark, 200), np.uint8)


def write_episode(folder: Path, length: int, mark: int = 0, first: int = 0, name: str = "{:06d}.png") -> Path:
    (folder / "front").mkdir(parents=True)
    write_csv(folder / "steps.csv", columns(length, mark))
    for step in range(length):
        Image.fromarray(picture(step, mark)).save(folder / "front" / name.format(step + first))
    return folder


def describe(path: Path, **changes: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "dataset.yaml").write_text(yaml.safe_dump({**DESCRIPTION, **changes}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Episodes 2 and 10 of 3 and 12 steps."""
    path = describe(tmp_path / "mine")
    write_episode(path / "episodes" / "2", 3, mark=2)
    write_episode(path / "episodes" / "10", 12, mark=3, first=1, name="frame_{}.png")
    return path


def test_pictures_and_a_csv_are_enough(folder: Path) -> None:
    assert find_format(folder) == "folder"
    source = open_source(folder)
    assert (source.lengths.tolist(), source.proprio_names) == ([3, 12], ("battery",))
    assert [(d.name, d.unit, d.kind) for d in source.action_space.dimensions] == [
        ("vx", "m/s", "base"),
        ("vy", "m/s", "base"),
    ]
    assert [(c.name, c.height, c.width, c.source) for c in source.cameras] == [("front", 4, 6, "folder/front")]
    assert (source.instruction(0), source.task(1), source.file(1).name) == ("go on", "go on", "10")
    steps = source.read(1, np.array([11, 0, 11]), np.array([[2], [9]]).ravel(), ("front",))
    np.testing.assert_array_equal(steps.images["front"], np.stack([picture(step, 3) for step in (11, 0, 11)]))
    np.testing.assert_array_equal(steps.proprio, np.array([[1 - 11 / 64], [1], [1 - 11 / 64]], np.float32))
    np.testing.assert_array_equal(steps.actions, np.array([[0.32, -0.32], [0.39, -0.39]], np.float32))
    assert source.read(0, np.arange(2), np.arange(2), ()).images == {}
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint == source.fingerprint
    np.testing.assert_array_equal(again.read_episode(1).steps.actions, source.read_episode(1).steps.actions)
    assert source.statistics["action"].max[0] == pytest.approx(0.41)


def test_the_example_of_the_documentation(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "your_own_data.md").read_text()
    examples = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    assert {"dataset.yaml", "steps.csv", "episode.yaml"} <= set(examples)
    episode = tmp_path / "episodes" / "0000"
    (episode / "front").mkdir(parents=True)
    (tmp_path / "dataset.yaml").write_text(examples["dataset.yaml"])
    for name in ("steps.csv", "episode.yaml"):
        (episode / name).write_text(examples[name])
    for step in range(3):
        Image.fromarray(picture(step)).save(episode / "front" / f"{step:06d}.png")
    write_video(episode / "wrist.mp4", 6, fps=20.0)
    source = open_source(tmp_path)
    assert source.action_space.gripper_dims == (2,)
    assert (source.instruction(0), source.task(0)) == ("push the red cube to the left", "push")
    whole = source.read_episode(0).steps
    np.testing.assert_array_equal(whole.actions[:, 2], [1, 1, 0])
    np.testing.assert_allclose(whole.proprio[2], [0.55, -0.25])
    assert {name: frames.shape for name, frames in whole.images.items()} == {
        "front": (3, 4, 6, 3),
        "wrist": (3, 64, 64, 3),
    }


def write_video(path: Path, num_frames: int, fps: float) -> None:
    """Frame i is grey 10 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, height=64, width=64, fps=fps)
    writer.add(np.stack([np.full((64, 64, 3), 10 * i, np.uint8) for i in range(num_frames)]))
    writer.close()


@pytest.mark.parametrize(
    ("fps", "num_frames", "times", "expected"),
    [
        (10.0, 5, None, [0, 1, 2, 3, 4]),
        (20.0, 9, None, [0, 2, 4, 6, 8]),
        (20.0, 9, [100.0, 100.1, 100.2, 100.3, 100.4], [0, 2, 4, 6, 8]),
        (30.0, 13, [0.0, 0.1, 0.21, 0.3, 0.39], [0, 3, 6, 9, 12]),
        (5.0, 3, [7.0, 7.08, 7.16, 7.24, 7.36], [0, 0, 1, 1, 2]),
    ],
)
def test_a_video_shows_the_frame_nearest_in_time(
    tmp_path: Path, fps: float, num_frames: int, times: list[float] | None, expected: list[int]
) -> None:
    path = describe(tmp_path, cameras={"front": "videos/front.mp4"})
    write_video(path / "episodes/a/videos/front.mp4", num_frames, fps)
    write_csv(path / "episodes/a/steps.csv", columns(5) | ({} if times is None else {"timestamp": times}))
    frames = open_source(path).read(0, np.arange(5), np.arange(1), ("front",)).images["front"]
    np.testing.assert_allclose(frames.mean((1, 2, 3)) / 10, expected, atol=0.25)


def test_a_video_that_is_too_short_or_broken_is_named(tmp_path: Path) -> None:
    path = describe(tmp_path, cameras={"front": "front.mp4"})
    write_video(path / "episodes/a/front.mp4", 3, 10.0)
    write_csv(path / "episodes/a/steps.csv", columns(5))
    source = open_source(path)
    assert len(source.read(0, np.arange(3), np.arange(5), ("front",)).images["front"]) == 3
    with pytest.raises(DataError, match=r"a/front.mp4: no frame at 0.400 s"):
        source.read(0, np.array([4]), np.arange(1), ("front",))
    (path / "episodes/a/front.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a/front.mp4: not readable as video"):
        open_source(path)


@pytest.mark.parametrize("suffix", READERS)
def test_tables_of_every_kind_mean_the_same(folder: Path, suffix: str) -> None:
    episode, table = folder / "episodes" / "2", columns(3, 2)
    expected = open_source(folder).read_episode(0).steps
    (episode / "steps.csv").unlink()
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    write: dict[str, Callable[[Path], Any]] = {
        ".csv": lambda file: file.write_text("\ufeff" + "vx; ".replace(";", ",") + "vy , battery\r\n" + "\r\n".join(
            f"{row['vx']}, {row['vy']},{row['battery']}" for row in rows) + "\r\n\r\n", encoding="utf-8"),
        ".json": lambda file: file.write_text(json.dumps(table)),
        ".jsonl": lambda file: file.write_text("\n".join(map(json.dumps, rows)) + "\n\n"),
        ".parquet": lambda file: pq.write_table(pa.table(table), file),
    }  # fmt: skip
    write[suffix](episode / f"steps{suffix}")
    found = open_source(folder).read_episode(0).steps
    np.testing.assert_array_equal(found.actions, expected.actions)
    np.testing.assert_array_equal(found.proprio, expected.proprio)


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(-9, 9)), min_size=1, max_size=5))
def test_json_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int]]) -> None:
    file = tmp_path_factory.getbasetemp() / "steps.json"
    file.write_text(json.dumps([{"a": a, "b": b} for a, b in rows]))
    np.testing.assert_array_equal(read_table(file).numbers(("b", "a")), [(b, a) for a, b in rows])


def test_instructions_come_from_the_episode_the_column_or_the_dataset(folder: Path) -> None:
    table = columns(3) | {"said": ["turn left"] * 3}
    write_csv(folder / "episodes/2/steps.csv", table)
    write_csv(folder / "episodes/10/steps.csv", columns(12) | {"said": ["stop"] * 12})
    (folder / "episodes/10/episode.json").write_text('{"instruction": "Öffne die Tür", "task": "door"}')
    changes = {"instruction": None, "instruction_column": "said"}
    source = open_source(describe(folder, **changes))
    assert [source.instruction(i) for i in (0, 1)] == ["turn left", "Öffne die Tür"]
    assert [source.task(i) for i in (0, 1)] == ["turn left", "door"]
    table["said"][1] = "turn right"
    write_csv(folder / "episodes/2/steps.csv", table)
    with pytest.raises(DataError, match=r"2/steps.csv: column 'said': an episode has one instruction"):
        open_source(folder)
    with pytest.raises(DataError, match=r"2: no instruction; write one into 2/episode.yaml"):
        open_source(describe(folder, instruction=None))
    with pytest.raises(DataError, match=r"dataset.yaml: instruction is 'a' and instruction_column 'said'; give one"):
        open_source(describe(folder, instruction="a", instruction_column="said"))


def test_an_episode_may_lack_a_camera(folder: Path) -> None:
    for file in (folder / "episodes/2/front").iterdir():
        file.rename(folder / "episodes/2" / f"side_{file.name}")
    source = open_source(describe(folder, cameras={"front": "front", "side": "side_*.png"}))
    assert set(source.read_episode(0).steps.images) == {"side"}
    assert set(source.read_episode(1).steps.images) == {"front"}
    np.testing.assert_array_equal(source.read_episode(0).steps.images["side"][2], picture(2, 2))
    with pytest.raises(DataError, match="no episode has frames of camera 'wrist': unknown file 'frnt'"):
        open_source(describe(folder, cameras={"wrist": "frnt"}))


def test_names_that_are_times_are_only_ordered(tmp_path: Path) -> None:
    path = describe(tmp_path)
    write_episode(path / "episodes/a", 0)
    write_csv(path / "episodes/a/steps.csv", columns(3))
    for step, name in enumerate(("99.50", "100.20", "101.00")):
        Image.fromarray(picture(step)).save(path / "episodes/a/front" / f"t_{name}.png")
    frames = open_source(path).read_episode(0).steps.images["front"]
    assert frames[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_jpeg_grey_and_alpha_pictures_become_rgb(tmp_path: Path) -> None:
    path = describe(tmp_path)
    write_episode(path / "episodes/a", 0)
    write_csv(path / "episodes/a/steps.csv", columns(3))
    for step, (mode, suffix) in enumerate((("RGB", "JPG"), ("L", "png"), ("RGBA", "png"))):
        Image.new(mode, (6, 4), "white").save(path / "episodes/a/front" / f"{step}.{suffix}")
    assert (open_source(path).read_episode(0).steps.images["front"] == 255).all()


DAMAGES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("a frame is missing", lambda p: (p / "episodes/10/front/frame_5.png").unlink(),
     r"front/frame_6.png: frame 5 is missing before it"),
    ("the last frame is missing", lambda p: (p / "episodes/2/front/000002.png").unlink(),
     r"episodes/2: camera 'front' has 2 pictures in 'front', but steps.csv has 3 rows"),
    ("rows are missing", lambda p: write_csv(p / "episodes/2/steps.csv", columns(2)), r"has 3 pictures .* has 2 rows"),
    ("no table", lambda p: (p / "episodes/2/steps.csv").unlink(), r"episodes/2: expected one table, .* found none"),
    ("two tables", lambda p: (p / "episodes/2/steps.json").write_text("[]"), r"found steps.csv and steps.json"),
    ("two notes", lambda p: [(p / f"episodes/2/episode.{e}").write_text("{}") for e in ("yaml", "json")],
     r"2: has episode.yaml and episode.json"),
    ("a note's key", lambda p: (p / "episodes/2/episode.yaml").write_text("instructoin: x"),
     r"2/episode.yaml: unknown key 'instructoin'; did you mean 'instruction'"),
    ("no number", lambda p: write_csv(p / "episodes/2/steps.csv", columns(3) | {"vy": [0, "left", 1]}),
     r"2/steps.csv, step 1: column 'vy' is 'left', expected a number"),
    ("no entry", lambda p: write_csv(p / "episodes/2/steps.csv", columns(3) | {"vy": [0, 1, ""]}),
     r"step 2: column 'vy' is '', expected a number"),
    ("a column", lambda p: write_csv(p / "episodes/2/steps.csv", {"v_x": [0] * 3, "vy": [0] * 3, "battery": [0] * 3}),
     r"2/steps.csv: unknown column 'vx'; did you mean 'v_x'"),
    ("a ragged row", lambda p: (p / "episodes/2/steps.csv").write_text("vx,vy,battery\n1,2,3\n1,2\n"),
     r"2/steps.csv, line 3: 2 entries, expected 3"),
    ("a name twice", lambda p: (p / "episodes/2/steps.csv").write_text("vx,vy,vx\n1,2,3\n"),
     r"2/steps.csv, line 1: expected different names"),
    ("an empty table", lambda p: (p / "episodes/2/steps.csv").write_text("vx,vy,battery\n"), r"steps.csv: has no row"),
    ("time runs back", lambda p: write_csv(p / "episodes/2/steps.csv", columns(3) | {"timestamp": [0, 0.1, 0.1]}),
     r"2/steps.csv, step 2: timestamp 0.1 does not come after 0.1"),
    ("milliseconds", lambda p: write_csv(p / "episodes/2/steps.csv", columns(3) | {"timestamp": [0, 100, 200]}),
     r"timestamps are 100 s apart, but control_hz = 10 means 0.1 s"),
    ("a binary table", lambda p: (p / "episodes/2/steps.csv").write_bytes(b"\xff\xfe\x00"), r"not readable as csv"),
    ("a damaged picture", lambda p: (p / "episodes/2/front/000000.png").write_bytes(b"\x89PNG"),
     r"front/000000.png: not readable as a picture"),
    ("an unknown key", lambda p: describe(p, camera={}), r"dataset.yaml: unknown key 'camera'; did you mean 'cameras'"),
    ("a missing key", lambda p: describe(p, action_space={k: SPACE[k] for k in SPACE if k != "frame"}),
     r"dataset.yaml: action_space.frame is missing"),
    ("a dimension's key", lambda p: describe(p, action_space=SPACE | {"dimensions": [{"name": "x", "unit": "m"}]}),
     r"action_space.dimensions\[0\].low is missing"),
    ("a wrong choice", lambda p: describe(p, action_space=SPACE | {"frame": "wrld"}),
     r"dataset.yaml: action_space.frame: expected one of .*did you mean 'world'"),
    ("a wrong range", lambda p: describe(p, action_space=SPACE | {"control_hz": 0}),
     r"dataset.yaml: .*control_hz must be positive"),
    ("no YAML", lambda p: (p / "dataset.yaml").write_text("a: [1"), r"dataset.yaml:\d+: not valid YAML"),
    ("a camera's place", lambda p: describe(p, cameras={"front": 3}),
     r"dataset.yaml: cameras.front: expected a folder"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), [pair[1:] for pair in DAMAGES], ids=[name for name, *_ in DAMAGES])
def test_what_is_wrong_is_named_when_the_dataset_is_opened(
    folder: Path, damage: Callable[[Path], Any], message: str
) -> None:
    open_source(folder)  # the kept index must not hide what is damaged later
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        open_source(folder)
    assert str(folder) in str(error.value)


def test_what_breaks_later_is_named_when_it_is_read(folder: Path) -> None:
    source = open_source(folder)
    Image.fromarray(picture(0, size=(9, 9))).save(folder / "episodes/2/front/000001.png")
    with pytest.raises(DataError, match=r"000001.png: expected height and width \(4, 6\), got \(9, 9\)"):
        source.read(0, np.array([1]), np.array([0]), ("front",))
    (folder / "episodes/2/front/000002.png").unlink()
    assert source.read(0, np.array([0]), np.array([0]), ("front",)).images["front"].shape == (1, 4, 6, 3)
    fresh = pickle.loads(pickle.dumps(source))
    with pytest.raises(DataError, match=r"camera 'front' has 2 pictures for 3 rows"):
        fresh.read(0, np.array([0]), np.array([0]), ("front",))
    write_csv(folder / "episodes/10/steps.csv", columns(4))
    with pytest.raises(DataError, match=r"10/steps.csv: 4 rows, but 12 when the dataset was opened"):
        source.read_episode(1)


def test_numbers_that_are_not_finite_are_named(folder: Path) -> None:
    write_csv(folder / "episodes/2/steps.csv", columns(3) | {"vy": [0, "nan", 0]})
    source = open_source(folder)
    with pytest.raises(DataError, match=r"episodes/2, step 1: action 'vy' is nan"):
        source.read_episode(0)
    with pytest.raises(DataError, match="has 3 steps, asked for"):
        source.read(0, np.array([3]), np.array([0]), ())
    with pytest.raises(DataError, match="unknown camera 'frnt'; did you mean 'front'"):
        source.read(0, np.array([0]), np.array([0]), ("frnt",))


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no dataset.yaml"):
        open_source(tmp_path, format="folder")
    with pytest.raises(DataError, match=r"episodes: expected a folder per episode"):
        open_source(describe(tmp_path))


def test_windows_are_made_of_it(folder: Path, build: Callable[..., BaseTaskDataset]) -> None:
    windows = build(open_source(folder), window_size=2, fwd_pred_next_n=3, cameras=("front",))
    assert len(windows) == 15
    first = windows[3]  # step 0 of the second episode: nothing comes before it
    assert first["image_mask"].tolist() == [[False], [True]]
    assert first["images"][1, 0, :, 0, 0].tolist() == [0, 3, 200]
    assert windows[14]["action_mask"].tolist() == [[True, True, False], [True, False, False]]


def test_the_second_opening_reads_no_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_source(folder)
    opened: list[Path] = []
    original = READERS[".csv"]
    monkeypatch.setitem(READERS, ".csv", lambda path: (opened.append(path), original(path))[1])
    assert open_source(folder).fingerprint == before.fingerprint
    assert opened == []
    write_csv(folder / "episodes/2/steps.csv", columns(3, 5))
    open_source(folder)
    assert [path.parent.name for path in opened] == ["2"]
