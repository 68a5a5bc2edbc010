"""`robovlms robot …`: run a robot, parse a command, replay a log, check a configuration."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from robovlms.errors import SafetyError

EXIT_NOT_DONE = 1


def add_robot_flags(parser: ArgumentParser) -> None:
    """Declare the actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", help="what to do")
    for name, (text, add_flags, _) in ACTIONS.items():
        add_flags(actions.add_parser(name, help=text, description=text))


def run_robot_command(flags: Namespace) -> None:
    """Do what `robovlms robot ACTION` asks for; exits with 1 if a run ended before what was to be done, a replay
    differs or a check finds something."""
    code = ACTIONS[flags.action][2](flags)
    if code:
        raise SystemExit(code)


def _run_flags(parser: ArgumentParser) -> None:
    _config_flags(parser)
    parser.add_argument("--film", type=Path, help="film of a simulated robot, FILE.gif or FILE.mp4")


def _config_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the robot")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="values that differ from the file"
    )


def _run(flags: Namespace) -> int:
    from robovlms.robot.config import load_robot_config
    from robovlms.robot.launch import run_robot

    summary = run_robot(load_robot_config(flags.config, tuple(flags.set)), flags.film)
    reasons = ", ".join(f"{name} {count}" for name, count in summary.reasons.most_common()) or "none"
    print(
        f"{summary.outcome}: {summary.seconds:.1f} s, {summary.decisions} decisions, {summary.ticks} commands, "
        f"{summary.answers} answers of the model"
    )
    print(f"the shield changed commands because of: {reasons}")
    if not summary.is_done and summary.failed_answers and not summary.answers:
        raise SafetyError(f"the model failed: {summary.failed_answers.most_common(1)[0][0]}")
    return EXIT_NOT_DONE if summary.has_end and not summary.is_done else 0


def _parse_flags(parser: ArgumentParser) -> None:
    from robovlms.robot.parse_command import add_parse_flags

    add_parse_flags(parser)


def _parse(flags: Namespace) -> int | None:
    from robovlms.robot.parse_command import run_parse

    return run_parse(flags)


def _replay_flags(parser: ArgumentParser) -> None:
    from robovlms.robot.replay_command import add_replay_flags

    add_replay_flags(parser)


def _replay(flags: Namespace) -> int | None:
    from robovlms.robot.replay_command import run_replay

    return run_replay(flags)


def _check(flags: Namespace) -> int | None:
    from robovlms.robot.check_command import run_check

    return run_check(flags)


ACTIONS = {
    "run": ("Run a robot: cameras to model to shield to driver.", _run_flags, _run),
    "parse": ("Show what a command, or a model's output, becomes.", _parse_flags, _parse),
    "replay": ("Run the shield again over the log of a run; exit code 1 if it differs.", _replay_flags, _replay),
    "check": ("Check a robot's configuration, and show its limits and stopping distance.", _config_flags, _check),
}
