"""The parts of one Korean sentence to what was said, verb by verb: a draft gathers words until a verb closes it."""

from dataclasses import replace

from robovlms.robot.language.clause import Clause, Mood
from robovlms.robot.language.korean_ahead import (
    denies,
    is_describing,
    is_ruled_out,
    names_amount,
    stands_alone,
    starts_anew,
)
from robovlms.robot.language.korean_draft import Draft, Thing, build_clause
from robovlms.robot.language.korean_left_out import NO_VERB, verb_left_out
from robovlms.robot.language.korean_moods import Said
from robovlms.robot.language.korean_verbs import VerbGroup, VerbGroups
from robovlms.robot.language.korean_vocabulary import Ending, Form, KoreanVocabulary, Sense
from robovlms.robot.language.korean_words import Part

_ADVERB_ENDS = ("히", "게", "이", "껏", "로", "서", "듯", "씩", "채")
_UNKNOWN_NEGATED = (Form(Sense("unknown"), Ending("negated")),)
_STOP = Sense("stop", stem="정지")


def read_sentence(
    vocabulary: KoreanVocabulary, groups: VerbGroups, parts: list[Part], is_question: bool, before: Clause | None = None
) -> list[Said]:
    """Return what a sentence says, in its order.

    Args:
        vocabulary: tables.
        groups: reads verbs with their auxiliaries.
        parts: of the sentence.
        is_question: it ends with a question mark.
        before: last clause of the sentence before.
    """
    return _Sentence(vocabulary, groups, parts, is_question, before).read()


