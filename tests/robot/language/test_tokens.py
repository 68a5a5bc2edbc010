import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.robot.language.tokens import normalise, tokenise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Go FORWARD.", ["go", "forward", "."]),
        ("don’t", ["don't"]),
        ("turn-left", ["turn", "left"]),
        ("wait - stop", ["wait", ",", "stop"]),
        ("wait—stop", ["wait", ",", "stop"]),
        ("4m", ["4", "m"]),
        ("1.5 m.", ["1.5", "m", "."]),
        ("-2 m", ["minus-sign", "2", "m"]),
        ("5-10 m", ["5", "range-sign", "10", "m"]),
        ("90°", ["90", "°"]),
        ("really?!", ["really", "?", "."]),
        ("ａｂｃ", ["abc"]),
        ("st\u200bop", ["stop"]),
        ("atrás", ["atras"]),
        ("👍", []),
        ("a\x00b", ["a", "b"]),
    ],
)
def test_tokens(text: str, words: list[str]) -> None:
    assert [token.text for token in tokenise(normalise(text))] == words


def test_surfaces_keep_accents_and_hyphens() -> None:
    tokens = tokenise(normalise("Café x-ray"))
    assert [(token.gap, token.surface) for token in tokens] == [(" ", "café"), (" ", "x"), ("-", "ray")]


@given(st.text())
def test_spans_are_in_order_and_in_the_text(text: str) -> None:
    text, end = normalise(text), 0
    for token in tokenise(text):
        assert end <= token.start < token.end <= len(text)
        assert text[token.start : token.end] == token.surface
        end = token.end


@given(st.text())
def test_normalising_again_changes_no_word(text: str) -> None:
    once = [token.text for token in tokenise(normalise(text))]
    assert [token.text for token in tokenise(normalise(normalise(text)))] == once
