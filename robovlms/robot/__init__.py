"""The robot's side: words and boxes to actions, the shield before the wheels, the run time. Installs without torch.

Each name below is loaded from its module when it is first used, so that importing this costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robovlms.robot.action import ActionType, RobotAction
    from robovlms.robot.config import RobotConfig, load_robot_config
    from robovlms.robot.goals import GoalResult, execute_action
    from robovlms.robot.guard.client import GuardClient
    from robovlms.robot.guard.config import GuardConfig
    from robovlms.robot.launch import run_robot
    from robovlms.robot.output.loop import ShieldedOutput
    from robovlms.robot.parser import VLAActionParser
    from robovlms.robot.prompts import Goal, get_vlm_prompt
    from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand
    from robovlms.robot.safety.joint_limits import JointLimits
    from robovlms.robot.safety.joint_shield import JointShield
    from robovlms.robot.safety.limits import ShieldLimits
    from robovlms.robot.safety.shield import SafetyShield
    from robovlms.robot.safety.stopping import stopping_distance
    from robovlms.robot.safety.validator import ActionValidator
    from robovlms.robot.yes_no import parse_yes_no_answer

_MODULES = {
    "ActionType": "action",
    "ActionValidator": "safety.validator",
    "Goal": "prompts",
    "GoalResult": "goals",
    "GuardClient": "guard.client",
    "GuardConfig": "guard.config",
    "JointCommand": "safety.command",
    "JointLimits": "safety.joint_limits",
    "JointShield": "safety.joint_shield",
    "Reason": "safety.command",
    "RobotAction": "action",
    "RobotConfig": "config",
    "SafetyShield": "safety.shield",
    "ShieldLimits": "safety.limits",
    "ShieldedOutput": "output.loop",
    "VLAActionParser": "parser",
    "VelocityCommand": "safety.command",
    "execute_action": "goals",
    "get_vlm_prompt": "prompts",
    "load_robot_config": "config",
    "parse_yes_no_answer": "yes_no",
    "run_robot": "launch",
    "stopping_distance": "safety.stopping",
}

__all__ = [
    "ActionType",
    "ActionValidator",
    "Goal",
    "GoalResult",
    "GuardClient",
    "GuardConfig",
    "JointCommand",
    "JointLimits",
    "JointShield",
    "Reason",
    "RobotAction",
    "RobotConfig",
    "SafetyShield",
    "ShieldLimits",
    "ShieldedOutput",
    "VLAActionParser",
    "VelocityCommand",
    "execute_action",
    "get_vlm_prompt",
    "load_robot_config",
    "parse_yes_no_answer",
    "run_robot",
    "stopping_distance",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
