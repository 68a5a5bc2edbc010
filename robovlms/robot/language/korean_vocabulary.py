"""The words of Korean as tables: stems and endings meet here, no list of conjugated forms is kept.

::

    돌아주세요 ─ as letters ─> every cut: is the left a base of a stem, and the right an ending that wants that base?
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.language.clause import Direction, Verb
from robovlms.robot.language.hangul import (
    FINALS,
    Base,
    Irregular,
    agrees,
    bases,
    ending_forms,
    from_jamo,
    join_syllable,
    split_syllable,
    to_jamo,
    with_prefinal,
)

_SECTIONS = (
    *(
        "verbs",
        "deeds",
        "words",
        "directions",
        "body",
        "gaze",
        "gripper",
        "vehicle",
        "limbs",
        "heard",
        "liquids",
        "wheels",
        "brakes",
        "places_of",
        "nowhere",
    ),
    *("steering", "braking", "opening", "closing", "showing", "backing", "doing"),
    *("leaving", "untouched", "halting", "corrections", "self", "abstract", "manners"),
    *("nouns", "adjectives"),
    *("particles", "endings", "auxiliaries", "requests", "polite_requests", "after_verb", "units", "numbers"),
)
_SPECIAL_VERBS = ("steer", "stay")
_PREFINALS: tuple[tuple[Literal["honorific", "past", "future"], ...], ...] = (
    *((), ("honorific",), ("past",), ("future",)),
    *(("past", "honorific"), ("future", "honorific")),  # inner one last: 가-시-었-
)


@dataclass(frozen=True)
class Sense:
    """What a verb or a deed means.

    Attributes:
        verb: as in a clause, or "steer", "stay", "do"; "" for one that is only an auxiliary.
        direction: that it brings along.
        auxiliary: what it does after another verb, as in the vocabulary; "" if nothing.
        stem: without -다.
    """

    verb: str
    direction: Direction | None = None
    auxiliary: str = ""
    stem: str = ""


@dataclass(frozen=True)
class Ending:
    """What an ending says.

    Attributes:
        role: as in the vocabulary: "command", "sequence", "negated" …
        is_past: has -았-.
        is_honorific: has -시-.
        is_request: a command after 주다.
        is_polite_request: a command of any verb.
    """

    role: str
    is_past: bool = False
    is_future: bool = False
    is_honorific: bool = False
    is_request: bool = False
    is_polite_request: bool = False


@dataclass(frozen=True)
class Form:
    """One reading of a conjugated verb."""

    sense: Sense
    ending: Ending


@dataclass(frozen=True)
class KoreanVocabulary:
    """Tables of one vocabulary file.

    Attributes:
        stems: letters of a base -> what has that base.
        endings: a base -> letters -> endings.
        deeds: noun -> its meaning.
        words: word of one form -> its kinds.
        directions: word -> direction.
        particles: particle -> its role.
        sets: names of plain word lists -> words.
        phrases: words that are written with and without a space.
        after_verb: what follows a verb that describes -> words.
        units: of quantities, as in the file.
        numbers: number words, as in the file.
        starts: syllables with which a verb may begin, so that most words are not searched.
        auxiliary_starts: the same of auxiliaries.
        longest_base: letters.
        longest_particle: syllables.
    """

    stems: Mapping[str, tuple[tuple[Sense, Base], ...]]
    endings: Mapping[Base, Mapping[str, tuple[Ending, ...]]]
    deeds: Mapping[str, Sense]
    words: Mapping[str, tuple[str, ...]]
    directions: Mapping[str, Direction]
    particles: Mapping[str, str]
    sets: Mapping[str, frozenset[str]]
    phrases: tuple[str, ...]
    after_verb: Mapping[str, frozenset[str]]
    units: Mapping[str, Any]
    numbers: Mapping[str, Any]
    starts: frozenset[str]
    auxiliary_starts: frozenset[str]
    longest_base: int
    longest_particle: int

    def forms(self, word: str) -> list[Form]:
        """Return every way to read a word as one conjugated verb, longer stems first: 돌려 is of 돌리, not of 돌."""
        found: list[Form] = []
        if word[:1] not in self.starts:
            return found
        jamo = to_jamo(word)
        for cut in range(min(len(jamo), self.longest_base), 0, -1):
            for sense, base in self.stems.get(jamo[:cut], ()):
                found += [Form(sense, ending) for ending in self.endings[base].get(jamo[cut:], ())]
        return found

    def auxiliaries(self, word: str) -> list[Form]:
        """Return those readings that may stand behind another verb."""
        if word[:1] not in self.auxiliary_starts:
            return []
        return [form for form in self.forms(word) if form.sense.auxiliary]

    def split_particle(self, word: str) -> tuple[str, str]:
        """Return a noun and the role of its particle; ("…", "") if no particle fits the sound of the noun.

        The longest particle wins; a noun has at least one syllable.
        """
        if word in self.sets["nouns"]:
            return word, ""
        for cut in range(max(1, len(word) - self.longest_particle), len(word)):
            role = self.particles.get(word[cut:])
            if role and agrees(word[:cut], word[cut:]):
                return word[:cut], role
        return word, ""


def read_vocabulary(path: Path) -> KoreanVocabulary:
    """Read one vocabulary file.

    Raises:
        ConfigError: if it is missing, no YAML, or has an unknown or missing section or an unknown verb or direction.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as a vocabulary: {' '.join(str(error).split())}") from None
    sections = list(content) if isinstance(content, dict) else []
    for name in sections:
        if name not in _SECTIONS:
            raise ConfigError(f"{path}: {unknown_name('section', name, _SECTIONS)}")
    missing = [name for name in _SECTIONS if name not in sections]
    if missing:
        raise ConfigError(f"{path}: expected a section {missing[0]!r}, got {', '.join(sections) or 'none'}")
    return _build(content, str(path))


