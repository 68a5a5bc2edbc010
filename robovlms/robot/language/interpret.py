"""Clauses to actions. Knows no language; every rule of what a robot may do with what was said is here.

::

    clauses ─ is something hanging on a condition? ─> stop if that was asked for, else unknown
            ─ prohibitions: forbid, take back, or fall away beside a command
            ─ each command ─> an action, or unknown
            ─ what would move after something unknown waits: unknown as well

Signs follow ROS REP-103: x forward, y left, yaw counter-clockwise.
Source: https://www.ros.org/reps/rep-0103.html
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from robovlms.errors import ConfigError
from robovlms.robot.action import ActionType, Gripper, RobotAction
from robovlms.robot.language.clause import Clause, Direction

FULL_CONFIDENCE = 0.95  # of a command of which every word was understood; words may still mean something else
STOP_CONFIDENCE = 1.0  # a stop is never doubted

MAX_AMOUNT = 1e5  # m or degrees; whoever says more did not mean it
MOTION_VERBS = frozenset({"go", "slide", "turn", "curve"})
YAW: dict[Direction, int] = {"left": 1, "counterclockwise": 1, "right": -1, "clockwise": -1}
FORWARD: dict[Direction, int] = {"forward": 1, "back": -1}
SIDEWAYS: dict[Direction, int] = {"left": 1, "right": -1}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast what was said is driven.

    Attributes:
        linear_speed_mps: normal speed along x and y, m/s.
        angular_speed_radps: normal speed of a turn, rad/s.
        slow_factor: times this when "slowly" was said, in (0, 1].
        fast_factor: times this when "quickly" was said, at least 1.
    """

    linear_speed_mps: float = 0.3
    angular_speed_radps: float = 0.5
    slow_factor: float = 0.5
    fast_factor: float = 1.5

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise ConfigError(f"{entry.name}: expected a finite number above 0, got {value!r}")
        if self.slow_factor > 1 or self.fast_factor < 1:
            raise ConfigError(
                f"expected slow_factor <= 1 <= fast_factor, got {self.slow_factor} and {self.fast_factor}"
            )

    def factor(self, speed: str) -> float:
        """Return what a speed word multiplies the normal speed by."""
        return {"slow": self.slow_factor, "fast": self.fast_factor}.get(speed, 1.0)


def interpret(clauses: Sequence[Clause], pace: Pace) -> list[RobotAction]:
    """Return the actions of what was said, in order; at least one, unknown if there is nothing to do.

    Confidence is the understood share of the clause's words times that of all words, times `FULL_CONFIDENCE`; an
    unknown has 0 and a stop `STOP_CONFIDENCE`. A word that is not understood can therefore only lower it.
    """
    if any(clause.mood == "condition" for clause in clauses):
        actions = [_what_hangs_on_a_condition(clauses)]
    else:
        actions = _actions(clauses, pace)
    actions = _wait_for_unknown(_without_repeated_stops(actions)) or [_unknown("nothing to do was understood")]
    share = _understood_share(clauses)
    return [
        dataclasses.replace(action, sequence_index=index, confidence=_confidence(action, share))
        for index, action in enumerate(actions)
    ]


def _what_hangs_on_a_condition(clauses: Sequence[Clause]) -> RobotAction:
    """One step cannot check a condition: a stop is done without it, anything else is not done."""
    for clause in clauses:
        if clause.verb == "stop" and clause.mood in ("command", "condition"):
            return _stop(clause)
    return _unknown("hangs on a condition: " + clauses[0].text)


def _actions(clauses: Sequence[Clause], pace: Pace) -> list[RobotAction]:
    has_command = any(clause.mood == "command" and clause.verb is not None for clause in clauses)
    actions: list[tuple[Clause, RobotAction]] = []
    is_still = False
    for clause in clauses:
        is_still = is_still or _forbids_all_motion(clause)
        if clause.mood == "command":
            action = _command(clause, pace)
            is_forbidden = is_still and any(action.velocity)
            actions.append((clause, _unknown("all motion is forbidden: " + clause.text) if is_forbidden else action))
        elif clause.mood == "prohibition":
            actions = _prohibit(clause, actions, has_command)
    return _stop_before_noise(actions)


