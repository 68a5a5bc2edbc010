"""Writer and reader together: what goes in comes out."""

import dataclasses
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.big_metadata import write_big_metadata

from robovlms.data.images import encode_png
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import DataError


def read_all(source: LeRobotSource, episode: int, cameras: tuple[str, ...] = ("static",)) -> Steps:
    steps = np.arange(source.lengths[episode])
    return source.read(episode, steps, steps, cameras)


def assert_same(read: Steps, written: Steps) -> None:
    np.testing.assert_array_equal(read.actions, written.actions)
    np.testing.assert_array_equal(read.proprio, written.proprio)
    assert read.images.keys() == written.images.keys()
    for name, frames in written.images.items():
        np.testing.assert_array_equal(read.images[name], frames)


def rewrite(file: Path, change: Callable[[pa.Table], pa.Table], **options: object) -> None:
    pq.write_table(change(pq.ParquetFile(file).read()), file, **options)


def set_value(column: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table.column(column).to_pylist()
        values[row] = value
        field = table.schema.get_field_index(column)
        return table.set_column(field, table.schema.field(field), pa.array(values, table.schema.field(field).type))

    return change


DATA = "data/chunk-000/file-000.parquet"


def test_round_trip(dataset: Path, make: SimpleNamespace) -> None:
    source, episodes = LeRobotSource(dataset), make.episodes()
    assert source.lengths.tolist() == [7, 3, 5, 9]
    assert (source.action_space, source.cameras, source.proprio_names) == (make.SPACE, (make.STATIC,), make.PROPRIO)
    assert source.provenance == {"simulator": "test", "noise": 0.1}
    for i, episode in enumerate(episodes):
        assert (source.task(i), source.instruction(i), source.seed(i)) == (episode.task, episode.instruction, 100 + i)
        assert_same(read_all(source, i), episode.steps)


def test_reads_only_what_is_asked_in_that_order(dataset: Path) -> None:
    steps = LeRobotSource(dataset).read(3, np.array([4, 4, 0]), np.array([8, 1]), ("static",))
    assert steps.images["static"][:, 0, 0, 1].tolist() == [4, 4, 0]
    assert steps.proprio[:, 1].tolist() == [4, 4, 0]
    np.testing.assert_allclose(steps.actions[:, 0], [0.08, 0.01])
    assert LeRobotSource(dataset).read(3, np.array([0]), np.array([0]), ()).images == {}


@pytest.mark.parametrize("row_group_size", [1, 4, 1000])
def test_row_groups_need_not_be_episodes(
    writable: Callable[..., Path], row_group_size: int, make: SimpleNamespace
) -> None:
    path = writable()
    rewrite(path / DATA, lambda table: table, row_group_size=row_group_size)
    source = LeRobotSource(path)
    for i, episode in enumerate(make.episodes()):
        assert_same(read_all(source, i), episode.steps)


def test_one_dimensional_features_are_scalars(tmp_path: Path, make: SimpleNamespace) -> None:
    episode = make.episode(0, 3)
    narrow = make.replaced(episode, actions=episode.steps.actions[:, :1], proprio=episode.steps.proprio[:, :1])
    space = dataclasses.replace(make.SPACE, dimensions=make.SPACE.dimensions[:1], gripper_opens="none")
    path = make.write(tmp_path / "one", [narrow], action_space=space, proprio_names=("joint",))
    assert pq.read_schema(path / DATA).field("action").type == pa.float32()
    assert_same(read_all(LeRobotSource(path), 0), narrow.steps)


def test_without_proprio(tmp_path: Path, make: SimpleNamespace) -> None:
    episode = make.replaced(make.episode(0, 3), proprio=None)
    source = LeRobotSource(make.write(tmp_path / "blind", [episode], proprio_names=()))
    assert read_all(source, 0).proprio is None
    assert source.proprio_names == ()
    assert set(source.statistics) == {"action"}


@pytest.mark.parametrize("storage", ["png", "video"])
def test_a_camera_may_be_missing_in_an_episode(tmp_path: Path, storage: str, make: SimpleNamespace) -> None:
    both, one = make.episode(0, 3, cameras=("static", "wrist")), make.episode(1, 3)
    path = make.write(tmp_path / "two", [one, both, one], cameras=(make.WRIST, make.STATIC), storage=storage)
    source = LeRobotSource(path)
    assert [camera.name for camera in source.cameras] == ["static", "wrist"]
    assert [list(read_all(source, i, ("static", "wrist")).images) for i in range(3)] == [
        ["static"],
        ["static", "wrist"],
        ["static"],
    ]


def test_files_roll_over(tmp_path: Path, make: SimpleNamespace) -> None:
    episodes = make.episodes()
    path = make.write(tmp_path / "small", episodes, data_file_mb=0.008)
    assert len(list((path / "data").rglob("*.parquet"))) > 1
    assert all(file.stat().st_size < 2 * 0.008 * 2**20 for file in (path / "data").rglob("*.parquet"))
    source = LeRobotSource(path)
    for i, episode in enumerate(episodes):
        assert_same(read_all(source, i), episode.steps)


def test_memory_stays_within_its_limit(dataset: Path, make: SimpleNamespace) -> None:
    limit = 6000  # bytes: fewer than two of the four episodes
    source = LeRobotSource(dataset, cache_mb=limit / 2**20)
    columns = source._columns
    seen = set()
    for i in (0, 1, 2, 3, 1, 0, 2):
        assert_same(read_all(source, i), make.episodes()[i].steps)
        assert source.num_cached_bytes <= limit
        assert source.num_cached_bytes == sum(
            values.nbytes for kept in (columns._numbers, columns._pictures) for values in kept.values()
        )
        seen.add(source.num_cached_bytes)
    assert max(seen) > 0
    assert LeRobotSource(dataset, cache_mb=0).num_cached_bytes == 0


def test_what_was_read_is_not_read_again(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = LeRobotSource(dataset)
    before = read_all(source, 0)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", None)
    assert_same(read_all(source, 0), before)


def test_pickles_without_open_files(dataset: Path, make: SimpleNamespace) -> None:
    source = LeRobotSource(dataset)
    read_all(source, 0)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.num_cached_bytes == 0
    assert_same(read_all(copy, 2), make.episodes()[2].steps)


def test_statistics(dataset: Path, make: SimpleNamespace) -> None:
    source, steps = LeRobotSource(dataset), [episode.steps for episode in make.episodes()]
    for name, parts in (("action", [s.actions for s in steps]), ("proprio", [s.proprio for s in steps])):
        values, found = np.concatenate(parts).astype(np.float64), source.statistics[name]
        np.testing.assert_allclose(found.mean, values.mean(0))
        np.testing.assert_allclose(found.std, values.std(0))
        assert (found.min, found.max) == (tuple(values.min(0)), tuple(values.max(0)))
        np.testing.assert_allclose(found.q01, np.quantile(values, 0.01, axis=0))
        np.testing.assert_allclose(found.q99, np.quantile(values, 0.99, axis=0))
        assert found.count == 24


def test_statistics_are_computed_where_they_are_missing(
    writable: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))
    path = writable(data_file_mb=0.008)
    expected = LeRobotSource(path).statistics
    (path / "meta/stats.json").write_text('{"action": {"min": [0], "max": [1]}}')
    found = LeRobotSource(path).statistics
    assert found.keys() == expected.keys() == {"action", "proprio"}
    for name, statistics in found.items():
        for field, values in dataclasses.asdict(statistics).items():
            np.testing.assert_allclose(values, getattr(expected[name], field), rtol=1e-9, err_msg=f"{name} {field}")


def test_numbers_come_file_by_file_without_pictures(
    writable: Callable[..., Path], make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = writable(data_file_mb=0.008)
    monkeypatch.setattr(LeRobotSource, "read", None)
    pieces = list(LeRobotSource(path).numbers())
    assert len(pieces) == len(list((path / "data").rglob("*.parquet"))) > 1
    steps = [episode.steps for episode in make.episodes()]
    for name, parts in (("action", [s.actions for s in steps]), ("proprio", [s.proprio for s in steps])):
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), np.concatenate(parts))
        assert pieces[0][name].dtype == np.float32


