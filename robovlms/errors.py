"""Every error RoboVLMs raises on purpose.

::

    RoboVLMsError
    ├── ConfigError                 a config file, a flag, or two values that contradict each other
    ├── DataError                   a dataset or a sample on disk
    │   └── StatisticsMissingError  normalisation asked for, statistics not there
    ├── CheckpointError             a checkpoint folder
    │   └── ContractMismatchError   checkpoint and environment / robot disagree
    ├── MissingDependencyError      names the extra to install
    ├── SimulatorError              a simulator that cannot start or was misused
    ├── PolicyError                 a policy asked for something it cannot do
    └── SafetyError                 a robot that cannot be run safely: limits, shield, driver
        ├── UnsafeActionError       an action that must not be executed
        └── StaleObservationError   an observation that is too old to act on

The command line prints the message as one line and exits with code 2, so a message says what was expected, what
was seen, where, and what to do.
"""

import difflib
from collections.abc import Iterable


class RoboVLMsError(Exception):
    """Base of all errors that a user can act on."""


class ConfigError(RoboVLMsError):
    """A configuration value is unknown, of the wrong type, or contradicts another one."""


class DataError(RoboVLMsError):
    """A dataset on disk is missing, damaged, or does not hold what was asked for."""


class StatisticsMissingError(DataError):
    """Normalisation was asked for but the dataset has no statistics; training refuses to guess."""


class CheckpointError(RoboVLMsError):
    """A checkpoint folder is incomplete, damaged, or of another model."""


class ContractMismatchError(CheckpointError):
    """A checkpoint's contract and the place where it should run disagree."""


class MissingDependencyError(RoboVLMsError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class SimulatorError(RoboVLMsError):
    """A simulator cannot start, or cannot do what was asked."""


class PolicyError(RoboVLMsError):
    """A policy was asked for something that it cannot do."""


class SafetyError(RoboVLMsError):
    """A robot cannot be run safely: a limit is missing or wrong, a driver or the shield does not work."""


class UnsafeActionError(SafetyError):
    """An action must not be executed."""


class StaleObservationError(SafetyError):
    """An observation is too old to act on."""


def one_line(error: BaseException) -> str:
    """Return what an error says in one line; the kind of one that is not of this package goes first.

    >>> one_line(ValueError("two\\nlines")), one_line(SafetyError("too fast"))
    ('ValueError: two lines', 'too fast')
    """
    text = " ".join(str(error).split())
    if isinstance(error, RoboVLMsError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def unknown_name(what: str, name: str, choices: Iterable[str]) -> str:
    """Return the message for a name that is not among `choices`: the nearest one first, then all of them.

    >>> unknown_name("task", "buton-press-v3", ["button-press-v3", "reach-v3"])
    "unknown task 'buton-press-v3'; did you mean 'button-press-v3'? Choices: button-press-v3, reach-v3"
    """
    known, name = sorted(map(str, choices)), name if isinstance(name, str) else str(name)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    shown = ", ".join(known[:12]) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
    return f"unknown {what} {name!r}{hint} Choices: {shown}"
