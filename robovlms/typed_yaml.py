"""YAML and command-line texts to frozen dataclasses and back; every key and type is checked.

::

    file      ─ read_yaml ───────> check_types ─┐
                                                ├─ merge ─> build ─> a dataclass ─> dump_yaml
    overrides ─ parse_overrides ─> check_types ─┘

File and overrides are checked apart, so that a message names the one that is wrong.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from robovlms.errors import ConfigError, unknown_name


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; an empty file holds no keys.

    Raises:
        ConfigError: the file is missing (names the nearest one) or no YAML (names the line).
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(unknown_name("config file", str(path), _files_near(path))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return {} if values is None else values


def dump_yaml(config: Any) -> str:
    """Return YAML of every value of a dataclass, in the order of its fields."""
    return yaml.dump(_plain(dataclasses.asdict(config)), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_overrides(overrides: Sequence[str] | Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each override as nested values.

    >>> list(parse_overrides({"train.seed": 1}))
    [{'train': {'seed': 1}}]

    Raises:
        ConfigError: a text is not of the form key=value.
    """
    is_typed = isinstance(overrides, Mapping)
    for key, value in overrides.items() if is_typed else (text.partition("=")[::2] for text in overrides):
        if not (is_typed or value):
            raise ConfigError(f"override {key!r}: expected key=value, for example train.max_steps=100")
        nested = value if is_typed else _Text(value)
        for name in reversed(key.split(".")):
            nested = {name: nested}
        yield nested


def parse_value(text: str) -> Any:
    """Read one typed value as YAML, or as the text it is."""
    return _Text(text).parse()


def check_types(section: type, values: Any, where: str, prefix: str = "") -> dict[str, Any]:
    """Check that every key of `values` is a field of `section` and convert each value to the field's type.

    Args:
        section: a dataclass, whose fields may be dataclasses.
        values: nested mapping, possibly of a few fields only.
        where: beginning of the message, for example "configs/debug.yaml: ".
        prefix: dotted path of `section` with a dot at its end.

    Raises:
        ConfigError: a key is unknown, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        what = prefix.rstrip(".") or "the file"
        raise ConfigError(f"{where}{what}: expected keys with values, got {values!r}")
    hints = get_type_hints(section)
    typed: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in hints:
            raise ConfigError(where + unknown_name("key", key, [prefix + known for known in hints]))
        if dataclasses.is_dataclass(hints[name]):
            typed[name] = check_types(hints[name], value, where, f"{key}.")
        elif _entry(hints[name]):
            typed[name] = _check_entries(_entry(hints[name]), value, where, key)
        else:
            typed[name] = _convert(hints[name], value, f"{where}{key}")
    return typed


def require(holds: bool, message: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: with the message, unless `holds`.
    """
    if not holds:
        raise ConfigError(message)


def merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """Lay `high` over `low`, key by key.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4})
    {'a': {'x': 1, 'y': 3}, 'b': 4}
    """
    both = [key for key in high if isinstance(high[key], dict) and isinstance(low.get(key), dict)]
    return {**low, **high, **{key: merge(low[key], high[key]) for key in both}}


def build(section: type, values: dict[str, Any]) -> Any:
    """Make the dataclass of values that passed `check_types`."""
    hints = get_type_hints(section)
    return section(**{name: _build_value(hints[name], value) for name, value in values.items()})


def _build_value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value)
    return tuple(build(_entry(hint), one) for one in value) if _entry(hint) else value


def _entry(hint: Any) -> Any:
    """The dataclass of which `hint` is a tuple of any length; None for any other hint."""
    kinds = get_args(hint) if get_origin(hint) is tuple else ()
    return kinds[0] if len(kinds) == 2 and kinds[1] is ... and dataclasses.is_dataclass(kinds[0]) else None


def _check_entries(section: type, values: Any, where: str, key: str) -> list[dict[str, Any]]:
    values = values.parse() if isinstance(values, _Text) else values
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"{where}{key}: expected a list of entries with keys, got {values!r}")
    return [check_types(section, value, where, f"{key}[{i}].") for i, value in enumerate(values)]


class _Text(str):
    """A value as typed on the command line: YAML where the field takes that, else the text itself."""

    def parse(self) -> Any:
        try:
            return yaml.load(self, _Loader)
        except yaml.YAMLError:
            return str(self)


def _files_near(path: Path) -> list[str]:
    return [str(file) for file in {*path.parent.glob("*.yaml"), *Path("configs").rglob("*.yaml")}]


def _convert(hint: Any, value: Any, what: str) -> Any:
    candidates = [value.parse(), str(value)] if isinstance(value, _Text) else [value]
    for candidate in candidates:
        try:
            return _as_type(hint, candidate)
        except (ArgumentError, TypeError):
            continue
    got = candidates[0]
    raise ConfigError(f"{what}: expected {_describe(hint)}, got {got!r}{_nearest(hint, got)}")


def _nearest(hint: Any, value: Any) -> str:
    """The choice that was probably meant, if `hint` is a list of names."""
    names = [choice for choice in get_args(hint) if isinstance(choice, str)] if get_origin(hint) is Literal else []
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _as_type(hint: Any, value: Any) -> Any:
    """Convert one value, or raise TypeError or ArgumentError."""
    options = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and type(None) not in options:
        raise TypeError
    if value is None:
        return None
    if isinstance(value, str) and {str, Path} & {*options}:  # jsonargparse would read the text "null" as None
        return value if str in options else Path(value)
    if get_origin(hint) is dict:
        return _free_form(value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    return parser.parse_object({"value": value}).value


def _free_form(value: Any) -> Any:
    """Values of a field that takes any keys: command-line texts are read as YAML."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError
    parsed = {key: entry.parse() if isinstance(entry, _Text) else entry for key, entry in value.items()}
    return {key: _free_form(entry) if isinstance(entry, Mapping) else entry for key, entry in parsed.items()}


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (dict, tuple):
        return {dict: "keys with values", tuple: "a list of texts"}[get_origin(hint)]
    if get_args(hint):
        return " or ".join(_describe(option) for option in get_args(hint))
    names = {str: "a text", Path: "a path", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(hint, "null")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, and a key that appears twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                message = f"the key {key.value!r} appears twice"
                raise yaml.constructor.ConstructorError(problem=message, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as numbers; writes equal lists out twice instead of an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 wants a dot in the number and a sign in its exponent.
_WITH_EXPONENT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver("tag:yaml.org,2002:float", _WITH_EXPONENT, list("-+.0123456789"))