def _stop_before_noise(actions: list[tuple[Clause, RobotAction]]) -> list[RobotAction]:
    """Nothing that can be done, then a stop: the stop is what counts ("oh dear, stop"), it must not wait behind."""
    for index, (_, action) in enumerate(actions):
        if action.action_type == ActionType.STOP:
            return [one for _, one in actions[index:]]
        if action.action_type != ActionType.UNKNOWN:
            break
    return [action for _, action in actions]


def _prohibit(
    clause: Clause, actions: list[tuple[Clause, RobotAction]], has_command: bool
) -> list[tuple[Clause, RobotAction]]:
    """Return the actions so far after something was forbidden."""
    if _forbids_all_motion(clause):
        return [*((said, action) for said, action in actions if not any(action.velocity)), (clause, _stop(clause))]
    kept = [(said, action) for said, action in actions if not _takes_back(clause, said)]
    if len(kept) < len(actions):
        return [*kept, (clause, _stop(clause))]
    if clause.verb is None:
        return [*actions, (clause, _unknown("forbids something not understood: " + clause.text))]
    if has_command:
        return actions
    if clause.verb in ("stop", "other"):
        return [*actions, (clause, _unknown("forbids, and names no motion: " + clause.text))]
    return [*actions, (clause, _stop(clause))]


def _forbids_all_motion(clause: Clause) -> bool:
    """ "Don't move": whatever else was said must not move either."""
    is_bare = not clause.directions and clause.thing is None and not clause.has_pronoun
    return clause.mood == "prohibition" and clause.verb == "go" and is_bare


def _takes_back(prohibition: Clause, command: Clause) -> bool:
    if prohibition.verb != command.verb or command.mood != "command" or command.verb == "stop":
        return False
    if not prohibition.directions and prohibition.thing is None and not prohibition.has_pronoun:
        return True
    return _about(prohibition) == _about(command)


def _about(clause: Clause) -> tuple[object, ...]:
    return clause.directions, clause.thing, clause.has_pronoun


def _without_repeated_stops(actions: list[RobotAction]) -> list[RobotAction]:
    stop = ActionType.STOP
    return [
        action
        for index, action in enumerate(actions)
        if not (action.action_type == stop and index and actions[index - 1].action_type == stop)
    ]


def _wait_for_unknown(actions: list[RobotAction]) -> list[RobotAction]:
    """Nothing moves after a step that is not understood: where the robot would then be is not known."""
    kept: list[RobotAction] = []
    is_waiting = False
    for action in actions:
        if is_waiting and any(action.velocity):
            action = _unknown("waits for what was not understood: " + action.description)
        is_waiting = is_waiting or action.action_type == ActionType.UNKNOWN
        kept.append(action)
    return kept


def _understood_share(clauses: Sequence[Clause]) -> float:
    words = sum(clause.num_words for clause in clauses)
    return sum(min(clause.num_understood, clause.num_words) for clause in clauses) / words if words else 0.0


def _confidence(action: RobotAction, share: float) -> float:
    if action.action_type == ActionType.UNKNOWN:
        return 0.0
    return STOP_CONFIDENCE if action.action_type == ActionType.STOP else action.confidence * share * FULL_CONFIDENCE


def _command(clause: Clause, pace: Pace) -> RobotAction:
    """Return the action of one clause."""
    if clause.verb == "stop":
        return _stop(clause)
    for value in (clause.distance_m, clause.angle_deg):
        if value is not None and not 0 < value <= MAX_AMOUNT:
            return _unknown(f"no distance or angle to go: {value}")
    if clause.verb in MOTION_VERBS:
        if clause.verb == "go" and (clause.thing is not None or clause.has_pronoun):
            return _still(clause, ActionType.NAVIGATE)
        return _motion(clause, pace)
    kind = _STILL.get(clause.verb or "other")
    return _still(clause, kind) if kind else _unknown("no command for the base or the gripper: " + clause.text)