class _Sentence:
    """One pass over the parts of a sentence."""

    def __init__(
        self,
        vocabulary: KoreanVocabulary,
        groups: VerbGroups,
        parts: list[Part],
        is_question: bool,
        before: Clause | None,
    ) -> None:
        self.vocabulary, self.groups, self.parts, self.is_question = vocabulary, groups, parts, is_question
        self.before = before
        self.index = 0
        self.draft = Draft()
        self.nouns: list[Part] = []  # words of a noun phrase whose end has not come yet
        self.said: list[Said] = []

    def read(self) -> list[Said]:
        """Take part after part."""
        readers = {
            "mark": self._mark,
            "word": self._word,
            "direction": self._direction,
            "number": self._number,
            "deed": self._deed,
            "verb": self._verb,
            "noun": self._noun,
            "unknown": self._noun,
        }
        while self.index < len(self.parts):
            part = self.parts[self.index]
            self.index += 1
            if part.kind != "mark":
                self.draft.words.append(part.text)
            if part.text in self.vocabulary.after_verb["then"] and self._is_amount_named():
                self._finish()  # "좌회전 90도 후 정지"
            else:
                readers[part.kind](part)
        self._finish()
        return self.said

    def _is_amount_named(self) -> bool:
        draft = self.draft
        is_measured = draft.distance_m is not None or draft.angle_deg is not None
        return draft.deed is not None or (is_measured and self._left_out() is not NO_VERB)

    def _next(self, offset: int = 0) -> Part | None:
        index = self.index + offset
        return self.parts[index] if index < len(self.parts) else None

    def _next_is(self, kind: str) -> bool:
        following = self._next()
        return following is not None and kind in following.kinds

    def _ahead(self) -> list[Part]:
        return self.parts[self.index :]

    def _left_out(self) -> Sense:
        last = self.said[-1].clause if self.said else self.before
        return verb_left_out(self.draft, last, bool(self.nouns), self.vocabulary.sets["manners"])

    def _skip(self, count: int = 1) -> None:
        for part in self.parts[self.index : self.index + count]:
            self.draft.words.append(part.text)
        self.index += count

    def _mark(self, part: Part) -> None:
        if self.draft.deed or (self._left_out() is not NO_VERB and starts_anew(self._ahead())):
            self._finish()
        if self.nouns and all(noun.kind == "unknown" for noun in self.nouns) and not self.draft.directions:
            self._drop_nouns()

    def _drop_nouns(self) -> None:
        """Take words that turned out not to belong to a noun phrase for unknown ones."""
        self.draft.num_unknown += len(self.nouns)
        self.nouns = []

    def _word(self, part: Part) -> None:
        kinds, draft = part.kinds, self.draft
        if "contrast" in kinds and (draft.directions or self.nouns or draft.things):
            self._take_back()
        elif "pronoun" in kinds:
            self._pronoun(part)
        elif "toward" in kinds and draft.things and draft.things[-1].role in ("object", ""):
            draft.things[-1] = replace(draft.things[-1], role="to")
        elif "then" in kinds:
            self._finish()
            self.draft.words.append(part.text)
        elif "quoting" in kinds and self.said:
            self.said[-1] = Said(replace(self.said[-1].clause, mood="statement"), "statement")
        elif "wrong" in kinds or "forbidden" in kinds:
            self._forbidden(part)
        elif "sideways" in kinds and self.nouns and "옆" in part.text:
            self._close_noun("to", is_place=True)
        elif "slow" in kinds or "fast" in kinds:
            draft.speed = "slow" if "slow" in kinds else "fast"
        else:
            draft.note(part.kinds)

    def _take_back(self) -> None:
        """ "왼쪽 말고": what was named last is not meant."""
        if self.nouns:
            self.nouns = []
        elif self.draft.directions:
            self.draft.directions.pop()
        else:
            self.draft.things.pop()

    def _pronoun(self, part: Part) -> None:
        following = self._next()
        if following and (following.kind == "direction" or following.stem in self.vocabulary.sets["places_of"]):
            role = following.role or "to"
            self._skip()
        else:
            role = _pronoun_role(part)
        self._drop_nouns()
        self.draft.things.append(Thing(None, role, True))

    def _forbidden(self, part: Part) -> None:
        if "wrong" in part.kinds and not self.said and len(self.draft.words) == 1:
            self._close(_STOP, "command")
        else:
            self._close(NO_VERB, "prohibition")

    def _direction(self, part: Part) -> None:
        draft, following = self.draft, self._next()
        assert part.direction is not None
        if self._is_relational(part):
            self._close_noun(part.role or "to", is_place=True)
            return
        self._drop_nouns()
        if self._next_is("contrast"):
            self._skip()
            return
        if (
            following
            and following.kind == "verb"
            and is_describing(following)
            and following.forms[0].sense.verb == "stay"
        ):
            draft.set_side(part.direction)
            self._skip()
        elif part.role in ("", "of") and following and following.kind in ("noun", "unknown") and not following.kinds:
            draft.set_side(part.direction)
        elif part.role in ("", "subject", "topic") and is_ruled_out(self._ahead()):
            self._skip()
        elif part.role in ("subject", "topic") or part.text.endswith("도"):
            draft.num_unknown += 1
        elif part.role == "from":
            draft.set_side(part.direction)
        else:
            draft.directions.append(part.direction)
            draft.is_led |= part.role == "to" and not part.text.endswith(("에", "까지"))

    def _is_relational(self, part: Part) -> bool:
        """ "책상 앞으로", "문 왼쪽에": a place at a thing, no direction of the robot."""
        if part.stem not in self.vocabulary.sets["places_of"] or not self.nouns:
            return False
        last = self.nouns[-1]
        if last.kind == "noun":
            return last.stem not in self.vocabulary.sets["adjectives"]
        return len(last.stem) > 1 and not last.stem.endswith(_ADVERB_ENDS)

    def _number(self, part: Part) -> None:
        draft, quantity, following = self.draft, part.quantity, self._next()
        assert quantity is not None
        self._drop_nouns()
        if quantity.kind == "distance":
            draft.distance_m = quantity.value + (draft.distance_m or 0.0)
        elif quantity.kind == "angle":
            draft.angle_deg = quantity.value + (draft.angle_deg or 0.0)
        elif following and following.text in ("후", "후에", "뒤", "뒤에", "있다가", "이따가"):
            draft.is_delayed = True
            self._skip()

    def _noun(self, part: Part) -> None:
        following = self._next()
        if part.stem in self.vocabulary.sets["places_of"] and self.nouns:
            self._close_noun(part.role, is_place=True)
        elif following and "contrast" in following.kinds:
            self.nouns = []
            self._skip()
        elif following and part.kind == "unknown" and part.text.endswith(("지", "지는", "지도")) and denies(following):
            self._group(replace(part, kind="verb", forms=_UNKNOWN_NEGATED), self.index - 1)
        elif part.role in ("", "of", "with"):
            self.nouns.append(part)
        else:
            self.nouns.append(part)
            self._close_noun(part.role)

    def _close_noun(self, role: str, is_place: bool = False) -> None:
        """End a noun phrase: a place in front of a thing ("책상 위의 컵") says where it is, and is dropped."""
        nouns, self.nouns = self.nouns, []
        if is_place and role == "of":
            return
        words = [noun.text for noun in nouns[:-1]] + [nouns[-1].stem or nouns[-1].text]
        if len(words) > 1 and words[0] in ("이", "그", "저", "요"):
            words = words[1:]
        is_known = all(noun.kind != "unknown" for noun in nouns)
        text = " ".join(words)
        self.draft.things.append(Thing(text, role, is_known, is_place))

    def _deed(self, part: Part) -> None:
        assert part.sense is not None
        following, sense = self._next(), part.sense
        if self.draft.deed:
            words = self.draft.words.pop()
            self._finish()
            self.draft.words.append(words)
        after = self.vocabulary.after_verb
        if following and "forbidden" in following.kinds:
            self._skip()
            self._close(sense, "prohibition")
        elif following and "contrast" in following.kinds:
            self._skip()
            self._close(sense, "instead")
        elif following and following.text in after["then"] and part.role == "":
            self._skip()
            self._close(sense, "sequence")
        elif following and following.text in after["when"] and part.role == "":
            self._skip()
            self._close(sense, "condition")
        elif following and following.kind == "verb" and self._does(part, following):
            self._do(sense)
        elif self._is_adverb(part, following):
            return
        elif part.role == "quoted" and sense.verb == "stop":
            self._close(sense, "command")
        elif part.role == "to" and sense.verb in ("slide", "go", "curve"):
            self.draft.manner = sense
        elif part.role == "" and names_amount(self._ahead(), self.vocabulary.after_verb["then"]):
            self.draft.deed = sense
        elif part.role in ("", "object") and stands_alone(part, self._ahead()):
            self._close(sense, "question" if self.is_question and sense.verb != "stop" else "command")
        elif part.role == "" and following and following.sense and sense.verb == following.sense.verb == "go":
            self.draft.directions += [sense.direction] if sense.direction else []
        else:
            self._noun(replace(part, kind="noun"))

    def _does(self, part: Part, following: Part) -> bool:
        """Whether the verb behind a deed only says that it is done: "회전을 해", "그만 가"."""
        return following.forms[0].sense.stem in self.vocabulary.sets["doing"] and part.role in ("", "object", "also")

    def _do(self, sense: Sense) -> None:
        self._group(replace(self.parts[self.index], forms=_with_sense(self.parts[self.index], sense)), self.index)

    def _is_adverb(self, part: Part, following: Part | None) -> bool:
        """잠깐 and 그만 before a verb: "잠깐 기다려", "그만 가"."""
        if part.stem == "그만" and following and any(one.kind == "verb" for one in self.parts[self.index :]):
            self.draft.is_enough = True
            return True
        is_moment = part.stem.startswith(("잠깐", "잠시", "잠간"))
        return is_moment and following is not None and following.kind != "mark" and "ask" not in following.kinds

    def _verb(self, part: Part) -> None:
        if not self._group(part, self.index - 1):
            self._noun(replace(part, kind="noun", forms=()))

    def _group(self, part: Part, start: int) -> bool:
        parts = self.parts
        if self.draft.is_enough:
            is_said = part.forms[0].sense.stem == "되"  # "그만 됐어"
            forms = (Form(_STOP, Ending("command")),) if is_said else _with_sense(part, _STOP)
            part = replace(part, forms=forms)  # "그만 가": whatever it is, it is to end
        if part is not parts[start]:
            parts = [*parts[:start], part, *parts[start + 1 :]]
        group = self.groups.read(parts, start, self.draft.is_negated)
        if group is None:
            return False
        for taken in self.parts[max(self.index, start) : group.end]:
            self.draft.words.append(taken.text)
        self.index = group.end
        self._apply(group, start)
        return True

    def _apply(self, group: VerbGroup, start: int) -> None:
        if group.outcome == "describing":
            self._describe(start, group)
            return
        outcome = group.outcome
        is_stop = group.sense.verb == "stop"
        if outcome == "command" and group.is_plain and self._asks() and not is_stop:
            outcome = "question"
        if self.draft.is_question and outcome == "command" and not is_stop:
            outcome = "question"
        if outcome == "interrupted" and {"로봇이", "로봇은"} & set(self.draft.words):
            outcome = "statement"  # "로봇이 돌았다 멈춰": told, no step
        sense = group.sense
        if self.draft.deed and sense.stem == "하":
            sense = self.draft.deed
        if group.is_tried and sense.stem == "돌" and not self.draft.directions and self.draft.angle_deg is None:
            sense = Sense("look", stem="돌아보")
        self._close(sense, outcome, group.is_loose)

    def _asks(self) -> bool:
        return self.is_question and all(part.kind == "mark" or part.kinds for part in self.parts[self.index :])

    def _describe(self, start: int, group: VerbGroup) -> None:
        """ "움직이는 사람": the verb and all before it belong to the noun that comes."""
        if self.said and self.said[-1].is_loose and group.sense.stem in ("오", "가"):
            self.said.pop()  # "두고 온 가방"
        is_alone = not (self.draft.things or self.draft.directions or self.nouns)
        text = " ".join(part.text for part in self.parts[start : group.end])
        self.nouns = [Part("noun", text, text)] if is_alone else []
        self.draft.things, self.draft.directions = [], []

    def _finish(self) -> None:
        """Close what has no verb: "앞으로 3미터", or words that are no command."""
        draft = self.draft
        has_content = draft.deed or draft.directions or draft.things or self.nouns or draft.num_unknown
        if not has_content and draft.distance_m is None:
            if self.before and len(draft.words) == 1 and draft.words[0] in self.vocabulary.sets["corrections"]:
                self._close(NO_VERB, "command")  # "왼쪽으로 돌아. 아니야."
            elif draft.words and self.said:
                self._add_speed()
                self.draft = Draft()
            return
        self._close(self._left_out(), "command" if not self.is_question else "question", is_left_out=True)

    def _add_speed(self) -> None:
        """ "앞으로 가, 천천히": the speed of the verb before."""
        last = self.said[-1]
        if self.draft.speed != "normal" and last.clause.mood == "command" and last.clause.verb != "stop":
            self.said[-1] = replace(last, clause=replace(last.clause, speed=self.draft.speed))

    def _close(self, sense: Sense, outcome: str, is_loose: bool = False, is_left_out: bool = False) -> None:
        if self.nouns:
            self._close_noun("")
        if self._has_other_subject() and not self.draft.is_where:
            self.draft.num_unknown += 1
        mood: Mood = "command"
        for known in ("command", "statement", "question", "prohibition", "condition"):
            if known == outcome:
                mood = known
        if outcome == "instead":
            mood = "prohibition"
        if outcome == "dropped":
            mood = "statement"
        if is_left_out and sense is NO_VERB and not self.said and self.draft.distance_m is None:
            mood = "statement" if mood == "command" else mood
        clause = build_clause(self.draft, sense, mood, self.vocabulary)
        self.said.append(Said(clause, outcome if clause.mood != "condition" else "condition", is_loose))
        self.draft = Draft()

    def _has_other_subject(self) -> bool:
        return any(thing.role == "subject" for thing in self.draft.things)


def _with_sense(part: Part, sense: Sense) -> tuple:
    return tuple(replace(form, sense=sense) for form in part.forms)


def _pronoun_role(part: Part) -> str:
    if part.text.endswith(("한테", "에게", "게", "로", "리")):
        return "to"
    return part.role or ""
