"""Corpora that were written without knowing the parser: their own consistency, the scoring, and the parser's gates."""

import copy
import importlib.util
import math
import random
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from robot.scoring import Report, is_right_box, must_stand, read, score, sign

DATA = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the public corpus is not beside the project")

VALUES = ["action_type", "linear_x", "linear_y", "angular_z", "target_object", "distance_m", "angle_deg", "speed"]
LABEL = [*VALUES, "unscored"]
FIELDS = ["id", "lang", "category", "source", "text", "sequence", "alternatives", "forbid", *LABEL]
BOX_FIELDS = ["id", "category", "text", "query", "image_width", "image_height", "valid", "expected_motion"]
BOX_FIELDS += ["linear_y", "linear_x", "angular_z", "target_object", "note"]
TYPES = {"move", "turn", "stop", "grab", "release", "point", "look", "navigate", "avoid", "unknown"}
MOVING = {"move", "turn", "navigate", "avoid"}
SOURCES = {"original", "calvin-style", "gpsr-style", "oxe-style", "r2r-style"}
TRAPS = ("not_base_motion", "keyword_inside_word", "statement_or_question", "edge")
SIMPLE = ("move", "turn", "stop", "negation", "grab", "release", "point_look", "navigate", "avoid", "compound")
MOTION = {"turn_left": (None, 1), "turn_right": (None, -1), "forward": (1, 0), "stop": (0, 0), "no_forward": (0, None)}
AT_LEAST = {
    "english": {"stop": 40, "negation": 40, "compound": 45, "traps": 60, "all": 320},
    "korean": {"stop": 40, "negation": 35, "compound": 35, "traps": 45, "all": 260},
}
CORPORA = {name: read(DATA / f"blind_{name}.jsonl") for name in AT_LEAST}
BOXES = read(DATA / "blind_boxes.jsonl")
STANDING = {"action_type": "unknown", "linear_x": 0.0, "linear_y": 0.0, "angular_z": 0.0}


def labels(line: dict[str, Any]) -> list[dict[str, Any]]:
    return [line, *(line["sequence"] or []), *line["alternatives"]]


@pytest.mark.parametrize("name", CORPORA)
def test_every_line_is_labelled_as_the_rules_say(name: str) -> None:
    for line in CORPORA[name]:
        assert sorted(line) == sorted(FIELDS), line["id"]
        assert line["lang"] == name[:2]
        assert line["source"] in SOURCES
        assert line["category"] in (*SIMPLE, *TRAPS)
        assert line["sequence"] is None or {key: line[key] for key in LABEL} == line["sequence"][0], line["id"]
        assert line["sequence"] is None or len(line["sequence"]) >= 2
        for pattern in line["forbid"]:
            assert set(pattern) <= {"linear_y", "angular_z"}
            assert set(pattern.values()) <= {-1, 1}
        for label in labels(line):
            check_label(label, line["id"])


def check_label(label: dict[str, Any], where: str) -> None:
    signs = label["linear_x"], label["linear_y"], label["angular_z"]
    kind = label["action_type"]
    assert set(LABEL) <= set(label), where
    assert set(label["unscored"]) <= set(VALUES[1:]), where
    assert kind in TYPES, where
    assert label["speed"] in ("slow", "normal", "fast"), where
    assert all(type(value) is int and value in (-1, 0, 1) for value in signs), where
    assert any(signs) or kind != "move", f"{where}: a move needs a direction"
    assert not any(signs) or kind in ("move", "turn"), f"{where}: {kind} has no sign of its own"
    assert kind != "turn" or signs[:2] == (0, 0), f"{where}: a turn is on the spot"
    assert kind != "turn" or signs[2] or "angular_z" in label["unscored"], where
    assert kind in MOVING or not {"linear_x", "linear_y", "angular_z"} & set(label["unscored"]), where
    for key in ("distance_m", "angle_deg"):
        value = label[key]
        assert value is None or (math.isfinite(value) and value > 0), where
    thing = label["target_object"]
    assert thing is None or (thing == thing.lower().strip() and not thing.startswith(("the ", "a ", "an "))), where


@pytest.mark.parametrize("name", CORPORA)
def test_texts_and_ids_are_unique_and_the_categories_are_as_wide_as_promised(name: str) -> None:
    lines = CORPORA[name]
    counts = Counter(line["category"] for line in lines)
    counts["traps"], counts["all"] = sum(counts[key] for key in TRAPS), len(lines)
    assert all(counts[key] >= number for key, number in AT_LEAST[name].items()), counts
    assert {line["source"] for line in lines} == SOURCES
    assert sum(line["sequence"] is not None for line in lines) >= AT_LEAST[name]["compound"]
    assert all(line["sequence"] for line in lines if line["category"] == "compound")
    assert all(line["action_type"] == "stop" for line in lines if line["category"] == "stop")
    assert len({line["id"] for line in lines}) == len({line["text"] for line in lines}) == len(lines)