# The goal of a navigation and the way around an obstacle are for whoever sees them: the parser drives nowhere blindly.
_STILL: dict[str, ActionType] = {
    "grab": ActionType.GRAB,
    "release": ActionType.RELEASE,
    "point": ActionType.POINT,
    "look": ActionType.LOOK,
    "find": ActionType.LOOK,
    "navigate": ActionType.NAVIGATE,
    "avoid": ActionType.AVOID,
}
_GRIPPER: dict[ActionType, Gripper] = {ActionType.GRAB: "close", ActionType.RELEASE: "open"}


def _still(clause: Clause, kind: ActionType) -> RobotAction:
    return RobotAction(
        kind,
        target_object=clause.thing,
        description=" ".join(filter(None, (kind.value, clause.thing, clause.side and f"on the {clause.side}"))),
        confidence=_own_share(clause),
        speed=clause.speed,
        distance_m=clause.distance_m,
        angle_deg=clause.angle_deg,
        gripper=_GRIPPER.get(kind),
    )


def _motion(clause: Clause, pace: Pace) -> RobotAction:
    """Return a move or a turn; unknown if the directions contradict each other or none is said."""
    signs = _signs(clause)
    if signs is None:
        return _unknown("where to is not clear: " + clause.text)
    linear = pace.linear_speed_mps * pace.factor(clause.speed)
    angular = pace.angular_speed_radps * pace.factor(clause.speed)
    kind = ActionType.TURN if clause.verb == "turn" else ActionType.MOVE
    return RobotAction(
        kind,
        linear_x=signs[0] * linear,
        linear_y=signs[1] * linear,
        angular_z=signs[2] * angular,
        target_object=clause.thing,
        description=_describe(kind, clause),
        confidence=_own_share(clause),
        distance_m=clause.distance_m,
        angle_deg=clause.angle_deg,
        speed=clause.speed,
    )


def _signs(clause: Clause) -> tuple[int, int, int] | None:
    """Return the signs of (x, y, yaw); None if they are not said or contradict each other."""
    directions = set(clause.directions)
    ahead = {FORWARD[one] for one in directions if one in FORWARD}
    yaw = {YAW[one] for one in directions if one in YAW}
    if len(ahead) > 1 or len(yaw) > 1:
        return None
    along, around = sum(ahead), sum(yaw)
    if clause.verb == "turn":
        return None if along or clause.distance_m is not None else (0, 0, _yaw_of_turn(clause, around))
    if "around" in directions or (clause.angle_deg is not None and clause.verb != "curve"):
        return None
    if clause.verb == "curve":
        return (along or 1, 0, around) if around else None
    if directions & {"clockwise", "counterclockwise"}:
        return None
    if clause.verb == "slide":
        return (along, around, 0) if around else None
    return _signs_of_go(along, around, clause.distance_m is not None)


def _yaw_of_turn(clause: Clause, yaw: int) -> int:
    """Turning around may go either way and goes left; a turn without side and end does not start."""
    goes_either_way = "around" in clause.directions or (clause.angle_deg is not None and clause.angle_deg % 180 == 0)
    return yaw or (1 if goes_either_way else 0)


def _signs_of_go(along: int, aside: int, has_distance: bool) -> tuple[int, int, int] | None:
    """Return the signs of going somewhere.

    "Go left" may mean turning or sliding, "two metres to the left" can only be a translation, and "go two metres" is
    said of the way ahead.
    """
    if has_distance and not along and not aside:
        return 1, 0, 0
    if along and not aside:
        return along, 0, 0
    if along > 0:
        return along, 0, aside
    return (0, aside, 0) if aside and not along and has_distance else None


def _describe(kind: ActionType, clause: Clause) -> str:
    amounts = [
        f"{clause.distance_m:g} m" if clause.distance_m is not None else "",
        f"{clause.angle_deg:g} degrees" if clause.angle_deg is not None else "",
        "" if clause.speed == "normal" else clause.speed,
    ]
    return " ".join(filter(None, (kind.value, *clause.directions, *amounts)))


def _own_share(clause: Clause) -> float:
    return min(1.0, clause.num_understood / clause.num_words) if clause.num_words > 0 else 0.0


def _stop(clause: Clause) -> RobotAction:
    return RobotAction(ActionType.STOP, description="stop", speed=clause.speed)


def _unknown(why: str) -> RobotAction:
    return RobotAction(ActionType.UNKNOWN, description=why[:120])
