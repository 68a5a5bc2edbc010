import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import DataError


def digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("storage", ["png", "video"])
def test_the_same_episodes_give_the_same_bytes(tmp_path: Path, make: SimpleNamespace, storage: str) -> None:
    first, second = (digest(make.write(tmp_path / name, make.episodes(), storage=storage)) for name in "ab")
    assert first == second
    other = digest(make.write(tmp_path / "c", make.episodes()[::-1], storage=storage))
    assert other["data/chunk-000/file-000.parquet"] != first["data/chunk-000/file-000.parquet"]


def test_layout(dataset: Path) -> None:
    assert list(dataset.parent.iterdir()) == [dataset]  # no temporary folder is left
    assert set(digest(dataset)) == {
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/robovlms.json",
        "meta/episodes/chunk-000/file-000.parquet",
        "data/chunk-000/file-000.parquet",
    }
    info = json.loads((dataset / "meta/info.json").read_text())
    assert (info["codebase_version"], info["robot_type"], info["fps"]) == ("v3.0", "test", 10)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, 24, 2)
    assert info["splits"] == {"train": "0:4"}
    assert info["video_path"] is None
    image = {"dtype": "image", "shape": [16, 16, 3], "names": ["height", "width", "channels"]}
    assert info["features"]["observation.images.static"] == image
    assert info["features"]["action"] == {"dtype": "float32", "shape": [3], "names": ["x", "y", "gripper"]}


def test_data_has_one_row_group_per_episode(dataset: Path) -> None:
    file = pq.ParquetFile(dataset / "data/chunk-000/file-000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [7, 3, 5, 9]
    table = file.read()
    assert table["index"].to_pylist() == list(range(24))
    assert table["episode_index"].to_pylist() == [0] * 7 + [1] * 3 + [2] * 5 + [3] * 9
    assert table["frame_index"].to_pylist()[7:12] == [0, 1, 2, 0, 1]
    assert table["task_index"].to_pylist() == [0] * 7 + [1] * 3 + [0] * 5 + [1] * 9
    np.testing.assert_allclose(table["timestamp"].to_numpy()[:3], [0, 0.1, 0.2], rtol=1e-6)


def test_episode_table(dataset: Path) -> None:
    table = pq.ParquetFile(dataset / "meta/episodes/chunk-000/file-000.parquet").read()
    row = table.slice(1, 1).to_pylist()[0]
    expected = {"episode_index": 1, "tasks": ["please push"], "length": 3, "task_name": "push", "seed": 101}
    expected |= {"data/chunk_index": 0, "data/file_index": 0, "dataset_from_index": 7, "dataset_to_index": 10}
    expected |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, "stats/action/count": [3]}
    assert {name: row[name] for name in expected} == expected
    np.testing.assert_allclose(row["stats/action/max"], [0.02, 0, 1])
    assert np.shape(row["stats/observation.images.static/mean"]) == (3, 1, 1)


def test_tasks_are_indexed_by_instruction_for_pandas(dataset: Path) -> None:
    table = pq.ParquetFile(dataset / "meta/tasks.parquet").read()
    pandas = json.loads(table.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"]
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["please reach", "please push"]}


