"""A written word (what stands between two spaces) to its parts.

::

    왼쪽으로돌아주세요 ─> direction left (to) · verb 돌 (infinitive) · verb 주 (command)
    빨간 ─> noun 빨간   상자를 ─> noun 상자 (object)   앞으로도 ─> direction forward (also)

A word that was typed without spaces is cut only if every part is known, so that "돌고래" (dolphin) stays whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from robovlms.robot.language.clause import Direction
from robovlms.robot.language.hangul import agrees, is_hangul
from robovlms.robot.language.korean_numbers import Quantity
from robovlms.robot.language.korean_vocabulary import Ending, Form, KoreanVocabulary, Sense

MAX_SYLLABLES = 24  # of a word; a longer one is not searched
_UNKNOWN_VERB = Sense("unknown")
_LINKING = frozenset({"sequence", "while", "interrupted", "condition", "negated", "cause", "purpose", "adnominal"})
_STANDING = frozenset({"grab", "release", "point", "look", "find", "other"})
_POLITE_TAILS = ("요", "용", "여", "염", "욤")


@dataclass(frozen=True)
class Part:
    """One part of speech.

    Attributes:
        kind: what it is; "unknown" is a noun or an adverb that is in no list.
        text: as written.
        stem: a noun without its particle.
        role: what the particle says: "object", "to" …; "" if there is none.
        kinds: of a word of one form.
        direction: of a direction, or of a deed.
        quantity: of a number.
        sense: of a deed.
        forms: readings of a verb.
        is_noun_too: a verb that is also a noun, with `stem` and `role`.
    """

    kind: Literal["verb", "deed", "direction", "number", "word", "noun", "unknown", "mark"]
    text: str
    stem: str = ""
    role: str = ""
    kinds: tuple[str, ...] = ()
    direction: Direction | None = None
    quantity: Quantity | None = None
    sense: Sense | None = None
    forms: tuple[Form, ...] = ()
    is_noun_too: bool = False


class WordReader:
    """Cuts words into parts. Keeps nothing between calls."""

    def __init__(self, vocabulary: KoreanVocabulary) -> None:
        """Use the tables of one vocabulary."""
        self._vocabulary = vocabulary
        self._nouns, self._places = vocabulary.sets["nouns"], vocabulary.sets["places_of"]

    def read(self, word: str, quantities: Mapping[str, Quantity]) -> list[Part]:
        """Return the parts of a word; a single unknown part if it cannot be read."""
        if word[0] in quantities:
            return [Part("number", quantities[word[0]].text, quantity=quantities[word[0]])]
        known = self.known(word)
        if known:
            return known
        if not is_hangul(word) and len(word) <= MAX_SYLLABLES:
            return self._mixed(word)
        parts = self._cut(word) if 2 < len(word) <= MAX_SYLLABLES else None
        return parts or self._unknown(word)

    def can_follow(self, letters: str) -> bool:
        """Whether letters may be written onto a number: a particle, or words."""
        if letters in self._vocabulary.particles or letters in _POLITE_TAILS:
            return True
        return bool(self.known(letters) or (len(letters) <= MAX_SYLLABLES and self._cut(letters)))

    def known(self, word: str) -> list[Part]:
        """Return the parts of a word that is in the vocabulary as it stands; none if it is not."""
        if len(word) > MAX_SYLLABLES:
            return []
        kinds = self._vocabulary.words.get(word)
        if kinds:
            noun, role = self._vocabulary.split_particle(word)
            forms = tuple(self._vocabulary.forms(word)) if "contrast" in kinds else ()  # 말고 may be of a verb
            return [Part("word", word, stem=noun, role=role, kinds=kinds, forms=forms)]
        pronoun = self._pronoun(word)
        if pronoun:
            return [pronoun]
        if word in self._vocabulary.after_verb["then"]:
            return [Part("unknown", word, word)]
        named = self._named(word)
        if named and named.kind != "noun":
            return [named]
        verbs = self.verbs(word)
        if named and not named.role and len(verbs) > 1:  # 계단 (stairs), not 계-ㄴ with an auxiliary
            return [named]
        if named and verbs:  # 가지 (branch, or "가지 마"), 집은 (the house, or "집은 다음")
            return [replace(verbs[0], stem=named.stem, role=named.role, is_noun_too=True), *verbs[1:]]
        return [named] if named else verbs or self._deed_verb(word)

    def _pronoun(self, word: str) -> Part | None:
        noun, role = self._vocabulary.split_particle(word)
        kinds = self._vocabulary.words.get(noun, ())
        is_other = word in self._vocabulary.deeds or role not in (
            "object",
            "subject",
            "topic",
            "to",
            "from",
            "also",
        )  # 그만
        if is_other or not {"pronoun", "this"} & set(kinds):
            return None
        is_verb = role == "subject" and self._vocabulary.forms(word)  # 나가: "get out", not "I"
        return None if is_verb else Part("word", word, stem=noun, role=role, kinds=("pronoun",))

    def is_order(self, word: str) -> bool:
        """Whether a word is a deed or a verb that no other reading can be mistaken for: "멈춰", "정지해"."""
        parts = [] if word in self._vocabulary.words else self.verbs(word) or self._deed_verb(word)
        forms = parts[0].forms if parts else ()
        return word in self._vocabulary.deeds or any(len(form.sense.stem) > 1 for form in forms)

    def is_stop(self, word: str) -> bool:
        """Whether a word is an order to stop."""
        deed = self._vocabulary.deeds.get(word)
        if deed is not None:
            return deed.verb == "stop"
        parts = self.verbs(word) or self._deed_verb(word) if self.is_order(word) else []
        return any(form.sense.verb == "stop" for part in parts[:1] for form in part.forms)

    def verbs(self, word: str) -> list[Part]:
        """Return a verb with the auxiliaries that are written onto it; none if it is no verb."""
        forms = self._vocabulary.forms(word)
        if forms:
            return [Part("verb", word, forms=tuple(forms))]
        for cut in range(len(word) - 1, 0, -1):
            auxiliaries = tuple(self._vocabulary.auxiliaries(word[cut:]))
            before = self.verbs(word[:cut]) if auxiliaries else []
            if before and _takes_auxiliary(before[-1].forms, auxiliaries):
                return [*before, Part("verb", word[cut:], forms=auxiliaries)]
        return []

    def _named(self, word: str) -> Part | None:
        """A direction, a deed, a thing or a place, with its particle; the longest one that fits."""
        for cut in range(len(word), max(0, len(word) - self._vocabulary.longest_particle - 1), -1):
            stem, role = word[:cut], self._vocabulary.particles.get(word[cut:], "")
            if cut < len(word) and not (role and agrees(stem, word[cut:])):
                continue
            if stem in self._vocabulary.directions:
                return Part("direction", word, stem, role, direction=self._vocabulary.directions[stem])
            if stem in self._vocabulary.deeds and word[cut:] != "하고":
                return Part("deed", word, stem, role, sense=self._vocabulary.deeds[stem])
            if stem in self._nouns or stem in self._places or stem in self._vocabulary.sets["adjectives"]:
                return Part("noun", word, stem, role)
        return None

    def _deed_verb(self, word: str) -> list[Part]:
        """A deed with 하다 and the like written onto it: 전진해, 전진합시다, 정지요."""
        for cut in range(len(word) - 1, 0, -1):
            sense = self._vocabulary.deeds.get(word[:cut])
            if sense is None:
                continue
            if word[cut:] in _POLITE_TAILS:
                return [Part("deed", word, word[:cut], sense=sense)]
            verbs = self.verbs(word[cut:])
            if verbs and verbs[0].forms[0].sense.stem in ("하", "시키", "되"):
                return [_with_deed(word[:cut], sense, verbs[0]), *verbs[1:]]
        return []

    def _cut(self, word: str) -> list[Part] | None:
        """A word without spaces, if all of its parts are known."""
        dead_ends: set[int] = set()

        def search(start: int) -> list[Part] | None:
            if start == len(word):
                return []
            if start in dead_ends:
                return None
            for end in range(len(word), start, -1):
                if start == 0 and end == len(word):
                    continue
                parts = self._piece(word[start:end], start == 0)
                rest = search(end) if parts and _may_stand(parts, start, end, word) else None
                if rest is not None and _fits(parts, rest):
                    return [*parts, *rest]
            dead_ends.add(start)
            return None

        return search(0) or self._noun_then_verb(word)

    def _piece(self, text: str, is_first: bool) -> list[Part]:
        return [] if len(text) == 1 and is_first and text not in self._nouns else self.known(text)

    def _noun_then_verb(self, word: str) -> list[Part] | None:
        """An unknown noun with a clear particle, and a verb: 스피커를켜줘, 편의점으로가."""
        for cut in range(1, len(word) - 1):
            for particle in ("을", "를", "으로", "쪽으로", "까지", "한테", "에게"):
                end = cut + len(particle)
                if word.startswith(particle, cut) and end < len(word) and agrees(word[:cut], particle):
                    rest = self.known(word[end:])
                    if rest and rest[0].kind in ("verb", "deed"):
                        role = "object" if particle in "을를" else "to"
                        return [Part("unknown", word[:end], word[:cut], role), *rest]
        return None

    def _mixed(self, word: str) -> list[Part]:
        """Latin letters with Hangul behind: "stop해", "u턴"."""
        cut = next((index for index, character in enumerate(word) if is_hangul(character)), 0)
        sense = self._vocabulary.deeds.get(word[:cut])
        verbs = self.verbs(word[cut:]) if sense else []
        if sense and verbs and verbs[0].forms[0].sense.stem == "하":
            return [_with_deed(word[:cut], sense, verbs[0]), *verbs[1:]]
        return self._unknown(word)

    def _unknown(self, word: str) -> list[Part]:
        """A noun with its particle, or an unknown verb: one with 하다 or 주다, so that it is seen as one."""
        if len(word) > MAX_SYLLABLES:
            return [Part("unknown", word, word)]
        for cut in range(max(1, len(word) - 6), len(word)):
            verbs = self.verbs(word[cut:]) if word[cut] in "하해합한할함했줘주" else []
            if verbs and (verbs[0].forms[0].sense.stem == "하" or verbs[0].forms[0].sense.auxiliary == "give"):
                if verbs[-1].forms[0].ending.role.endswith("adnominal"):
                    break
                forms = tuple(Form(_UNKNOWN_VERB, form.ending) for form in verbs[0].forms)
                return [Part("verb", word, forms=forms), *verbs[1:]]
        noun, role = self._vocabulary.split_particle(word)
        return [Part("unknown", word, noun, role)]


def _with_deed(noun: str, sense: Sense, verb: Part) -> Part:
    """하다 does the deed; 시키다 has it done to a thing, a stop to whatever moves; 되다 tells that it is done."""
    stem = verb.forms[0].sense.stem
    if stem == "시키" and sense.verb != "stop":
        sense = Sense("other", stem=noun)
    forms = tuple(
        Form(sense, form.ending if stem != "되" else Ending("statement"))
        for form in verb.forms
        if form.sense.stem == stem
    )
    return Part("verb", noun + verb.text, noun, forms=forms)


def _takes_auxiliary(forms: tuple[Form, ...], auxiliaries: tuple[Form, ...]) -> bool:
    wanted = {
        "give": ("infinitive",),
        "keep": ("infinitive",),
        "try": ("infinitive",),
        "stop_doing": ("negated",),
        "not": ("negated",),
        "be": ("infinitive", "sequence"),
        "want": ("sequence",),
        "end": ("sequence",),
        "become": ("condition", "obligation"),
        "do": ("purpose", "obligation"),
        "wish": ("noun",),
        "begin": ("noun",),
    }
    roles = {form.ending.role for form in forms if not form.ending.is_past}
    return any(role in roles for form in auxiliaries for role in wanted.get(form.sense.auxiliary, ()))


def _may_stand(parts: list[Part], start: int, end: int, word: str) -> bool:
    """Whether a part may be written together with others there; short ones only where they are safe."""
    is_last, part, size = end == len(word), parts[-1], end - start
    if part.kind == "verb":
        return is_last or (size > 1 and any(form.ending.role in _LINKING for form in part.forms))
    if part.kind == "deed" and not is_last:
        return size > 1
    if part.kind == "noun":
        return not is_last and part.role in ("", "object", "to")
    if part.kind == "unknown":
        return start > 0  # "전진후좌회전"
    return size > 1 or part.kind == "number" or "not" in part.kinds


def _fits(parts: list[Part], rest: list[Part]) -> bool:
    """Whether what follows may follow: a short verb only after something that leads to it."""
    if not rest:
        return True
    before, after = parts[-1], rest[0]
    if before.kind == "noun" and after.kind not in ("verb", "deed"):
        return False
    if after.kind == "verb" and len(after.text) == 1 and len(rest) == 1:
        is_led = before.kind in ("direction", "noun") and before.role in ("to", "object")
        is_led = is_led or ("pronoun" in before.kinds and after.forms[0].sense.verb == "navigate")  # 이리와
        is_led = is_led or bool({"slow", "fast", "forward"} & set(before.kinds))
        return is_led or (before.kind == "direction" and after.forms[0].sense.verb == "look")
    if before.kind == "noun" and not before.role:
        return len(after.text) > 1 and any(form.sense.verb in _STANDING for form in after.forms)
    return before.kind == "deed" if after.kind == "unknown" else True
