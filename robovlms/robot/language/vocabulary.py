"""The words of a language with verbs in front, read from one YAML file.

::

    uses_decimal_comma: false
    contractions:  {don't: do not}            written together -> apart
    forms:
      command:     {turn: [turns]}            further forms that command as the first one does
      gerund:      {turn: [turning]}          forms that command only after a request ("start turning")
    verbs:         {go back: [reverse]}       verb, then the directions and the speed that it implies -> phrases
    directions:    {left: [left, leftwards]}
    speeds:        {slow: [slowly]}
    roles:         {fillers: [please]}        what else words do in a sentence, see `Roles`
    numbers:       values, multipliers, fractions, special, constants: phrase -> number;
                   articles, joins, points, minus, over: lists of phrases; see `NumberWords`
    units:         {distance: {m: 1}, angle: {degrees: 1}, duration: {s: 1}}
    before_unit:   [of a, full]               may stand between number and unit

Hyphens, accents and case do not matter. A phrase is found longest first, so "turn on" hides "turn". A key or concept
that is not known is an error that names the nearest one.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.action import Speed
from robovlms.robot.language.clause import Direction, Verb
from robovlms.robot.language.numbers import NumberWords
from robovlms.robot.language.phrase_table import Phrases


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What words do in a sentence besides being verbs, directions, speeds and numbers.

    Attributes:
        fillers: change nothing wherever they stand ("please", "robot", "now").
        requests: lead in a command ("could you").
        tags: make a command of what looks like a question ("will you", after a comma).
        aspects: lead in a command if a verb follows ("start", "go and"); else they are read as what else they are.
        subjects: open a statement ("he", "there").
        observations: open a statement after which, at a pause, a command may follow ("there is").
        questions: open a question ("did").
        reports: tell of what was said ("said"): nothing in such a sentence is a command.
        negations: forbid the verb after them.
        noun_negations: forbid a gerund or a turn after them, and are an interjection otherwise ("no turning").
        corrections: take back what was said just before ("no", "I mean").
        openers: say that something follows, at the beginning and before a pause ("right, go on": no side is meant).
        enumerators: count steps at their beginning ("second, turn left").
        numbered: do so with a number ("step 2: turn left").
        contrasts: set apart what is not meant ("not", "instead of").
        then: separate steps.
        joins: join steps or parts of one ("and").
        contrary: lead in what is meant, after what is not ("but").
        alternatives: offer a choice ("or").
        conditions: make the sentence hang on something ("if").
        meanwhile: join two motions into one ("while").
        before: what follows comes later ("before you").
        after: what follows comes first ("after").
        amount_leads: stand before an amount ("by", "for").
        vague_amounts: say how much without a number ("a bit").
        direction_leads: stand before a direction ("to the").
        direction_nouns: stand after a direction ("side").
        sideways: make going a slide ("sideways").
        self: the robot itself, as what is moved ("yourself").
        determiners: open a thing ("the").
        pronouns: stand for a thing ("it").
        recipients: pronouns that get a thing, before it ("bring me the cup").
        destinations: prepositions of where to ("to", "into").
        ways: prepositions of what is passed ("past", "along"): a goal only of a going without a direction.
        places: prepositions of where a motion takes place ("at", "near").
        loose_places: as `places`, but also of other matters ("in", "on"): only for turns and things.
        insides: of the prepositions, those of where something is in ("into"): beside a direction they need an area.
        areas: last words of what a robot can be in ("corridor"); "turn left into a frog" is a manner of speaking.
        sources: prepositions of where from.
        other_prepositions: further words that end a thing ("with").
        genitives: prepositions inside a thing ("of").
        sought: prepositions of what is looked for ("for").
        relatives: open what is told about a thing ("that", "where").
        copulas: end a thing in such a part ("is").
        particles: belong to a verb and may follow the thing ("up", "down").
        front: say that a thing is ahead ("in front of you").
        behind: say that a thing is behind.
        purposes: with a verb, open what a motion is for ("to").
        faces: verbs of turning that take what to turn towards ("face").
        times: words of what is no place, above all times ("after lunch", "at your own risk"): nothing is done then.
        delays: prepositions that make a duration a delay ("in five seconds").
        holds: verbs that stop, or grab the thing that follows ("hold").
        lets, let_goes: around a thing that is let go ("let", "go").
        light_verbs: turn a noun into a command ("make", "take").
        turn_nouns: the nouns of a turn ("turn", "spin").
        step_nouns: the nouns of a move ("step").
        noun_adjectives: may stand before such a noun ("sharp").
        idioms: no command when nothing but fillers follows ("go ahead").
        compounds: no command whatever follows ("stop sign").
        adverb_endings: endings of words that say how ("ly").
    """

    fillers: Phrases
    requests: Phrases
    tags: Phrases
    aspects: Phrases
    subjects: Phrases
    observations: Phrases
    questions: Phrases
    reports: Phrases
    negations: Phrases
    noun_negations: Phrases
    corrections: Phrases
    openers: Phrases
    enumerators: Phrases
    numbered: Phrases
    contrasts: Phrases
    then: Phrases
    joins: Phrases
    contrary: Phrases
    alternatives: Phrases
    conditions: Phrases
    meanwhile: Phrases
    before: Phrases
    after: Phrases
    amount_leads: Phrases
    vague_amounts: Phrases
    direction_leads: Phrases
    direction_nouns: Phrases
    sideways: Phrases
    self: Phrases
    determiners: Phrases
    pronouns: Phrases
    recipients: Phrases
    destinations: Phrases
    ways: Phrases
    places: Phrases
    loose_places: Phrases
    insides: Phrases
    areas: Phrases
    sources: Phrases
    other_prepositions: Phrases
    genitives: Phrases
    sought: Phrases
    relatives: Phrases
    copulas: Phrases
    particles: Phrases
    front: Phrases
    behind: Phrases
    purposes: Phrases
    faces: Phrases
    times: Phrases
    delays: Phrases
    holds: Phrases
    lets: Phrases
    let_goes: Phrases
    light_verbs: Phrases
    turn_nouns: Phrases
    step_nouns: Phrases
    noun_adjectives: Phrases
    idioms: Phrases
    compounds: Phrases
    adverb_endings: tuple[str, ...]