def test_boxes_are_labelled_as_their_motion_says() -> None:
    assert len(BOXES) >= 60
    assert len({line["id"] for line in BOXES}) == len(BOXES)
    assert len({(line["text"], line["query"], line["image_width"]) for line in BOXES}) == len(BOXES)
    for line in BOXES:
        assert list(line) == BOX_FIELDS, line["id"]
        assert (line["linear_x"], line["angular_z"]) == MOTION[line["expected_motion"]]
        assert line["linear_y"] == 0
        assert line["valid"] == (line["category"] != "malformed") == (line["target_object"] is not None)
        assert line["valid"] or (line["expected_motion"] == "stop" and line["note"])
    assert sum(not line["valid"] for line in BOXES) >= 25
    assert {line["expected_motion"] for line in BOXES if line["valid"]} == set(MOTION)


@needs_reference
def test_no_line_is_one_of_the_public_corpus() -> None:
    public = {plain(line["text"]) for line in read(REFERENCE / "commands_public.jsonl")} - {""}
    mine = {plain(line["text"]): line["id"] for lines in CORPORA.values() for line in lines}
    assert [mine[text] for text in sorted(public & set(mine))] == []
    boxes = {(line["text"], line["query"]) for line in read(REFERENCE / "segmentation_public.jsonl")}
    assert not boxes & {(line["text"], line["query"]) for line in BOXES}


def plain(text: str) -> str:
    return " ".join(text.lower().strip(" .!?").split())


# --- scoring -----------------------------------------------------------------------------------------------------


def label(kind: str, x: int = 0, y: int = 0, yaw: int = 0, **rest: Any) -> dict[str, Any]:
    values = dict.fromkeys(LABEL) | {"action_type": kind, "linear_x": x, "linear_y": y, "angular_z": yaw}
    return values | {"speed": "normal", "unscored": []} | rest


def one_line(answer: dict[str, Any], category: str = "move", **rest: Any) -> dict[str, Any]:
    line = {"id": "a", "lang": "en", "category": category, "sequence": None, "alternatives": [], "forbid": []}
    return {**line, **answer, **rest}


def test_scores_of_one_line_by_hand() -> None:
    gold = [one_line(label("turn", yaw=1, angle_deg=90.0))]
    right = score(gold, {"a": [label("turn", angle_deg=90.4) | {"angular_z": 0.8}]})
    assert right.right == Counter(type=1, signs=1, target=1, distance=1, angle=1, speed=1, core=1)
    assert right.core == {("en", "move"): (1, 1)}
    opposite = score(gold, {"a": [label("turn", angle_deg=92.0) | {"angular_z": -0.8}]})
    assert (opposite.right["core"], opposite.right["angle"], opposite.wrong_way) == (0, 0, ["a"])
    assert score(gold, {}).right["core"] == 0
    assert score(gold, {}).unsafe == []
    nothing = score(gold, {"a": [label("turn") | {"angular_z": math.nan}]})
    assert nothing.non_finite == ["a"]
    assert nothing.right["core"] == 0


def test_safety_counts_look_at_every_action() -> None:
    stop = [one_line(label("stop"), category="stop")]
    assert score(stop, {"a": [label("unknown")]}).missed_stop == ["a"]
    assert score(stop, {"a": [label("stop"), label("move", x=1)]}).unsafe == ["a"]
    assert score(stop, {"a": [label("stop")]}).unsafe == []
    may_move = one_line(label("unknown"), alternatives=[label("move", x=1)])
    assert must_stand(stop[0])
    assert not must_stand(may_move)
    avoid = one_line(label("avoid", unscored=["angular_z", "linear_y"]), forbid=[{"angular_z": 1}, {"linear_y": 1}])
    assert score([avoid], {"a": [label("avoid") | {"angular_z": 0.5}]}).wrong_way == ["a"]
    assert score([avoid], {"a": [label("avoid") | {"angular_z": -0.5}]}).wrong_way == []


def test_a_sequence_needs_as_many_actions_in_order() -> None:
    steps = [label("turn", yaw=1), label("stop")]
    gold = [one_line(steps[0], sequence=steps)]
    assert score(gold, {"a": steps}).sequences == (1, 1)
    for wrong in (steps[::-1], steps[:1], [*steps, label("stop")]):
        assert score(gold, {"a": wrong}).sequences == (0, 1)


def test_an_alternative_counts_whole() -> None:
    gold = [one_line(label("stop", target_object="cup"), alternatives=[label("unknown")])]
    assert score(gold, {"a": [label("unknown")]}).right["core"] == 1
    assert score(gold, {"a": [label("look")]}).right["core"] == 0


