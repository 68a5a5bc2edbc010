"""What the last verb of a Korean sentence makes of those before it.

::

    가서 · 돌아        both are asked for         가고 · 돌았어   both are told
    가서 · 돌지 마     both are forbidden         가면서 · 돌아   one curve
    열리면 · 가고 · 돌아   all hang on the condition
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from robovlms.robot.language.clause import Clause


@dataclass(frozen=True)
class Said:
    """A clause with how it is linked to the next: its mood may depend on the last verb of the sentence."""

    clause: Clause
    link: str  # outcome of its verb
    is_loose: bool = False


def settle(said: list[Said]) -> list[Clause]:
    """Give linked clauses the mood of the verb that they lead to; what follows a condition hangs on it."""
    clauses: list[Clause] = []
    last: Said | None = None
    for one in reversed(said):
        if one.link in ("command", "statement", "question", "prohibition"):
            last = one
            clauses.append(one.clause)
        elif one.link in ("sequence", "interrupted", "while") and last is not None:
            clauses.append(_led(one, last))
        elif one.link in ("interrupted", "while"):
            clauses.append(replace(one.clause, mood="statement"))
        else:
            clauses.append(one.clause)
    clauses = _merge_curves(_after_conditions(clauses[::-1]), said)
    clauses = _without_alternatives(clauses, said) if len(clauses) == len(said) else clauses
    return _without_plain_going(clauses)


def _without_plain_going(clauses: list[Clause]) -> list[Clause]:
    """ "벽을 따라 가", "상자를 피해서 가": the going is in the verb before."""
    kept: list[Clause] = []
    for clause in clauses:
        is_plain = clause.verb == "go" and not clause.thing and clause.distance_m is None and clause.angle_deg is None
        before = kept[-1] if kept else None
        if is_plain and before and before.mood == clause.mood == "command" and before.text:
            follows = before.verb == "navigate" and before.text.endswith("따라")
            if (follows and set(clause.directions) <= {"forward"}) or (
                before.verb == "avoid" and not clause.directions
            ):
                speed = before.speed if clause.speed == "normal" else clause.speed
                kept[-1] = replace(before, speed=speed, text=f"{before.text} {clause.text}")
                continue
        kept.append(clause)
    return kept


def _without_alternatives(clauses: list[Clause], said: list[Said]) -> list[Clause]:
    """ "가지 말고 돌아": the motion that is wanted stands behind the one that is not, and no stop is asked for.

    "가지 말고 앞으로 가" contradicts itself, and is kept as it is.
    """
    kept = []
    for index, (clause, one) in enumerate(zip(clauses, said, strict=True)):
        wanted = next((later for later in clauses[index + 1 :] if later.mood == "command" and later.verb), None)
        is_clear = wanted is not None and (wanted.verb != clause.verb or bool(clause.directions))
        if one.link != "instead" or not is_clear:
            kept.append(clause)
    return kept


def take_back(clauses: list[Clause], corrections: Collection[str]) -> list[Clause]:
    """ "왼쪽으로 돌아, 아니 오른쪽으로": a clause that begins with 아니 stands in the place of the one before.

    A stop is never taken back.
    """
    kept: list[Clause] = []
    for clause in clauses:
        before = kept[-1] if kept else None
        if before and before.text in corrections:
            kept.pop()
        elif before and before.mood == "command" and before.verb != "stop" and clause.text.split(" ")[0] in corrections:
            kept.pop()
            is_same = clause.verb is None and clause.directions and before.verb in ("go", "slide", "turn", "curve")
            is_same = is_same and clause.num_words <= 2
            clause = replace(before, text=clause.text, directions=clause.directions) if is_same else clause
            clause = clause if clause.verb or clause.mood != "statement" else replace(clause, mood="command")
        kept.append(clause)
    return kept


def _led(one: Said, last: Said) -> Clause:
    if last.link in ("statement", "question"):
        return replace(one.clause, mood=last.clause.mood)
    if last.link == "prohibition" and not one.is_loose:
        return one.clause if one.clause.verb == "stop" else replace(one.clause, mood="prohibition")
    return one.clause


def _after_conditions(clauses: list[Clause]) -> list[Clause]:
    hangs = False
    result = []
    for clause in clauses:
        hangs = hangs or clause.mood == "condition"
        result.append(replace(clause, mood="condition") if hangs and clause.mood == "command" else clause)
    return result


def _merge_curves(clauses: list[Clause], said: list[Said]) -> list[Clause]:
    """ "가면서 돌아" is one curve; looking while driving is driving."""
    merged: list[Clause] = []
    is_open = False
    for clause, one in zip(clauses, said, strict=True):
        if is_open:
            clause = _both(merged.pop(), clause)
        is_open = one.link == "while" and clause.mood == "command"
        merged.append(clause)
    return merged


def _both(first: Clause, second: Clause) -> Clause:
    second = replace(
        second,
        text=f"{first.text} {second.text}",
        num_words=first.num_words + second.num_words,
        num_understood=first.num_understood + second.num_understood,
    )
    if {first.verb, second.verb} <= {"go", "turn", "curve"} and second.mood == "command":
        if first.verb == second.verb == "go" or not (first.directions or second.directions):
            return replace(second, directions=(*first.directions, *second.directions))
        speed = first.speed if second.speed == "normal" else second.speed
        return replace(second, verb="curve", directions=(*first.directions, *second.directions), speed=speed)
    if first.verb in ("look", "find", "point", "other", "grab") and second.verb is not None:
        return second
    return replace(second, verb=second.verb if second.verb == "stop" else None)