@dataclass(frozen=True)
class VerbSense:
    """What a verb phrase says by itself: "reverse" is `go` with the direction `back`."""

    verb: Verb
    directions: tuple[Direction, ...] = ()
    speed: Speed = "normal"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The words of one language.

    Attributes:
        contractions: word -> the words it stands for.
        verbs: phrases that command -> `VerbSense`.
        gerunds: phrases that command only after a request -> `VerbSense`.
        directions: phrase -> direction.
        speeds: phrase -> speed.
        roles: all other words.
        numbers: words of numbers.
        units: kind of amount -> phrase -> what one of it is in m, degrees or s.
        before_unit: may stand between number and unit.
        words: every word there is.
    """

    contractions: Mapping[str, str]
    verbs: Phrases
    gerunds: Phrases
    directions: Phrases
    speeds: Phrases
    roles: Roles
    numbers: NumberWords
    units: Mapping[str, Phrases]
    before_unit: Phrases
    words: frozenset[str]


def load_vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary in a YAML file.

    Raises:
        ConfigError: if the file cannot be read, or a key, concept or value in it is not what it should be.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as a vocabulary: {' '.join(str(error).split())}") from None
    return _Builder(path).build(values)


class _Builder:
    """Checks what a vocabulary file holds while it is built; every message begins with file and key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def build(self, values: Any) -> Vocabulary:
        sections = ("contractions", "directions", "speeds", "roles", "numbers", "units", "before_unit")
        self._keys("", values, [*sections, "uses_decimal_comma", "forms", "verbs"])
        commands, gerunds = self._verbs(values["verbs"], values["forms"])
        units = self._keys("units", values["units"], ["distance", "angle", "duration"])
        parts: dict[str, Any] = {
            "verbs": Phrases(commands),
            "gerunds": Phrases(gerunds),
            "directions": Phrases(self._concepts("directions", values["directions"], get_args(Direction))),
            "speeds": Phrases(self._concepts("speeds", values["speeds"], get_args(Speed))),
            "roles": self._roles(values["roles"]),
            "numbers": self._numbers(values["numbers"], values["uses_decimal_comma"]),
            "units": {kind: Phrases(self._amounts(f"units.{kind}", units[kind])) for kind in units},
            "before_unit": self._phrases("before_unit", values["before_unit"]),
        }
        contractions = values["contractions"]
        if not isinstance(contractions, dict) or not all(isinstance(entry, str) for entry in contractions.values()):
            raise ConfigError(f"{self._path}: contractions: expected word: words, got {contractions!r}")
        return Vocabulary(contractions=contractions, words=frozenset(_all_words(parts.values())), **parts)

    def _verbs(self, verbs: Any, forms: Any) -> tuple[dict[str, VerbSense], dict[str, VerbSense]]:
        """Return the phrases that command and those that need a request before them."""
        self._keys("forms", forms, ["command", "gerund"])
        commands: dict[str, VerbSense] = {}
        gerunds: dict[str, VerbSense] = {}
        for key, phrases in self._mapping("verbs", verbs).items():
            sense = self._sense(key)
            for phrase in self._list(f"verbs.{key}", phrases):
                self._add("verbs", commands, phrase, sense)
                first, _, rest = phrase.partition(" ")
                for kind, into in (("command", commands), ("gerund", gerunds)):
                    for form in self._list(f"forms.{kind}.{first}", forms[kind].get(first, [])):
                        self._add(f"forms.{kind}", into, f"{form} {rest}".strip(), sense)
        return commands, gerunds

    def _sense(self, key: str) -> VerbSense:
        verb, *rest = str(key).split()
        if verb not in get_args(Verb):
            raise ConfigError(f"{self._path}: verbs: {unknown_name('verb', verb, get_args(Verb))}")
        known = (*get_args(Direction), *get_args(Speed))
        for word in rest:
            if word not in known:
                raise ConfigError(f"{self._path}: verbs.{key}: {unknown_name('direction or speed', word, known)}")
        speeds = [word for word in rest if word in get_args(Speed)]
        directions = tuple(word for word in rest if word in get_args(Direction))
        return VerbSense(verb, directions, speeds[0] if speeds else "normal")  # type: ignore[arg-type]

    def _roles(self, values: Any) -> Roles:
        names = [entry.name for entry in dataclasses.fields(Roles)]
        self._keys("roles", values, names)
        roles: dict[str, Any] = {name: self._phrases(f"roles.{name}", values[name]) for name in names[:-1]}
        return Roles(**roles, adverb_endings=tuple(self._list("roles.adverb_endings", values["adverb_endings"])))

    def _numbers(self, values: Any, uses_decimal_comma: Any) -> NumberWords:
        if not isinstance(uses_decimal_comma, bool):
            raise ConfigError(f"{self._path}: uses_decimal_comma: expected true or false, got {uses_decimal_comma!r}")
        valued = ("values", "multipliers", "fractions", "special", "constants")
        plain = ("articles", "joins", "points", "minus", "over")
        self._keys("numbers", values, [*valued, *plain])
        words = {name: Phrases(self._amounts(f"numbers.{name}", values[name])) for name in valued}
        words |= {name: self._phrases(f"numbers.{name}", values[name]) for name in plain}
        return NumberWords(**words, uses_decimal_comma=uses_decimal_comma)

    def _concepts(self, key: str, values: Any, known: tuple[str, ...]) -> dict[str, str]:
        phrases: dict[str, str] = {}
        for concept, entries in self._mapping(key, values).items():
            if concept not in known:
                raise ConfigError(f"{self._path}: {unknown_name(f'concept in {key}', concept, known)}")
            for phrase in self._list(f"{key}.{concept}", entries):
                self._add(key, phrases, phrase, concept)
        return phrases

    def _add(self, key: str, into: dict[str, Any], phrase: str, value: Any) -> None:
        if into.setdefault(phrase, value) != value:
            raise ConfigError(f"{self._path}: {key}: {phrase!r} is given twice, as {into[phrase]} and as {value}")

    def _phrases(self, key: str, values: Any) -> Phrases:
        return Phrases(dict.fromkeys(self._list(key, values), key))

    def _amounts(self, key: str, values: Any) -> dict[str, float]:
        amounts: dict[str, float] = {}
        for phrase, value in self._mapping(key, values).items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not (math.isfinite(value) or key == "numbers.special"):
                raise ConfigError(f"{self._path}: {key}.{phrase}: expected a number, got {value!r}")
            amounts[str(phrase)] = float(value)
        return amounts

    def _list(self, key: str, values: Any) -> list[str]:
        if not isinstance(values, list) or not all(isinstance(entry, str) and entry.strip() for entry in values):
            raise ConfigError(
                f"{self._path}: {key}: expected a list of phrases, got {values!r}; quote yes, no, on, off"
            )
        return values

    def _mapping(self, key: str, values: Any) -> dict[Any, Any]:
        if not isinstance(values, dict):
            raise ConfigError(f"{self._path}: {key or 'top'}: expected keys with values, got {values!r}")
        return values

    def _keys(self, key: str, values: Any, names: list[str]) -> dict[str, Any]:
        for name in self._mapping(key, values):
            if name not in names:
                raise ConfigError(f"{self._path}: {unknown_name(f'key in {key}' if key else 'key', name, names)}")
        missing = [name for name in names if name not in values]
        if missing:
            raise ConfigError(f"{self._path}: {key or 'top'}: missing {', '.join(missing)}")
        return values


def _all_words(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Phrases):
            yield from part.words
        elif isinstance(part, Mapping):
            yield from _all_words(part.values())
        elif dataclasses.is_dataclass(part):
            yield from _all_words(getattr(part, entry.name) for entry in dataclasses.fields(part))
