"""English commands written when the parser was nearly done, and the classes of faults that they and others showed."""

from pathlib import Path

import pytest
from robot.language.spoken import in_words
from robot.scoring import read, score

from robovlms.robot.parser import VLAActionParser

LINES = read(Path(__file__).parents[1] / "data" / "fresh_english.jsonl")
PARSER = VLAActionParser()


def test_fresh_lines_are_answered_safely_and_rightly() -> None:
    predictions = {line["id"]: [one.to_dict() for one in PARSER.parse_sequence(line["text"])] for line in LINES}
    report = score(LINES, predictions)
    assert (report.missed_stop, report.unsafe, report.wrong_way, report.non_finite) == ([], [], [], []), str(report)
    assert report.share("core") >= 0.97, f"{report}\n{report.wrong_core}"
    assert report.sequence_share >= 0.85, f"{report}\n{report.wrong_sequence}"


def test_the_corpus_is_wide_and_its_ids_are_unique() -> None:
    stops = [line for line in LINES if line["category"] == "stop"]
    assert len({line["id"] for line in LINES}) == len({line["text"] for line in LINES}) == len(LINES) >= 130
    assert len(stops) >= 25
    assert all(line["action_type"] == "stop" for line in stops)
    assert sum(line["sequence"] is not None for line in LINES) >= 20


STOPS = """
    dance a jig and halt | turn left like a crab then stop | flurb the wug, then stop | open the door, then stop
    don't budge | don't go anywhere | never budge | not another inch | no farther | that'll be all | close enough
    put the brakes on | pump the brakes | stamp on the brake | cut power | shut down the motors | lock the wheels
    take your foot off the gas | give me a moment | end the motion | Right, stop | Right, don't move | on three, stop
    under no circumstances turn right | go forward, just kidding | turn left, forget it
"""
STANDING = """
    turn left into a pumpkin | turn right into trouble | swing left in the election | turn right on the television
    turn left in frustration | in theory turn left | in my dreams turn left | at night turn left
    go forward after he leaves | turn left after the door opens | turn left after the light turns green
    turn left after the door has opened | on the count of three, go forward | turn left next time
    turn right at heart | turn left under pressure | go forward through life | go forward at your own risk
    second left | third door on the left | Right, turn left | have they left | the brakes are broken
"""


def phrases(text: str) -> list[str]:
    return [phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|")]


@pytest.mark.parametrize("text", phrases(STOPS))
def test_stops(text: str) -> None:
    assert in_words(PARSER.parse_sequence(text)).split(";")[0] == "stop"


@pytest.mark.parametrize("text", phrases(STANDING))
def test_manners_of_speaking_events_and_times_move_nothing(text: str) -> None:
    assert not any(any(action.velocity) for action in PARSER.parse_sequence(text))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("at the door turn left", "turn 00+"),
        ("in the kitchen turn right", "turn 00-"),
        ("past the couch go forward 2 m", "move +00 2 m"),
        ("turn left into the hallway", "turn 00+"),
        ("turn right in room 12", "turn 00-"),
        ("turn left past the chairs", "turn 00+"),
        ("after turning left go forward", "turn 00+; move +00"),
        ("before turning left go forward 1 m", "move +00 1 m; turn 00+"),
        ("first turn left, second go forward 1 m, finally stop", "turn 00+; move +00 1 m; stop"),
        ("step 1: turn left; step 2: go forward 1 m", "turn 00+; move +00 1 m"),
        ("never turn left, always turn right", "turn 00-"),
        ("ready? go forward 2 m", "move +00 2 m"),
        ("can you hear me? go forward 1 m", "move +00 1 m"),
        ("Right, go forward", "move +00"),
        ("Alright then, go forward 1 m", "move +00 1 m"),
        ("look left, then right", "look 000; look 000"),
        ("turn left, 2 m forward, stop", "turn 00+; move +00 2 m; stop"),
        ("take a walk to the kitchen", "navigate 000 <kitchen>"),
        ("have a look at the painting", "look 000 <painting>"),
    ],
)
def test_what_was_refused_although_it_is_clear(text: str, answer: str) -> None:
    assert in_words(PARSER.parse_sequence(text)) == answer
