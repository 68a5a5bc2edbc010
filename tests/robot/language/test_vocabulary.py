from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from robovlms.errors import ConfigError
from robovlms.robot.language.languages import VOCABULARIES
from robovlms.robot.language.tokens import tokenise
from robovlms.robot.language.vocabulary import VerbSense, load_vocabulary

Change = Callable[[dict[str, Any]], None]


def test_a_verb_phrase_carries_directions_and_speed() -> None:
    words = load_vocabulary(VOCABULARIES / "english.yaml")
    assert words.verbs.match(tokenise("full speed ahead"), 0) == (VerbSense("go", ("forward",), "fast"), 3)
    assert words.verbs.match(tokenise("turn on the lamp"), 0) == (VerbSense("other"), 2)
    assert words.gerunds.match(tokenise("backing up"), 0) == (VerbSense("go", ("back",)), 2)
    assert words.verbs.match(tokenise("backing up"), 0) is None
    assert {"forward", "metre", "ninety", "couch"} & words.words == {"forward", "metre", "ninety"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(verb={}), "unknown key 'verb'; did you mean 'verbs'"),
        (lambda v: v["verbs"].update(trun=["trun"]), "unknown verb 'trun'; did you mean 'turn'"),
        (
            lambda v: v["verbs"].update({"go foward": ["x"]}),
            "unknown direction or speed 'foward'; did you mean 'forward'",
        ),
        (
            lambda v: v["directions"].update(lefft=["lefft"]),
            "unknown concept in directions 'lefft'; did you mean 'left'",
        ),
        (lambda v: v["roles"].update(filler=["eh"]), "unknown key in roles 'filler'; did you mean 'fillers'"),
        (lambda v: v["roles"].pop("fillers"), "roles: missing fillers"),
        (
            lambda v: v["roles"].update(fillers=[False]),
            r"roles.fillers: expected a list of phrases.*quote yes, no, on, off",
        ),
        (lambda v: v["roles"].update(fillers="eh"), "roles.fillers: expected a list of phrases, got 'eh'"),
        (lambda v: v["verbs"].update(point=["turn"]), "'turn' is given twice"),
        (lambda v: v["units"]["distance"].update(smoot="long"), "units.distance.smoot: expected a number, got 'long'"),
        (lambda v: v["units"].update(weight={}), "unknown key in units 'weight'"),
        (lambda v: v["units"]["angle"].update(deg=float("nan")), "units.angle.deg: expected a number"),
        (lambda v: v.update(uses_decimal_comma="no"), "uses_decimal_comma: expected true or false, got 'no'"),
        (lambda v: v["contractions"].update(aint=3), "contractions: expected word: words"),
        (lambda v: v.update(verbs=[]), "verbs: expected keys with values"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Change, message: str) -> None:
    values = yaml.safe_load((VOCABULARIES / "english.yaml").read_text(encoding="utf-8"))
    change(values)
    path = tmp_path / "klingon.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_vocabulary(path)
    assert "klingon.yaml" in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as a vocabulary"):
        load_vocabulary(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("verbs: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_vocabulary(tmp_path / "broken.yaml")


@pytest.mark.parametrize("language", ["english", "spanish"])
def test_no_phrase_is_written_twice_in_a_list(language: str) -> None:
    values = yaml.safe_load((VOCABULARIES / f"{language}.yaml").read_text(encoding="utf-8"))
    for section in ("verbs", "directions", "speeds", "roles"):
        for name, phrases in values[section].items():
            assert len(phrases) == len(set(phrases)), f"{section}.{name}"
