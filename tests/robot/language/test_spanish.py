"""Spanish commands: the analyser of verb-first languages with another vocabulary and nothing else."""

import pytest
from robot.language.spoken import in_words, lines

from robovlms.robot.language.languages import LANGUAGES, build_analysers, choose_language
from robovlms.robot.parser import VLAActionParser

LINES = lines("spanish")
ALONE = VLAActionParser(["spanish"])
TOGETHER = build_analysers(list(LANGUAGES))


@pytest.mark.parametrize(("rule", "text", "answer"), LINES, ids=[text[:40] for _, text, _ in LINES])
def test_line(rule: str, text: str, answer: str) -> None:
    assert in_words(ALONE.parse_sequence(text)) == answer, rule


def test_other_languages_change_no_spanish_line() -> None:
    assert len(LINES) >= 60
    changed = [text for _, text, _ in LINES if text != "stop" and choose_language(text, TOGETHER) != "spanish"]
    assert changed == []


def test_accents_may_be_left_out() -> None:
    for text in ("detente", "ve hacia atrás", "párate", "da un paso atrás"):
        bare = text.translate(str.maketrans("áéíóú", "aeiou"))
        assert in_words(ALONE.parse_sequence(bare)) == in_words(ALONE.parse_sequence(text))
