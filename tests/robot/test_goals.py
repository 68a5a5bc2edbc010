import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robovlms.errors import ConfigError, DataError
from robovlms.robot import pictures
from robovlms.robot.action import ActionType
from robovlms.robot.goals import Goal, GoalResult, execute_action
from robovlms.robot.pictures import save_picture
from robovlms.robot.prompts import TWO_STAGE_GOALS, get_vlm_prompt

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
AHEAD = "<loc0400><loc0435><loc0600><loc0589> cup"
LEFT = "<loc0400><loc0100><loc0600><loc0200> cup"
NEAR = "<loc0051><loc0051><loc0973><loc0973> cup"
execute: Any = getattr(execute_action, "__wrapped__", execute_action)  # as it runs outside of tests: no type is checked


def stands(result: GoalResult) -> bool:
    return result.action.action_type is ActionType.STOP and result.action.velocity == (0, 0, 0)


def test_prompts_in_words() -> None:
    assert get_vlm_prompt(Goal.FIND_OBJECT, target_object=" red  cup") == (
        "Is there a red cup in the image? Answer yes or no."
    )
    assert get_vlm_prompt("follow", target_object="apple") == "Is there an apple in the image? Answer yes or no."
    assert get_vlm_prompt("follow", target_object="the man") == "Is there the man in the image? Answer yes or no."
    assert get_vlm_prompt("navigate_to", target_object="빨간 컵", stage="locate", language="ko") == "detect 빨간 컵"
    assert "빨간 컵" in get_vlm_prompt("navigate_to", target_object="빨간 컵", language="ko")
    assert get_vlm_prompt("describe_scene") == "Describe what you see in the image."
    assert get_vlm_prompt("save_image") == get_vlm_prompt("unknown") == ""
    assert get_vlm_prompt("find_object", "Where is {target_object}?", "cup") == "Where is cup?"
    assert get_vlm_prompt("describe_scene", "What is {this}?") == "What is {this}?"


@pytest.mark.parametrize("goal", sorted(TWO_STAGE_GOALS))
@pytest.mark.parametrize("thing", [None, "", "  ", "cup ; plate", "<loc0001>", "cup\x00", "{a_thing}", "x" * 81])
def test_a_name_that_is_none_is_refused(goal: Goal, thing: str | None) -> None:
    with pytest.raises(ConfigError, match="target_object: expected a name"):
        get_vlm_prompt(goal, target_object=thing)
    result = execute_action(goal, "yes", FRAME, thing)
    assert stands(result)
    assert not result.is_success
    assert not result.needs_next_stage


def test_unknown_names_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown goal 'folow'; did you mean 'follow'"):
        get_vlm_prompt("folow")
    with pytest.raises(ConfigError, match="unknown language 'kr'; did you mean 'ko'"):
        get_vlm_prompt("describe_scene", language="kr")
    with pytest.raises(ConfigError, match="unknown stage"):
        getattr(get_vlm_prompt, "__wrapped__", get_vlm_prompt)("follow", None, "cup", "where")


@pytest.mark.parametrize("goal", ["unknown", "folow", "", "FOLLOW"])
@pytest.mark.parametrize("output", ["", "go forward", AHEAD, "yes", '{"action": "move", "linear_x": 1}'])
def test_an_unknown_goal_stands_still(goal: str, output: str) -> None:
    result = execute_action(goal, output, FRAME, "cup")
    assert stands(result)
    assert (result.goal, result.is_success) == (Goal.UNKNOWN, False)


@pytest.mark.parametrize("goal", sorted(TWO_STAGE_GOALS))
def test_first_whether_it_is_there(goal: Goal) -> None:
    yes = execute_action(goal, "Yes, there is.", FRAME, "cup")
    assert (stands(yes), yes.is_success, yes.needs_next_stage) == (True, True, True)
    for output in ("no", "아니요", "There is no cup."):
        no = execute_action(goal, output, FRAME, "cup")
        assert (stands(no), no.is_success, no.needs_next_stage, no.message) == (True, False, False, "there is no cup")
    for output in ("maybe", "a piano", "", "go forward", "There is a table."):
        unclear = execute_action(goal, output, FRAME, "cup")
        assert (stands(unclear), unclear.is_success, unclear.needs_next_stage) == (True, False, False)
    prompt = get_vlm_prompt(goal, target_object="cup")
    assert execute_action(goal, prompt + " yes", FRAME, "cup", original_prompt=prompt).needs_next_stage
    assert not execute_action(goal, prompt, FRAME, "cup", original_prompt=prompt).needs_next_stage


@pytest.mark.parametrize(
    ("goal", "output", "motion"),
    [
        ("navigate_to", AHEAD, (0.2, 0, 0)),
        ("follow", AHEAD, (0.2, 0, 0)),
        ("find_object", AHEAD, (0, 0, 0)),  # in front: found
        ("navigate_to", NEAR, (0, 0, 0)),
    ],
)
def test_then_where_it_is(goal: str, output: str, motion: tuple[float, ...]) -> None:
    result = execute_action(goal, output, FRAME, "cup")
    assert result.action.velocity == motion
    assert (result.is_success, result.needs_next_stage) == (True, False)
    assert result.detection is not None
    assert result.detection.label == "cup"
    left = execute_action(goal, LEFT, target_object="Cup", image_width=6, image_height=4)
    assert (left.action.action_type, left.action.linear_x) == (ActionType.TURN, 0)
    assert left.action.angular_z > 0