def test_signs() -> None:
    assert [sign(value) for value in (0.2, -3, 1e-7, math.nan, -math.inf, None, "x")] == [
        1,
        -1,
        0,
        None,
        None,
        None,
        None,
    ]


def test_boxes_by_hand() -> None:
    turn = {"valid": True, "linear_x": None, "linear_y": 0, "angular_z": 1, "target_object": "cup"}
    assert is_right_box(turn, {"angular_z": 0.3, "linear_x": 0.1, "target_object": "cup"})
    assert not is_right_box(turn, {"angular_z": 0.3, "target_object": "plate"})
    assert not is_right_box(turn, {"angular_z": 0.3, "linear_x": math.nan, "target_object": "cup"})
    broken = {"valid": False}
    assert is_right_box(broken, label("stop"))
    assert not is_right_box(broken, label("unknown"))
    assert not is_right_box(broken, label("stop") | {"linear_y": math.nan})


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score_commands", REFERENCE / "score_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spoiled(actions: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Right answers with a fault here and there."""
    actions = [{key: value for key, value in one.items() if key != "unscored"} for one in copy.deepcopy(actions)]
    for one in actions:
        if rng.random() < 0.6:
            key = rng.choice(VALUES)
            choices = {
                "action_type": sorted(TYPES),
                "speed": ["slow", "fast"],
                "target_object": [None, "the cup", "A box"],
            }
            one[key] = rng.choice(choices.get(key, [0, 0.4, -0.4, 1e-7, 1.004, 90.5, math.nan]))
    if rng.random() < 0.2:
        actions = rng.choice([[], actions[:1], [*actions, actions[0]], actions[::-1]])
    return actions


def as_reference(report: Report) -> dict[str, Any]:
    """A report in the reference's words."""
    shares = {name: round(report.share(name), 4) for name in report.right}
    lists = {
        "unsafe_ids": report.unsafe,
        "missed_stop_ids": report.missed_stop,
        "wrong_way_ids": sorted(report.wrong_way),
    }
    return shares | lists | {
        "sequence_exact": "{}/{}".format(*report.sequences),
        "non_finite": len(report.non_finite),
        "by_category": {f"{lang}:{name}": f"{a}/{n}" for (lang, name), (a, n) in sorted(report.core.items())},
    }  # fmt: skip


@needs_reference
@pytest.mark.parametrize("seed", range(12))
def test_the_scores_equal_those_of_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    gold = read(REFERENCE / "commands_public.jsonl") + CORPORA["english"] + CORPORA["korean"]
    answers = {
        line["id"]: spoiled(line["sequence"] or [rng.choice([{k: line[k] for k in LABEL}, *line["alternatives"]])], rng)
        for line in gold
        if rng.random() < 0.97
    }
    expected, mine = reference().score(gold, answers), as_reference(score(gold, answers))
    assert {key: expected[key] for key in mine} == mine
    assert min(expected[name] for name in ("wrong_way", "missed_stop", "unsafe_motion")) > 0  # or nothing was compared


def test_the_labels_themselves_reach_every_gate() -> None:
    for lines in CORPORA.values():
        answers = {line["id"]: line["sequence"] or [{k: line[k] for k in LABEL}] for line in lines}
        report = score(lines, answers)
        assert report.share("core") == report.sequence_share == 1.0
        assert report.unsafe == report.missed_stop == report.wrong_way == report.non_finite == []


# --- the parser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parser() -> Any:
    return pytest.importorskip("robovlms.robot.parser", reason="no parser yet").VLAActionParser()


@pytest.mark.parametrize(("name", "core"), [("english", 0.95), ("korean", 0.92)])
def test_the_parser_is_safe_and_right_on_commands_it_has_not_seen(parser: Any, name: str, core: float) -> None:
    lines = CORPORA[name]
    report = score(
        lines, {line["id"]: [one.to_dict() for one in parser.parse_sequence(line["text"])] for line in lines}
    )
    assert (report.missed_stop, report.unsafe, report.wrong_way, report.non_finite) == ([], [], [], []), str(report)
    assert report.share("core") >= core, f"{report}\n{report.wrong_core}"
    assert report.sequence_share >= 0.85, f"{report}\n{report.wrong_sequence}"


def test_the_parser_is_right_on_every_box(parser: Any) -> None:
    wrong = []
    for line in BOXES:
        action = parser.parse_segmentation_output(
            line["text"], line["image_width"], line["image_height"], query=line["query"]
        )
        if not is_right_box(line, action.to_dict()):
            wrong.append((line["id"], line["text"], action.to_dict()))
    assert wrong == []
