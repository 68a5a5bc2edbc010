"""Pages of a dataset: what they hold, that texts are escaped, and that nothing is loaded from elsewhere."""

import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.view import write_view
from robovlms.data.view_curves import HEIGHT, LEFT, RIGHT, Curve, draw_curve
from robovlms.data.view_episode import MOST_FRAMES, encode_jpeg, read_episode_view
from robovlms.errors import ConfigError, DataError, MissingDependencyError, StatisticsMissingError

ATTACK = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)> & ${style}"
SPACE = ActionSpace(
    dimensions=(
        ActionDimension(name="x", unit="m", low=-1.0, high=1.0),
        ActionDimension(name=f"y{ATTACK}", unit=ATTACK, low=-1.0, high=1.0),
        ActionDimension(name="claw", unit="1", low=0.0, high=1.0, kind="gripper"),
    ),
    frame="tcp",
    is_delta=True,
    gripper_opens="positive",
    control_hz=10.0,
)


class Synthetic(EpisodeSource):
    """Episodes whose frame of step s has the level s; texts as they are given."""

    def __init__(self, path: Path, lengths=(4, 300, 1), text: str = "push the box") -> None:
        self.path, self._lengths, self.text = path, np.array(lengths), text
        self.action_space, self.proprio_names = SPACE, ("joint_0",)
        sizes = {"static": (16, 24), "wrist": (8, 8)}
        self.cameras = tuple(CameraSpec(name=n, height=h, width=w, source="test") for n, (h, w) in sizes.items())
        self.provenance = {"simulator": text}
        self.decoded: list[int] = []
        self.bad: set[int] = set()
        self.without_wrist: set[int] = set()

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    @property
    def fingerprint(self) -> str:
        return "0" * 64

    @property
    def statistics(self):
        raise StatisticsMissingError(f"no statistics; {self.text}")

    def task(self, episode: int) -> str:
        return f"task {self.text}"

    def instruction(self, episode: int) -> str:
        return self.text

    def file(self, episode: int) -> Path:
        return self.path / f"{episode}.bin"

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        if episode in self.bad:
            raise DataError(f"episode {episode} is damaged: {self.text}")
        present = [c for c in self.cameras if c.name in cameras]
        present = [c for c in present if not (c.name == "wrist" and episode in self.without_wrist)]
        self.decoded += frames.tolist() if cameras else []
        level = frames.astype(np.uint8)[:, None, None, None]
        images = {c.name: np.broadcast_to(level, (len(frames), c.height, c.width, 3)).copy() for c in present}
        step = steps.astype(np.float32)
        actions = np.stack([step / 10, -step / 1000, step % 2], axis=1)
        return Steps(images=images, proprio=frames.astype(np.float32)[:, None], actions=actions)