def test_picture_statistics_equal_those_of_the_pixels(dataset: Path, make: SimpleNamespace) -> None:
    pixels = np.concatenate([e.steps.images["static"] for e in make.episodes()]).reshape(-1, 3) / 255
    stats = json.loads((dataset / "meta/stats.json").read_text())["observation.images.static"]
    assert stats["count"] == [24]
    for name, expected in (("mean", pixels.mean(0)), ("std", pixels.std(0)), ("min", pixels.min(0))):
        np.testing.assert_allclose(np.ravel(stats[name]), expected, atol=1e-9)
    for name, q in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        expected = np.quantile(pixels, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(np.ravel(stats[name]), expected, atol=1e-9)


def test_nothing_is_there_before_finish(tmp_path: Path, make: SimpleNamespace) -> None:
    class Interrupted(Exception):
        pass

    def interrupted() -> None:
        with make.writer(tmp_path / "new") as writer:
            writer.add_episode(make.episode(0, 3))
            assert not (tmp_path / "new").exists()
            partial = list(tmp_path.iterdir())
            assert len(partial) == 1
            with pytest.raises(DataError, match="no dataset"):
                LeRobotSource(partial[0])
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_a_reader_accepts(tmp_path: Path, make: SimpleNamespace) -> None:
    make.writer(tmp_path / "new").add_episode(make.episode(0, 3))
    with pytest.raises(DataError, match="does not exist"):
        LeRobotSource(tmp_path / "new")
    assert make.write(tmp_path / "new", make.episodes()).is_dir()  # what is left does not stand in the way


def test_existing_folder_is_never_overwritten(dataset: Path, make: SimpleNamespace) -> None:
    before = digest(dataset)
    with pytest.raises(DataError, match="already exists"):
        make.writer(dataset)
    assert digest(dataset) == before


def test_no_episode(tmp_path: Path, make: SimpleNamespace) -> None:
    with pytest.raises(DataError, match="no episode was added"):
        make.write(tmp_path / "none", [])
    assert list(tmp_path.iterdir()) == []


def _nan_action(steps: SimpleNamespace) -> dict[str, object]:
    return {"actions": np.where(np.arange(5)[:, None] == 3, np.float32(np.nan), steps.actions)}


def _inf_proprio(steps: SimpleNamespace) -> dict[str, object]:
    return {"proprio": np.where(np.arange(5)[:, None] == 2, np.float32(np.inf), steps.proprio)}


BAD = {
    "nan action": (_nan_action, "episode 1, step 3: action 'x' is nan"),
    "infinite proprio": (_inf_proprio, "episode 1, step 2: proprio 'joint_0' is inf"),
    "action size": (
        lambda s: {"actions": s.actions[:, :2]},
        r"episode 1, action: expected shape \[5, 3\], got \[5, 2\]",
    ),
    "action dtype": (
        lambda s: {"actions": s.actions.astype(float)},
        "episode 1, action: expected float32, got float64",
    ),
    "action list": (lambda s: {"actions": s.actions.tolist()}, "episode 1, action: expected float32, got list"),
    "no proprio": (lambda s: {"proprio": None}, "episode 1, proprio: is missing"),
    "proprio steps": (lambda s: {"proprio": s.proprio[:4]}, "episode 1, proprio: .*it covers 4 of 5 steps"),
    "image dtype": (lambda s: {"images": {"static": s.images["static"] / 255}}, "camera 'static': expected uint8"),
    "image size": (lambda s: {"images": {"static": s.images["static"][:, :8]}}, r"camera 'static': .*\[5, 8, 16, 3\]"),
    "unknown camera": (lambda s: {"images": {"front": s.images["static"]}}, "camera 'front': the dataset has"),
    "empty": (lambda s: {"actions": s.actions[:0], "proprio": s.proprio[:0], "images": {}}, "episode 1: has no step"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_episode_is_refused_and_not_written(tmp_path: Path, make: SimpleNamespace, case: str) -> None:
    change, message = BAD[case]
    good = make.episode(0, 5)
    writer = make.writer(tmp_path / "new")
    writer.add_episode(good)
    with pytest.raises(DataError, match=message):
        writer.add_episode(make.replaced(good, **change(good.steps)))
    source = LeRobotSource(writer.finish())
    assert source.lengths.tolist() == [5]
    assert source.statistics["action"].count == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0.0}, "fps must be positive"),
        ({"provenance": {"path": Path()}}, "provenance cannot be written"),
        ({"double": True}, "camera names must be unique"),
        ({"odd": True}, "even height and width"),
    ],
)
def test_bad_arguments(tmp_path: Path, make: SimpleNamespace, changes: dict[str, object], message: str) -> None:
    odd = make.STATIC.__class__(name="odd", height=15, width=16, source="test")
    cases = {"double": {"cameras": (make.STATIC, make.STATIC)}, "odd": {"cameras": (odd,), "storage": "video"}}
    arguments = next((cases[name] for name in changes if name in cases), changes)
    with pytest.raises(DataError, match=message):
        make.writer(tmp_path / "new", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_fractional_rate(writable: Callable[..., Path]) -> None:
    path = writable(fps=12.5, storage="video")
    assert json.loads((path / "meta/info.json").read_text())["fps"] == 12.5
    assert len(LeRobotSource(path).read(3, np.arange(9), np.arange(9), ("static",)).images["static"]) == 9
