"""The languages that are understood, and which of them a text is in.

A language with verbs in front ("turn left", "gira a la izquierda") is one YAML file and one line here.
"""

from collections.abc import Sequence
from pathlib import Path

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.language.analyser import Analyser
from robovlms.robot.language.korean import Korean
from robovlms.robot.language.verb_first import VerbFirstAnalyser

VOCABULARIES = Path(__file__).parent / "vocabularies"


def build_analysers(languages: Sequence[str]) -> dict[str, Analyser]:
    """Return an analyser per language, each with its vocabulary read.

    Raises:
        ConfigError: if a language is unknown or a vocabulary is not valid.
    """
    if isinstance(languages, str) or not languages:
        raise ConfigError(f"languages: expected a list of names, got {languages!r}")
    for name in languages:
        if name not in LANGUAGES:
            raise ConfigError(unknown_name("language", name, LANGUAGES))
    return {name: LANGUAGES[name](VOCABULARIES / f"{name}.yaml") for name in languages}


def choose_language(text: str, analysers: dict[str, Analyser]) -> str:
    """Return which language reads a text: by script, else by known words; the earlier one wins a tie."""
    for name, analyser in analysers.items():
        if analyser.script is not None and analyser.script.search(text):
            return name
    shared = {name: analyser for name, analyser in analysers.items() if analyser.script is None} or analysers
    if len(shared) == 1:
        return next(iter(shared))
    return max(shared, key=lambda name: shared[name].count_known(text))


LANGUAGES: dict[str, type[Analyser]] = {"english": VerbFirstAnalyser, "korean": Korean, "spanish": VerbFirstAnalyser}