class Page(HTMLParser):
    """Elements of a page, its text, and the data of its script."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        is_script = bool(self.tags) and self.get_starttag_text().startswith("<script") and self.cdata_elem == "script"
        (self.scripts if is_script else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])


def levels(jpegs: list[str]) -> list[int]:
    """Grey level of pictures as the page holds them."""
    import base64

    return [int(np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg)))).mean().round()) for jpeg in jpegs]


def test_an_index_and_a_page_per_episode(tmp_path):
    source = Synthetic(tmp_path / "kitchen")
    index = write_view(source, tmp_path / "out")
    assert index == tmp_path / "out" / "index.html"
    pages = [f"episode_00000{i}.html" for i in range(3)]
    assert sorted(file.name for file in index.parent.iterdir()) == [*pages, "index.html"]
    page = Page(index)
    assert [value for name, value in page.attributes if name == "href"] == [p for p in pages for _ in range(2)]
    assert "3 episodes, 305 steps, 0.5 min at 10 Hz" in page.text
    assert "static 24×16, wrist 8×8" in page.text
    assert "0 task push the box push the box 4 0.4" in page.text
    assert "no statistics; push the box" in page.text
    assert page.tags.count("img") == 4 + 6 + 1, "six thumbnails, or as many as there are steps"


def test_a_page_holds_frames_and_numbers_of_its_episode(tmp_path):
    write_view(Synthetic(tmp_path / "kitchen"), tmp_path / "out")
    page = Page(tmp_path / "out" / "episode_000000.html")
    assert "Episode 0 of kitchen · task task push the box · 4 steps, 0.4 s at 10 Hz" in page.text
    assert "frames shown" not in page.text
    data = page.data
    assert data["shown"] == [0, 1, 2, 3]
    assert [levels(frames) for frames in data["frames"]] == [[0, 1, 2, 3]] * 2
    assert data["values"] == [[0, 0.1, 0.2, 0.3], [0, -0.001, -0.002, -0.003], [0, 1, 0, 1], [0, 1, 2, 3]]
    assert (data["length"], data["hz"], data["interval_ms"]) == (4, 10, 100)
    assert page.tags.count("svg") == 4
    assert "x [m]" in page.text
    assert "gripper, high opens · declared 0 … 1 · min 0, mean 0.5, max 1 · std 0.5" in page.text


def test_a_long_episode_shows_some_frames_and_says_so(tmp_path):
    source = Synthetic(tmp_path / "kitchen")
    write_view(source, tmp_path / "out")
    page = Page(tmp_path / "out" / "episode_000001.html")
    assert f"{MOST_FRAMES} of 300 frames shown, evenly spread" in page.text
    shown = page.data["shown"]
    assert (len(shown), shown[0], shown[-1]) == (MOST_FRAMES, 0, 299)
    assert set(np.diff(shown)) == {2, 3}
    assert all(len(frames) == MOST_FRAMES for frames in page.data["frames"])
    assert all(len(values) == 300 for values in page.data["values"]), "curves are of every step"
    assert page.data["interval_ms"] == round(100 * 299 / 119)
    assert len(source.decoded) == 4 + MOST_FRAMES + 1, "no frame is decoded that is not shown"
    assert "200 outside" not in page.text
    assert "289 outside" in page.text, "0.1 s each from 1.1 on leave [-1, 1]"


def test_an_episode_of_one_step(tmp_path):
    write_view(Synthetic(tmp_path / "kitchen", (1,)), tmp_path / "out")
    page = Page(tmp_path / "out" / "episode_000000.html")
    assert page.data["shown"] == [0]
    assert "nan" not in page.source.lower().replace("nant", "")


def test_texts_of_the_dataset_are_escaped(tmp_path):
    for source, index in (
        (Synthetic(tmp_path / "plain"), "plain"),
        (Synthetic(tmp_path / "evil", text=ATTACK), "evil"),
    ):
        source.bad = {2}
        write_view(source, tmp_path / "out" / index)
    for name in ("index.html", "episode_000000.html"):
        plain, evil = Page(tmp_path / "out" / "plain" / name), Page(tmp_path / "out" / "evil" / name)
        assert evil.tags == plain.tags, "a text adds no element"
        assert {key for key, _ in evil.attributes} == {key for key, _ in plain.attributes}, "and no attribute"
        assert " ".join(ATTACK.split()) in evil.text, "it is shown as it is"


def test_no_page_loads_anything(tmp_path):
    write_view(Synthetic(tmp_path / "kitchen"), tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        page = Page(file)
        assert not {"link", "iframe", "object"} & set(page.tags)
        for name, value in page.attributes:
            if name in ("src", "href", "srcset", "action"):
                assert value.startswith("data:image/jpeg;base64,") or re.fullmatch(r"\w+\.html", value), value
        assert not re.search(r"https?:|//\w|@import|url\(|fetch\(", re.sub(r"[A-Za-z0-9+/=]{60,}", "", page.source))


def test_korean_instructions(tmp_path):
    index = write_view(Synthetic(tmp_path / "부엌", (2,), text="빨간 블록을 왼쪽으로 밀어"), tmp_path / "out")
    for file in (index, tmp_path / "out" / "episode_000000.html"):
        assert "빨간 블록을 왼쪽으로 밀어" in Page(file).text
        assert "부엌" in Page(file).text
        assert b'<meta charset="utf-8">' in file.read_bytes()[:120]


def test_the_same_dataset_gives_the_same_bytes_and_replaces_an_older_view(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    write_view(Synthetic(tmp_path / "kitchen"), out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    write_view(Synthetic(tmp_path / "kitchen"), out, num_episodes=1)
    assert sorted(file.name for file in out.iterdir()) == ["episode_000000.html", "index.html"]
    write_view(Synthetic(tmp_path / "kitchen"), other)
    assert {file.name: file.read_bytes() for file in other.iterdir()} == before


@pytest.mark.parametrize(("num_episodes", "shown"), [(1, [0]), (2, [0, 20]), (3, [0, 10, 20]), (50, list(range(21)))])
def test_episodes_are_evenly_spread(tmp_path, num_episodes, shown):
    index = write_view(Synthetic(tmp_path / "kitchen", (2,) * 21), tmp_path / "out", num_episodes=num_episodes)
    files = [file.name for file in sorted(index.parent.glob("episode_*"))]
    assert files == [f"episode_{number:06}.html" for number in shown]
    assert ("All of them." if num_episodes == 50 else f"{num_episodes} of 21, evenly spread.") in Page(index).text


def test_an_episode_that_cannot_be_read_is_a_line_of_the_index(tmp_path):
    source = Synthetic(tmp_path / "kitchen")
    source.bad = {1}
    index = write_view(source, tmp_path / "out")
    assert "1 cannot be read: episode 1 is damaged: push the box" in Page(index).text
    assert not (tmp_path / "out" / "episode_000001.html").exists()
    source.bad = {0, 1, 2}
    with pytest.raises(DataError, match="none of 3 episodes can be read; the first: episode 0 is damaged"):
        write_view(source, tmp_path / "out")


def test_a_missing_camera_is_named(tmp_path):
    source = Synthetic(tmp_path / "kitchen")
    source.without_wrist = {0}
    write_view(source, tmp_path / "out")
    page = Page(tmp_path / "out" / "episode_000000.html")
    assert "not recorded in this episode: wrist" in page.text
    assert len(page.data["frames"]) == 1


@pytest.mark.parametrize(
    ("out", "num_episodes", "error", "message"),
    [
        ("full", 1, ConfigError, "holds 'notes.txt', which no view writes; name an empty or a new folder"),
        ("file", 1, ConfigError, "expected a folder, that is a file"),
        ("new", 0, ConfigError, "--episodes: expected at least 1, got 0"),
    ],
)
def test_what_is_refused(tmp_path, out, num_episodes, error, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index.html").write_text("mine")
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(error, match=re.escape(message)):
        write_view(Synthetic(tmp_path / "kitchen"), tmp_path / out, num_episodes=num_episodes)
    assert (tmp_path / "full" / "index.html").read_text() == "mine"


def test_a_dataset_without_episodes_is_refused(tmp_path):
    with pytest.raises(DataError, match="no episode to show"):
        write_view(Synthetic(tmp_path / "kitchen", ()), tmp_path / "out")


# Parts


def drawn_path(curve: Curve) -> str:
    (found,) = re.findall(r'class="curve" d="([^"]*)"', draw_curve(curve))
    return found


def test_a_curve_by_hand():
    svg = draw_curve(Curve(name="x", values=np.array([-1.0, 0.0, 1.0]), unit="m", bounds=(-1.0, 1.0), note="arm"))
    middle = (LEFT + RIGHT) / 2
    assert f'd="M{LEFT},70L{middle:g},38L{RIGHT},6"' in svg
    assert f'<rect class="range" x="{LEFT}" y="6" width="{RIGHT - LEFT}" height="64"/>' in svg
    assert f'y2="{HEIGHT}"' in svg


def test_a_gripper_is_drawn_in_steps():
    assert drawn_path(Curve(name="g", values=np.array([0.0, 1.0]), is_step=True)) == f"M{LEFT},70H{RIGHT}V6"


def test_a_curve_has_a_gap_where_it_is_not_finite_and_says_so():
    curve = Curve(name="x", values=np.array([0.0, 1.0, np.nan, np.inf, 0.0, 1.0]), bounds=(0.0, 0.5))
    assert drawn_path(curve).count("M") == 2
    assert "2 outside, 2 not finite" in draw_curve(curve)
    nothing = draw_curve(Curve(name="x", values=np.array([np.nan, np.nan])))
    assert 'class="curve" d=""' in nothing
    assert "2 not finite" in nothing


def test_a_range_that_is_far_wider_than_the_data_is_cut():
    svg = draw_curve(Curve(name="x", values=np.array([0.0, 0.1]), bounds=(-1.0, 1.0)))
    assert 'y="6" width="542" height="64"' in svg
    half = draw_curve(Curve(name="x", values=np.array([-0.1, 0.1]), bounds=(0.0, 9.0)))
    assert 'y="6" width="542" height="32"' in half, "only the upper half is within the range"


def test_frames_are_jpeg_of_at_most_480_pixels():
    picture = Image.open(io.BytesIO(encode_jpeg(np.full((600, 960, 3), 90, np.uint8))))
    assert (picture.format, picture.size) == ("JPEG", (480, 300))
    small = np.full((20, 30, 3), (200, 90, 10), np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(small))))
    assert decoded.shape == (20, 30, 3)
    assert np.abs(decoded.astype(int) - small).max() <= 3


def test_a_dataset_on_disk_can_be_viewed(dataset, tmp_path):
    from robovlms.data.sources.lerobot import LeRobotSource

    index = write_view(LeRobotSource(dataset), tmp_path / "out", num_episodes=2)
    page = Page(index)
    assert "action gripper gripper [1] -1 … 1" in page.text
    assert "proprio joint_1" in page.text
    episode = read_episode_view(LeRobotSource(dataset), 3)
    assert (len(episode), episode.instruction, list(episode.frames)) == (9, "please push", ["static"])


# Rerun


def test_rerun_that_is_not_installed_is_named_before_anything_is_removed(tmp_path, monkeypatch):
    write_view(Synthetic(tmp_path / "kitchen"), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'robovlms[viz]'")):
        write_view(Synthetic(tmp_path / "kitchen"), tmp_path / "out", use_rerun=True)
    assert (tmp_path / "out" / "index.html").exists()


def test_a_recording_for_rerun_holds_every_number(tmp_path):
    pytest.importorskip("rerun", reason="rerun is not installed; pip install 'robovlms[viz]'")
    chunk = pytest.importorskip("rerun.chunk", reason="this rerun cannot read recordings")
    source = Synthetic(tmp_path / "kitchen")
    write_view(source, tmp_path / "out", use_rerun=True)
    chunks = {c.entity_path: c for c in chunk.RrdReader(tmp_path / "out" / "episodes.rrd").store().stream()}
    rows = {path: c.num_rows for path, c in chunks.items() if path.startswith("/episode_000001/")}
    assert rows["/episode_000001/camera/static"] == rows["/episode_000001/camera/wrist"] == MOST_FRAMES
    assert rows["/episode_000001/instruction"] == 1
    assert sorted(rows.values()) == [1, MOST_FRAMES, MOST_FRAMES, 300, 300, 300, 300]
    table = chunks["/episode_000001/action/x"].to_record_batch()
    assert table["step"].to_pylist() == list(range(300))
    (numbers,) = (name for name in table.schema.names if "scalars" in name)
    assert np.allclose([one for (one,) in table[numbers].to_pylist()], np.arange(300) / 10)
