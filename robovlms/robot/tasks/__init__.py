"""What a robot can be asked to do. A new task is one file and one line here."""

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.config import Part
from robovlms.robot.tasks.ask import Ask
from robovlms.robot.tasks.base import Decision, Task
from robovlms.robot.tasks.goal import GoalTask
from robovlms.robot.tasks.policy import Policy
from robovlms.robot.tasks.say import Say

TASKS: dict[str, type[Task]] = {"ask": Ask, "goal": GoalTask, "policy": Policy, "say": Say}

__all__ = ["TASKS", "Decision", "Task", "make_task"]


def make_task(part: Part) -> Task:
    """Make a task with its options.

    Raises:
        ConfigError: if the task or an option is unknown.
        SafetyError: if it cannot be done.
    """
    if part.name not in TASKS:
        raise ConfigError(unknown_name("task", part.name, TASKS))
    try:
        return TASKS[part.name](**part.options)
    except TypeError as error:
        raise ConfigError(f"task {part.name!r} does not take the options {part.options}: {error}") from None
