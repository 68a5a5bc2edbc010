import pytest

from robovlms.errors import ConfigError
from robovlms.robot.language.languages import LANGUAGES, VOCABULARIES, build_analysers, choose_language

ANALYSERS = build_analysers(list(LANGUAGES))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("turn left", "english"),
        ("gira a la izquierda", "spanish"),
        ("왼쪽으로 돌아", "korean"),
        ("stop", "english"),
        ("stop 멈춰", "korean"),
        ("alto", "spanish"),
        ("", "english"),
        ("12 34", "english"),
        ("lorem ipsum", "english"),
        ("no", "english"),
        ("pick up the para glider", "english"),
    ],
)
def test_language_of_a_text(text: str, language: str) -> None:
    assert choose_language(text, ANALYSERS) == language


def test_a_tie_goes_to_the_earlier_language() -> None:
    swapped = build_analysers(["spanish", "english"])
    assert choose_language("stop", swapped) == "spanish"
    assert choose_language("turn left", swapped) == "english"


def test_every_vocabulary_is_registered() -> None:
    assert {path.stem for path in VOCABULARIES.glob("*.yaml")} == set(LANGUAGES)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["englisch"], "unknown language 'englisch'; did you mean 'english'"),
        ([], "expected a list"),
        ("english", "list"),
    ],
)
def test_unknown_languages(languages: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_analysers(languages)
