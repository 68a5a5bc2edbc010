"""What a robot can be asked to do. A new task is one file and one line here."""

from robovlms.robot.config import Part
from robovlms.robot.parts import make_part
from robovlms.robot.tasks.base import Decision, Task

# name -> module:class; imported when it is used
TASKS: dict[str, str] = {
    "ask": "robovlms.robot.tasks.ask:Ask",
    "goal": "robovlms.robot.tasks.goal:GoalTask",
    "policy": "robovlms.robot.tasks.policy:Policy",
    "say": "robovlms.robot.tasks.say:Say",
}

__all__ = ["TASKS", "Decision", "Task", "make_task"]


def make_task(part: Part) -> Task:
    """Make a task with its options.

    Raises:
        ConfigError: if the task or an option is unknown, or an option is of a wrong type.
        SafetyError: if it cannot be done.
    """
    return make_part("task", TASKS, part.name, part.options)
