"""A verb with all that belongs to it, across words: what it does to the clause.

::

    가지 · 말고            prohibited, something else follows
    가 · 주시겠어요         asked for
    멈추지 · 않으면         a condition
    간 · 다음에            done, then something else follows
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from robovlms.robot.language.korean_vocabulary import Ending, Form, KoreanVocabulary, Sense
from robovlms.robot.language.korean_words import Part

Outcome = Literal[
    "command",
    "statement",
    "question",
    "prohibition",  # final: "가지 마"
    "instead",  # forbidden, and what is to be done follows: "가지 말고", "멈추지 않고"
    "sequence",  # "가고", "가서", "간 다음에"
    "interrupted",  # "가다가"
    "while",
    "condition",
    "dropped",  # "가기 전에", "위험하니까", "잡으러": says when or why, asks for nothing
    "describing",  # "움직이는 (사람)": belongs to the noun behind it
]
_FINAL = {"command": "command", "infinitive": "command", "noun": "command", "request": "command"}
_LINKS: dict[str, Outcome] = {
    "sequence": "sequence",
    "interrupted": "interrupted",
    "memo": "statement",
    "dictionary": "statement",
    "while": "while",
    "condition": "condition",
    "cause": "dropped",
    "purpose": "dropped",
    "quote": "statement",
    "question": "question",
    "statement": "statement",
    "negated": "statement",
    "obligation": "condition",
}
_STOPPING = frozenset(
    {"question", "obligation", "negated", "quote", "dictionary", "memo"}
)  # whatever is said of it: stop
_TOLD_AGAIN = ("라니까", "라니깐")  # with or without 요
_ADNOMINALS = ("adnominal", "present_adnominal", "future_adnominal")
_NOT_TAKEN, _GO_ON = "", "on"
_SOFT_WORDS = frozenset({"word", "ask", "slow", "fast"})  # may stand between a verb and its auxiliary: "가지 좀 마"


@dataclass(frozen=True)
class VerbGroup:
    """A verb and its auxiliaries.

    Attributes:
        sense: of the verb.
        outcome: what it makes of the clause.
        end: index of the first part behind it.
        is_plain: a question mark makes it a question.
        is_loose: linked by -고, not by -아서.
        is_tried: with 보다, "돌아봐".
    """

    sense: Sense
    outcome: Outcome
    end: int
    is_plain: bool = False
    is_loose: bool = False
    is_tried: bool = False


class VerbGroups:
    """Reads verb groups out of parts."""

    def __init__(self, vocabulary: KoreanVocabulary) -> None:
        """Use the tables of one vocabulary."""
        self.vocabulary = vocabulary

    def read(self, parts: Sequence[Part], start: int, is_negated: bool) -> VerbGroup | None:
        """Return the group that begins at `start`; None if the verb there is read as the noun that it looks like.

        Args:
            parts: of a sentence.
            start: index of a verb.
            is_negated: 안 or 못 stands before it.
        """
        if parts[start].is_noun_too and self._is_noun(parts[start], _at(parts, start + 1)):
            return None
        return _Walk(self, parts, start, is_negated).run()

    def follows_adnominal(self, part: Part) -> str:
        """Which kind of word this is behind a verb that describes: "then", "when" …; "" if none."""
        kinds = ("then", "when", "rather", "being")
        return next((kind for kind in kinds if part.text in self.vocabulary.after_verb[kind]), "")

    def _is_noun(self, part: Part, following: Part | None) -> bool:
        """가지를, 집은, 돌: nouns, unless what follows needs a verb."""
        roles = {form.ending.role for form in part.forms}
        if following is None:
            return True
        if "negated" in roles and _auxiliary(following) in ("stop_doing", "not"):
            return False
        return not (roles & set(_ADNOMINALS) and self.follows_adnominal(following))


class _Walk:
    """One pass over a verb and what follows it."""

    def __init__(self, groups: VerbGroups, parts: Sequence[Part], start: int, is_negated: bool) -> None:
        self.groups, self.parts, self.index = groups, parts, start
        self.forms = parts[start].forms
        self.sense = self.forms[0].sense
        self.is_asked = self.is_tried = self.is_progressive = self.is_obliged = self.is_loose = False
        self.denial: Literal["", "forbidden", "not"] = "not" if is_negated else ""

    def run(self) -> VerbGroup:
        """Follow auxiliaries as long as they belong to the verb."""
        outcome = None
        while outcome is None:
            following, distance = self._following()
            taken = self._take(following) if following else _NOT_TAKEN
            self.index += distance if taken != _NOT_TAKEN else 0
            if taken == _NOT_TAKEN:
                outcome = self._decide(_chosen(self.forms, following))
            elif taken != _GO_ON:
                outcome = taken
        is_plain = not self.is_asked and not self.denial
        return VerbGroup(self.sense, outcome, self.index + 1, is_plain, self.is_loose, self.is_tried)

    def _following(self) -> tuple[Part | None, int]:
        """The part that may be an auxiliary, and how far it is: a word like 좀 may stand before it."""
        following, then = _at(self.parts, self.index + 1), _at(self.parts, self.index + 2)
        if following and then and _SOFT_WORDS & set(following.kinds) and _auxiliary(then):
            return then, 2
        return following, 1

    def _take(self, following: Part) -> str:
        """What `following` does to the verb: an outcome, or go on behind it, or it does not belong here."""
        roles = {form.ending.role for form in self.forms}
        auxiliary = _auxiliary(following)
        if "infinitive" in roles and not self.forms[0].ending.is_past:
            return self._after_infinitive(following, auxiliary)
        if "negated" in roles and auxiliary in ("stop_doing", "not"):
            self.denial = "forbidden" if auxiliary == "stop_doing" else "not"
            return self._go_on(following)
        if "condition" in roles:
            return self._after_condition(following, auxiliary)
        if "obligation" in roles and auxiliary in ("do", "become"):
            self.is_obliged = True
            return self._go_on(following)
        if "sequence" in roles and auxiliary in ("be", "want", "end"):
            self.is_progressive = auxiliary == "be"
            return "statement" if auxiliary == "want" else self._go_on(following)
        if "noun" in roles:
            return self._after_noun(following, auxiliary)
        if "purpose" in roles and auxiliary == "do":
            return self._go_on(following)
        return self._after_adnominal(following) if roles & set(_ADNOMINALS) else _NOT_TAKEN

    def _go_on(self, following: Part) -> str:
        self.forms = following.forms
        return _GO_ON

    def _after_infinitive(self, following: Part, auxiliary: str) -> str:
        joined = self._joined(following)
        if joined:
            self.forms, self.sense = joined, joined[0].sense
            return _GO_ON
        if auxiliary not in ("give", "try", "be", "keep"):
            return _NOT_TAKEN
        self.is_asked = self.is_asked or auxiliary == "give"
        self.is_tried = self.is_tried or auxiliary == "try"
        self.is_progressive = auxiliary == "be"
        return self._go_on(following)

    def _joined(self, following: Part) -> tuple[Form, ...]:
        """따라 가, 멈춰 서: verbs that are listed in one word."""
        last = following.forms[0].sense.stem if following.kind == "verb" else ""
        if last not in ("가", "오", "서", "보", "놓", "두", "올리", "들"):
            return ()
        forms = self.groups.vocabulary.forms(self.parts[self.index].text + following.text)
        return tuple(form for form in forms if form.sense.stem.endswith(last) and form.sense.stem != last)

    def _after_condition(self, following: Part, auxiliary: str) -> str:
        if "wrong" in following.kinds and self.is_asked and self.sense.verb == "stop":
            return "command"  # "멈춰 주면 안 돼?"
        if "wrong" in following.kinds:
            self.denial = "forbidden"
            return "prohibition"
        return "statement" if auxiliary == "become" else _NOT_TAKEN

    def _after_noun(self, following: Part, auxiliary: str) -> str:
        if following.text.startswith("전까지"):
            return "condition"
        if following.text in self.groups.vocabulary.after_verb["before"] or following.text == "때문에":
            return "dropped"
        if "ask" in following.kinds:
            return "command"
        return self._go_on(following) if auxiliary in ("wish", "begin", "do") else _NOT_TAKEN

    def _after_adnominal(self, following: Part) -> str:
        kind = self.groups.follows_adnominal(following)
        is_future = _only(self.forms, "future_adnominal")
        if kind == "then":
            return "condition" if is_future else "sequence"
        if kind == "being":
            return (
                "command" if is_future and following.text in self.groups.vocabulary.after_verb["duty"] else "statement"
            )
        return {"rather": "instead", "when": "condition"}.get(kind, _NOT_TAKEN)

    def _decide(self, ending: Ending) -> Outcome:
        role = ending.role
        if role == "dictionary" and ending.is_past and _goes_on(_at(self.parts, self.index + 1)):
            return "interrupted"  # "갔다 와": short for 갔다가
        if role in _ADNOMINALS:
            return "describing"
        if ending.is_past and role not in ("interrupted", "condition"):
            return "dropped" if role in ("sequence", "cause") else "question" if role == "question" else "statement"
        if self.denial:
            return self._denied(role)
        self.is_loose = role == "sequence" and not self.parts[self.index].text.endswith("서")
        is_request = (self.is_asked and ending.is_request) or (ending.is_polite_request and role != "condition")
        if is_request and role in ("question", "statement", "command", "infinitive", "negated"):
            self.is_asked = True
            return "command"
        if self.sense.verb == "stay" and role == "quote":
            return "command"  # "그대로 있으라고!"
        if self.sense.verb == "stop" and role in _STOPPING and not ending.is_future:
            return "command"
        if role in ("infinitive", "dictionary") and _goes_on(_at(self.parts, self.index + 1)):
            self.is_loose = True
            return "command" if self.sense.verb == "stop" else "sequence"
        if self.is_obliged or ending.is_future:
            return "statement" if self.sense.verb != "stop" or ending.is_future else "command"
        if self.is_progressive and self.sense.verb not in ("stop", "stay"):
            return _LINKS.get(role, "statement")
        if role == "noun" and _goes_on(_at(self.parts, self.index + 1)):
            return "statement"  # "가기 싫어", "뒤로 가기 버튼"
        if role in _FINAL or (role == "quote" and self._is_told_again()):
            return "command"
        return _LINKS[role]

    def _is_told_again(self) -> bool:
        """ "앞으로 가라니까!": at the end of a sentence whoever speaks quotes themself."""
        is_last = _at(self.parts, self.index + 1) is None
        return is_last and self.parts[self.index].text.removesuffix("요").endswith(_TOLD_AGAIN)

    def _denied(self, role: str) -> Outcome:
        if role == "condition":
            return "condition"
        if role in ("sequence", "interrupted"):
            return "instead"
        if role in ("cause",):
            return "dropped"
        if self.denial == "forbidden":
            return "prohibition" if role != "question" else "question"
        if role == "noun":
            return "prohibition"  # "움직이지 않기": a rule
        if role == "purpose":
            return "prohibition" if _at(self.parts, self.index + 1) is None else "dropped"
        if self.sense.verb == "stop" and self.parts[self.index].forms[0].sense.verb == "stop":
            return "command"  # "안 멈춰?" asks for it
        return "question" if role == "question" else "statement"


def _at(parts: Sequence[Part], index: int) -> Part | None:
    return parts[index] if index < len(parts) else None


def _goes_on(following: Part | None) -> bool:
    """Whether the clause is not the last: more than a call or a request follows."""
    return following is not None and following.kind != "mark" and not {"word", "ask", "then"} & set(following.kinds)


def _auxiliary(part: Part) -> str:
    return next((form.sense.auxiliary for form in part.forms if form.sense.auxiliary), "")


def _only(forms: tuple[Form, ...], role: str) -> bool:
    return all(form.ending.role == role for form in forms)


def _chosen(forms: tuple[Form, ...], following: Part | None) -> Ending:
    """The ending that fits the place: -니 asks at the end and gives a reason before something else."""
    at_end = following is None or following.kind == "mark"
    for form in forms:
        is_link = form.ending.role in ("cause", "condition", "negated", "interrupted", "purpose")
        if not (at_end and is_link and len(forms) > 1) and not (not at_end and form.ending.role == "question"):
            return form.ending
    return forms[0].ending