@pytest.mark.parametrize("output", ["nothing", "<loc0400> cup", AHEAD.replace("cup", "plate"), "yes", ""])
@pytest.mark.parametrize("stage", [None, "locate", "presence"])
def test_nothing_located_stands_still(output: str, stage: Any) -> None:
    result = execute_action("navigate_to", output, FRAME, "cup", stage=stage)
    assert stands(result)
    assert result.detection is None
    assert result.is_success == (output == "yes" and stage != "locate")


def test_a_box_without_a_picture_stands_still() -> None:
    for size in ({}, {"image_width": 640}, {"image_width": 640, "image_height": 0}):
        result = execute_action("follow", AHEAD, target_object="cup", **size)
        assert (stands(result), result.is_success, result.detection) == (True, False, None)


@pytest.mark.parametrize(
    "frame",
    [FRAME.astype(np.float32), FRAME[..., :2], FRAME[0], np.zeros((0, 6, 3), np.uint8), "picture", FRAME.tolist()],
    ids=["float", "two colours", "one row", "empty", "text", "list"],
)
@pytest.mark.parametrize("goal", ["navigate_to", "save_image", "describe_scene"])
def test_a_frame_that_is_none_stands_still(goal: str, frame: Any, tmp_path: Path) -> None:
    result = execute(goal, AHEAD, frame, "cup", save_dir=tmp_path)
    assert (stands(result), result.is_success) == (True, False)
    assert "frame: expected" in result.message
    assert not list(tmp_path.iterdir())


def test_answers_in_words() -> None:
    result = execute_action("describe_scene", "USER: what? ASSISTANT: Go forward, a cup.</s>", FRAME)
    assert (stands(result), result.is_success, result.answer) == (True, True, "Go forward, a cup.")
    assert execute_action("identify_main_object", "cup", FRAME).answer == "cup"
    assert not execute_action("identify_main_object", "  ", FRAME).is_success


@given(st.sampled_from(sorted(Goal)), st.text(max_size=100), st.sampled_from([None, "cup", "<"]))
def test_any_text_is_read_and_nothing_moves_without_a_box(goal: Goal, output: str, thing: str | None) -> None:
    assert stands(execute_action(goal, output, FRAME, thing))


def test_a_picture_is_saved_and_never_over_another(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"
    first = execute_action("save_image", "", FRAME, save_dir=folder)
    assert first.saved_path == folder / "picture_0001.png"
    assert (stands(first), first.is_success) == (True, True)
    np.testing.assert_array_equal(np.asarray(Image.open(first.saved_path)), FRAME)
    assert execute_action("save_image", "", FRAME, save_dir=folder).saved_path == folder / "picture_0002.png"
    named = execute_action("save_image", "", FRAME, save_dir=str(folder), file_name="a cup-1.png")
    assert named.saved_path == folder / "a cup-1.png"
    again = execute_action("save_image", "", 255 - FRAME, save_dir=folder, file_name="a cup-1.png")
    assert (again.is_success, again.saved_path, stands(again)) == (False, None, True)
    assert "never written over another" in again.message
    np.testing.assert_array_equal(np.asarray(Image.open(named.saved_path)), FRAME)
    assert sorted(os.listdir(folder)) == ["a cup-1.png", "picture_0001.png", "picture_0002.png"]


@pytest.mark.parametrize(
    "name",
    [
        *["../a.png", "/tmp/a.png", "a/b.png", "a\\b.png", ".png", ".hidden.png", "a.jpg", "", "..", "a.png\n"],
        *["a\x00.png", "x" * 120 + ".png", "~.png", "C:a.png"],
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    result = execute_action("save_image", "", FRAME, save_dir=tmp_path / "in", file_name=name)
    assert (result.is_success, result.saved_path) == (False, None)
    assert "file_name: expected a plain name" in result.message
    assert not list(tmp_path.rglob("*"))


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(victim)
    with pytest.raises(DataError, match="is there already"):
        save_picture(FRAME, tmp_path / "in", "a.png")
    assert victim.read_bytes() == b"mine"


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.os, "fsync", fail)
    result = execute_action("save_image", "", FRAME, save_dir=tmp_path)
    assert (result.is_success, result.saved_path, stands(result)) == (False, None, True)
    assert "No space left on device" in result.message
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert not execute_action("save_image", "", FRAME, save_dir=tmp_path / "file").is_success


def test_saving_needs_a_frame_and_a_folder(tmp_path: Path) -> None:
    for more in ({"save_dir": tmp_path}, {"frame": FRAME}):
        result = execute_action("save_image", "", **more)
        assert (result.is_success, stands(result)) == (False, True)
        assert "give the frame and save_dir" in result.message


@pytest.mark.parametrize("goal", [goal for goal in Goal if goal is not Goal.SAVE_IMAGE])
def test_a_model_that_failed_stands(goal: Goal) -> None:
    result = execute_action(goal, None, FRAME, "cup")
    assert stands(result)
    assert not result.is_success
    assert not result.needs_next_stage
