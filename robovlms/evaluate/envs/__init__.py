"""Simulators. A new one is one file and one line here."""

from typing import Any

from robovlms.errors import ConfigError, unknown_name
from robovlms.evaluate.envs.base import Environment, StepOutcome
from robovlms.evaluate.envs.metaworld import MetaWorldEnvironment

ENVIRONMENTS: dict[str, type[Environment]] = {"metaworld": MetaWorldEnvironment}

__all__ = ["ENVIRONMENTS", "Environment", "StepOutcome", "environment_class"]


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