def _build(content: dict[str, Any], where: str) -> KoreanVocabulary:
    sets = {name: frozenset(_words(content[name])) for name in _SECTIONS if isinstance(content[name], str)}
    words: dict[str, tuple[str, ...]] = {}
    for kind, listed in content["words"].items():
        for word in _words(listed):
            words[word] = (*words.get(word, ()), kind)
    spaced = [one for name in ("words", "deeds", "directions") for one in " ".join(content[name].values()).split()]
    stems = _stems(content, where)
    particles = {form: role for role, listed in content["particles"].items() for form in _words(listed)}
    return KoreanVocabulary(
        stems=stems,
        endings=_endings(content),
        deeds={word: sense for name, words in content["deeds"].items() for word, sense in _deeds(name, words, where)},
        words=words,
        directions={word: name for name, listed in content["directions"].items() for word in _words(listed)},
        particles=particles,
        sets=sets,
        phrases=tuple(phrase.replace("_", " ") for phrase in spaced if "_" in phrase),
        after_verb={name: frozenset(_words(listed)) for name, listed in content["after_verb"].items()},
        units=content["units"],
        numbers=content["numbers"],
        starts=_first_syllables(stems),
        auxiliary_starts=_first_syllables(
            jamo for jamo, entries in stems.items() if any(e.auxiliary for e, _ in entries)
        ),
        longest_base=max(map(len, stems)),
        longest_particle=max(map(len, particles)),
    )


def _first_syllables(bases_as_jamo: Iterable[str]) -> frozenset[str]:
    """Syllables that begin like one of these, with any final: an ending may add one."""
    openings = {split_syllable(from_jamo(jamo[:2]))[:2] for jamo in bases_as_jamo}
    return frozenset(join_syllable(*opening, final) for opening in openings for final in FINALS)


def _words(listed: str) -> list[str]:
    return [word.replace("_", "") for word in str(listed).split()]


def _meaning(name: str, where: str) -> tuple[str, Direction | None]:
    verb, _, direction = name.partition(" ")
    if verb not in (*get_args(Verb), *_SPECIAL_VERBS):
        raise ConfigError(f"{where}: {unknown_name('verb', verb, (*get_args(Verb), *_SPECIAL_VERBS))}")
    for known in get_args(Direction):
        if known == direction:
            return verb, known
    if direction:
        raise ConfigError(f"{where}: {unknown_name('direction', direction, get_args(Direction))}")
    return verb, None


def _deeds(name: str, listed: str, where: str) -> list[tuple[str, Sense]]:
    verb, direction = _meaning(name, where)
    return [(word, Sense(verb, direction, stem=word)) for word in _words(listed)]


def _stems(content: dict[str, Any], where: str) -> dict[str, tuple[tuple[Sense, Base], ...]]:
    auxiliaries = {stem: kind for kind, listed in content["auxiliaries"].items() for stem in _words(listed)}
    table: dict[str, list[tuple[Sense, Base]]] = defaultdict(list)
    seen: set[str] = set()
    for name, listed in content["verbs"].items():
        verb, direction = _meaning(name, where)
        for entry in listed.split():
            stem, _, irregular = entry.partition("/")
            seen.add(stem)
            _add_stem(table, Sense(verb, direction, auxiliaries.get(stem, ""), stem), irregular, where)
    for stem, kind in auxiliaries.items():
        if stem not in seen:
            _add_stem(table, Sense("do" if kind == "do" else "", None, kind, stem), "", where)
    return {jamo: tuple(entries) for jamo, entries in table.items()}


def _add_stem(table: dict[str, list[tuple[Sense, Base]]], sense: Sense, irregular: str, where: str) -> None:
    for known in get_args(Irregular):
        if known == irregular:
            for base, forms in bases(sense.stem, known).items():
                for form in forms:
                    table[to_jamo(form)].append((sense, base))
            return
    raise ConfigError(f"{where}: {unknown_name('irregular class', irregular, get_args(Irregular))} of {sense.stem!r}")


def _endings(content: dict[str, Any]) -> dict[Base, dict[str, tuple[Ending, ...]]]:
    requests, polite = _all_forms(content["requests"]), _all_forms(content["polite_requests"])
    table: dict[Base, dict[str, list[Ending]]] = {base: defaultdict(list) for base in get_args(Base)}
    for role, listed in content["endings"].items():
        for written in listed.split():
            for prefinals in _PREFINALS:
                for base, jamo in _attach(written, prefinals):
                    key = (base, jamo)
                    ending = Ending(
                        role,
                        "past" in prefinals,
                        "future" in prefinals,
                        "honorific" in prefinals or "시" in written[:4] or "세" in written[:4],
                        key in requests,
                        key in polite,
                    )
                    if ending not in table[base][jamo]:
                        table[base][jamo].append(ending)
    for base, jamo in requests:
        if not table[base][jamo]:
            table[base][jamo].append(Ending("question", is_request=True, is_polite_request=(base, jamo) in polite))
    return {base: {jamo: tuple(endings) for jamo, endings in found.items()} for base, found in table.items()}


def _all_forms(listed: str) -> set[tuple[Base, str]]:
    return {form for ending in listed.split() for form in ending_forms(ending)}


def _attach(ending: str, prefinals: tuple[Literal["honorific", "past", "future"], ...]) -> list[tuple[Base, str]]:
    forms = [ending]
    for prefinal in prefinals:
        forms = [joined for form in forms for joined in with_prefinal(form, prefinal)]
    return [form for joined in forms for form in ending_forms(joined)]
