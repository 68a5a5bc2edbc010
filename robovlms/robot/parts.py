"""Makes a part of a robot from its name and its options, as a file gives them; each mistake is one line."""

import importlib
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from robovlms.errors import ConfigError, unknown_name


def make_part(what: str, table: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Any:
    """Import the class that `table` has for `name`, and call it with `options`.

    Args:
        what: what kind of part, for messages: "camera".
        table: name -> "module:class".
        name: a key of `table`.
        options: keywords of the class.

    Raises:
        ConfigError: if the name or an option is unknown, an option is missing or of a wrong type.
    """
    if name not in table:
        raise ConfigError(unknown_name(what, name, table))
    module, _, attribute = table[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(kind, eval_str=True).parameters
    for option in options:
        if option not in parameters:
            raise ConfigError(unknown_name(f"option of the {what} {name!r}", option, parameters))
    required = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [key for key in required if key not in options]
    if missing:
        raise ConfigError(f"{what} {name!r}: option {missing[0]!r} is missing; required are {', '.join(required)}")
    return kind(**{key: _typed(f"{what} {name!r}", parameters[key], value) for key, value in options.items()})


def _typed(part: str, parameter: inspect.Parameter, value: Any) -> Any:
    """`value`, if it is of the type that is wanted; a whole number will do for a float."""
    is_union = typing.get_origin(parameter.annotation) in (typing.Union, types.UnionType)
    wanted = typing.get_args(parameter.annotation) if is_union else (parameter.annotation,)
    is_plain = all(isinstance(kind, type) and typing.get_origin(kind) is None for kind in wanted)
    if not is_plain or type(value) in wanted:
        return value
    if type(value) is int and float in wanted:
        return float(value)
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in wanted)
    raise ConfigError(f"{part}: option {parameter.name!r} must be of type {names}, got {value!r}")