def test_numbers_that_are_not_finite_are_named(writable: Callable[..., Path]) -> None:
    path = writable()
    rewrite(path / DATA, set_value("action", 9, [0.0, np.nan, 0.0]))
    with pytest.raises(DataError, match=r"file-000.parquet: episode 1, step 2: action 'y' is nan"):
        list(LeRobotSource(path).numbers())


@pytest.mark.parametrize(
    ("frames", "steps"), [([7], [0]), ([0], [7]), ([-1], [0]), ([0], [-1])], ids=["frame", "step", "-frame", "-step"]
)
def test_steps_outside_the_episode(dataset: Path, frames: list[int], steps: list[int]) -> None:
    with pytest.raises(DataError, match="episode 0 has 7 steps"):
        LeRobotSource(dataset).read(0, np.array(frames), np.array(steps), ())


def test_unknown_camera(dataset: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'static'"):
        LeRobotSource(dataset).read(0, np.array([0]), np.array([0]), ("statik",))


@pytest.mark.parametrize(("column", "name"), [("action", "y"), ("observation.state", "joint_1")])
def test_nan_on_disk(writable: Callable[..., Path], column: str, name: str) -> None:
    path = writable()
    bad = {"action": [0.0, np.nan, 0.0], "observation.state": [0.0, np.inf]}[column]
    rewrite(path / DATA, set_value(column, 9, bad))  # row 9 = episode 1, step 2
    source = LeRobotSource(path)
    read_all(source, 0)
    with pytest.raises(DataError, match=rf"file-000.parquet: episode 1, step 2: {column} '{name}' is (nan|inf)"):
        read_all(source, 1)


def test_truncated_picture(writable: Callable[..., Path]) -> None:
    path = writable()
    picture = pq.ParquetFile(path / DATA).read()["observation.images.static"][9].as_py()["bytes"]
    rewrite(path / DATA, set_value("observation.images.static", 9, {"bytes": picture[:-30], "path": None}))
    with pytest.raises(DataError, match=r"file-000.parquet: episode 1, step 2, observation.images.static: not a read"):
        read_all(LeRobotSource(path), 1)


def test_picture_of_another_size(writable: Callable[..., Path]) -> None:
    path = writable()
    small = encode_png(np.zeros((4, 4, 3), np.uint8))
    rewrite(path / DATA, set_value("observation.images.static", 9, {"bytes": small, "path": None}))
    with pytest.raises(DataError, match=r"episode 1, step 2.*frame of shape \[4, 4, 3\], expected \[16, 16, 3\]"):
        read_all(LeRobotSource(path), 1)


@pytest.mark.parametrize("keep", [0, 100, 4000])
def test_truncated_parquet(writable: Callable[..., Path], keep: int) -> None:
    path = writable()
    (path / DATA).write_bytes((path / DATA).read_bytes()[:keep])
    with pytest.raises(DataError, match=r"file-000.parquet: not readable as parquet") as error:
        read_all(LeRobotSource(path), 0)
    assert "\n" not in str(error.value)


def test_damaged_row_group(writable: Callable[..., Path]) -> None:
    path = writable()
    data = bytearray((path / DATA).read_bytes())
    data[4:400] = bytes(396)
    (path / DATA).write_bytes(data)
    with pytest.raises(DataError, match=r"file-000.parquet: row group 0"):
        read_all(LeRobotSource(path), 0)


def test_episode_table_that_points_elsewhere(writable: Callable[..., Path]) -> None:
    path = writable()
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", set_value("dataset_from_index", 2, 9))
    with pytest.raises(DataError, match="row 9 belongs to episode 1, but meta/episodes says episode 2"):
        read_all(LeRobotSource(path), 2)


def test_missing_data_file(writable: Callable[..., Path]) -> None:
    path = writable()
    (path / DATA).unlink()
    with pytest.raises(DataError, match=r"file-000.parquet"):
        read_all(LeRobotSource(path), 0)


def test_where_several_instructions_are_listed_the_steps_decide(writable: Callable[..., Path]) -> None:
    path = writable()
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", set_value("tasks", 1, ["pull", "please push"]))
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", set_value("tasks", 2, []))
    instructions = [LeRobotSource(path).instruction(i) for i in range(4)]
    assert instructions == ["please reach", "please push", "please reach", "please push"]


@pytest.mark.parametrize("listed", [["please push"], ["please push", "please reach"]])
def test_an_instruction_that_changes_within_an_episode_is_refused(
    writable: Callable[..., Path], listed: list[str]
) -> None:
    path = writable()
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", set_value("tasks", 1, listed))
    rewrite(path / DATA, set_value("task_index", 9, 0))  # row 9 = episode 1, step 2
    source, message = LeRobotSource(path), "episode 1 has several instructions, task_index 1 first and 0 from step 2 on"
    read_all(source, 0)
    with pytest.raises(DataError, match=message):
        read_all(source, 1)
    if len(listed) > 1:
        with pytest.raises(DataError, match=message):
            source.instruction(1)


def test_task_index_without_instruction(writable: Callable[..., Path]) -> None:
    path = writable()
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", set_value("tasks", 0, []))
    for row in range(7):
        rewrite(path / DATA, set_value("task_index", row, 5))
    with pytest.raises(DataError, match=r"episode 0 has task_index 5, known are 0, 1"):
        LeRobotSource(path).instruction(0)


def test_what_a_window_needs_is_read_in_one_go(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, columns: list[str], **options: object) -> pa.Table:
        calls.append(columns)
        return original(self, group, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    read_all(LeRobotSource(dataset), 2)
    numbers = ["episode_index", "task_index", "action", "observation.state"]
    assert calls == [numbers, ["observation.images.static"]]


def test_episode_is_the_type_the_writer_takes(dataset: Path) -> None:
    source = LeRobotSource(dataset)
    episode = Episode(task=source.task(0), instruction=source.instruction(0), steps=read_all(source, 0))
    assert len(episode) == 7


def test_a_large_set_opens_at_once(tmp_path: Path) -> None:
    """20,000 episodes and 1,000,000 frames; the limits are wide, tests share the machine."""
    path = write_big_metadata(tmp_path / "big", 20_000)
    code = f"from data.big_metadata import measure_opening; print(measure_opening({str(path)!r}))"
    folders = [str(folder) for folder in Path(__file__).parents[1:3]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    cost = dict(re.findall(r"(\w+)=([\d.]+)", shown.stdout))
    assert float(cost["seconds"]) < 2
    assert float(cost["mib"]) < 200
    source = LeRobotSource(path)
    assert (len(source), int(source.lengths.sum())) == (20_000, 1_000_000)
    assert source.instruction(12_345) == "instruction number 12345"
    assert source.task(12_345) == "task 3"
    assert source.file(12_345) == path / "data/chunk-000/file-012.parquet"
    assert len(pickle.dumps(source)) < 5e6


def test_row_groups_with_many_pictures_are_small(tmp_path: Path, make: SimpleNamespace) -> None:
    """A window should not read an episode; 1.5 MB of pictures per camera and 32 steps here."""
    camera = make.STATIC.__class__(name="static", height=128, width=128, source="test")
    frames = np.random.default_rng(0).integers(0, 256, (100, 128, 128, 3), np.uint8)
    episode = make.replaced(make.episode(0, 100), images={"static": frames})
    path = make.write(tmp_path / "large", [episode], cameras=(camera,))
    metadata = pq.ParquetFile(path / DATA).metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(sizes) == 100
    assert max(sizes) * 128 * 128 * 3 <= 2**20
    assert len(sizes) == 5
    assert_same(read_all(LeRobotSource(path), 0), episode.steps)
