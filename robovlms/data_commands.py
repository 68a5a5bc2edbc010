"""`robovlms data …`: look at a dataset, check it, convert it. Each command is a function here and a line in the table.

What needs a dataset library is imported by the function that needs it.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robovlms.errors import ConfigError, DataError
from robovlms.typed_yaml import parse_value

if TYPE_CHECKING:
    from robovlms.data.sources.base import EpisodeSource

EXIT_FAULTS = 1


def add_data_flags(parser: ArgumentParser) -> None:
    """Declare the actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", help="what to do")
    for name, (text, add_flags, _) in ACTIONS.items():
        one = actions.add_parser(name, help=text, description=text)
        one.add_argument("path", type=Path, help="folder or file of the dataset")
        one.add_argument("--format", default="auto", help="format of the dataset; default: seen from its files")
        one.add_argument(
            "--options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="options of that format"
        )
        add_flags(one)


def run_data(flags: Namespace) -> None:
    """Do what `robovlms data ACTION` asks for."""
    try:
        ACTIONS[flags.action][2](flags)
    except OSError as error:
        raise DataError(f"{error.filename or flags.path}: {error.strerror or error}") from error


def options_of(texts: list[str]) -> dict[str, Any]:
    """Options of a format as typed: values are read as YAML.

    >>> options_of(["image_size=64", "camera=static"])
    {'image_size': 64, 'camera': 'static'}
    """
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (_, equals, _) in zip(texts, pairs, strict=True) if not equals]
    if wrong:
        raise ConfigError(f"--options {wrong[0]}: expected KEY=VALUE")
    taken = [key for key, _, _ in pairs if key in ("path", "format")]
    if taken:
        raise ConfigError(f"--options {taken[0]}: is not an option of a format; give it before")
    return {key: parse_value(value) for key, _, value in pairs}


def _open(flags: Namespace) -> "EpisodeSource":
    from robovlms.data.sources.registry import open_source

    return open_source(flags.path, flags.format, **options_of(flags.options))


def _no_flags(parser: ArgumentParser) -> None:
    del parser


def _inspect(flags: Namespace) -> None:
    from robovlms.data.inspection import show_dataset

    show_dataset(_open(flags))


def _validate_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="file for the report; default: printed")
    parser.add_argument("--all_frames", action="store_true", help="decode every frame, not the first, middle and last")


def _validate(flags: Namespace) -> None:
    from robovlms.data.validate import validate_dataset

    report = validate_dataset(
        flags.path, flags.format, options_of(flags.options), all_frames=flags.all_frames, json_path=flags.json
    )
    if report.faults:
        raise SystemExit(EXIT_FAULTS)


def _stats_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--refresh", action="store_true", help="compute them again, also where they are known")


def _stats(flags: Namespace) -> None:
    from robovlms.data.statistics_table import show_statistics

    show_statistics(_open(flags), refresh=flags.refresh)


def _convert_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset, LeRobot v3.0 layout")
    parser.add_argument("--storage", choices=("png", "raw", "video"), default="video", help="default: %(default)s")
    parser.add_argument("--image_size", type=int, help="height and width to resize frames to; default: as they are")
    parser.add_argument("--episodes", type=int, help="only the first ones")
    parser.add_argument("--skip_unreadable", action="store_true", help="leave out what cannot be read, and say which")


def _convert(flags: Namespace) -> None:
    from robovlms.data.convert import convert_dataset

    out = convert_dataset(
        _open(flags),
        flags.out,
        storage=flags.storage,
        image_size=flags.image_size,
        num_episodes=flags.episodes,
        skip_unreadable=flags.skip_unreadable,
    )
    print(f"next: robovlms data validate {out}")


def _view_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the pages; open index.html")
    parser.add_argument("--episodes", type=int, default=10, help="how many, evenly spread; default: %(default)s")
    parser.add_argument("--rerun", action="store_true", help="write a .rrd for the rerun viewer as well")


def _view(flags: Namespace) -> None:
    from robovlms.data.view import write_view

    page = write_view(_open(flags), flags.out, num_episodes=flags.episodes, use_rerun=flags.rerun)
    print(f"open {page}")


ACTIONS = {
    "inspect": ("Show what a dataset holds and what its numbers seem to mean.", _no_flags, _inspect),
    "validate": (
        "Check every file of a dataset; exit code 1 and a JSON report if something is wrong.",
        _validate_flags,
        _validate,
    ),
    "stats": ("Compute the statistics that normalisation needs, and keep them.", _stats_flags, _stats),
    "convert": ("Write a dataset of any format as LeRobot v3.0.", _convert_flags, _convert),
    "view": ("Write an HTML page per episode: frames, instruction, action curves.", _view_flags, _view),
}
