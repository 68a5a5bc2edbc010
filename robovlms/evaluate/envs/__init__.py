"""Simulators. A new one is one file and one line here."""

from collections.abc import Callable
from typing import Any

from robovlms.errors import ConfigError, unknown_name
from robovlms.evaluate.envs.base import Environment, StepOutcome
from robovlms.evaluate.envs.metaworld import MetaWorldEnvironment

ENVIRONMENTS: dict[str, type[Environment]] = {"metaworld": MetaWorldEnvironment}

__all__ = ["ENVIRONMENTS", "Environment", "KeptEnvironment", "StepOutcome", "environment_class", "make_environment"]


def environment_class(name: str) -> type[Environment]:
    """Look a simulator up by name.

    Raises:
        ConfigError: names the nearest known one.
    """
    if name not in ENVIRONMENTS:
        raise ConfigError(unknown_name("environment", name, ENVIRONMENTS))
    return ENVIRONMENTS[name]


def make_environment(name: str, task: str, **options: Any) -> Environment:
    """Start one task of a simulator; `options` as its class takes them."""
    return environment_class(name)(task, **options)


class KeptEnvironment:
    """The environment of the task at hand; the last one is closed, since a Meta-World task holds about 90 MB.

    Args:
        make: starts the environment of a task.
    """

    def __init__(self, make: Callable[[str], Environment]) -> None:
        self._make = make
        self._task: str | None = None
        self._environment: Environment | None = None

    def of(self, task: str) -> Environment:
        """Return the environment of `task`, started if it is not the last one asked for."""
        if self._task != task:
            if self._environment is not None:
                self._environment.close()
            self._task, self._environment = None, None  # gone, should the next one not start
            self._environment = self._make(task)
            self._task = task
        return self._environment
