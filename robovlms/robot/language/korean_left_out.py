"""Which verb a Korean clause without one has in mind.

::

    앞으로 3미터          go         오른쪽으로 90도     turn
    부엌으로              go         좌회전, 3미터, …    go: behind a turn an amount can only be the way ahead
"""

from robovlms.robot.language.clause import Clause
from robovlms.robot.language.korean_draft import Draft
from robovlms.robot.language.korean_vocabulary import Sense

NO_VERB = Sense("")


def verb_left_out(draft: Draft, before: Clause | None, has_nouns: bool) -> Sense:
    """Return the verb that a clause leaves out; `NO_VERB` where it is not clear.

    Args:
        draft: of the clause.
        before: the clause before it in the sentence.
        has_nouns: words of a thing stand at its end.
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
    is_asked = any("부탁" in word for word in draft.words)
    is_clear = (draft.is_led and not is_asked) or draft.distance_m is not None
    return Sense("go") if directions <= {"forward", "back"} and directions and is_clear else NO_VERB


def is_turn(clause: Clause | None) -> bool:
    """Whether a turn was asked for."""
    return clause is not None and clause.verb == "turn" and clause.mood == "command"


def _names_goal(draft: Draft, has_nouns: bool) -> bool:
    """ "부엌으로": one known place, and that it is a goal."""
    is_only = len(draft.things) == 1 and not (has_nouns or draft.num_unknown or draft.directions)
    goal = draft.things[0] if is_only else None
    return goal is not None and goal.is_known and goal.role == "to" and draft.words[-1].endswith(("로", "까지"))
