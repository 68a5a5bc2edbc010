"""Which verb a Korean clause without one has in mind.

::

    앞으로 3미터          go         오른쪽으로 90도     turn
    부엌으로              go         좌회전, 3미터, …    go: behind a turn an amount can only be the way ahead
"""

from collections.abc import Collection, Sequence

from robovlms.robot.language.clause import Clause
from robovlms.robot.language.korean_draft import Draft
from robovlms.robot.language.korean_vocabulary import Sense

NO_VERB = Sense("")
_LONG_TIMES = ("분", "시간", "분간", "시간동안")


def verb_left_out(draft: Draft, before: Clause | None, has_nouns: bool, manners: Collection[str]) -> Sense:
    """Return the verb that a clause leaves out; `NO_VERB` where it is not clear.

    Args:
        draft: of the clause.
        before: the clause before it in the sentence.
        has_nouns: words of a thing stand at its end.
        manners: words behind which 앞으로 is "from now on".
    """
    if draft.deed:
        return draft.deed
    if _names_goal(draft, has_nouns):
        return Sense("go")
    if has_nouns or draft.num_unknown or draft.things or draft.is_negated:
        return NO_VERB
    directions = set(draft.directions)
    if directions & {"left", "right"} and draft.angle_deg is not None and draft.distance_m is None:
        return Sense("turn")
    if directions & {"clockwise", "counterclockwise"}:
        return Sense("turn")
    if not directions and draft.distance_m is not None and draft.angle_deg is None and is_turn(before):
        return Sense("go", "forward")
    is_clear = (draft.is_led and not _is_from_now_on(draft.words, manners)) or draft.distance_m is not None
    return Sense("go") if directions <= {"forward", "back"} and directions and is_clear else NO_VERB


def is_turn(clause: Clause | None) -> bool:
    """Whether a turn was asked for."""
    return clause is not None and clause.verb == "turn" and clause.mood == "command"


def _is_from_now_on(words: Sequence[str], manners: Collection[str]) -> bool:
    """ "앞으로 5분", "앞으로 조심해", "앞으로 부탁해": a time, no way."""
    if any("부탁" in word or word.endswith(_LONG_TIMES) for word in words):
        return True
    last = max((index for index, word in enumerate(words) if word.endswith("로")), default=0)
    return any(word in manners for word in words[last:])


def _names_goal(draft: Draft, has_nouns: bool) -> bool:
    """ "부엌으로": one known place, and that it is a goal."""
    is_only = len(draft.things) == 1 and not (has_nouns or draft.num_unknown or draft.directions)
    goal = draft.things[0] if is_only else None
    return goal is not None and goal.is_known and goal.role == "to" and draft.words[-1].endswith(("로", "까지"))
