"""`robovlms robot replay FILE`: the proof that a run was what its log says."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from robovlms.robot.log.replay import replay

EXIT_DIFFERENT = 1


def add_replay_flags(parser: ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("file", type=Path, help="MCAP file of a run")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run_replay(flags: Namespace) -> int:
    """Replay a log, print the report, return the exit code: 0 if every tick is the same bit for bit, else 1.

    Raises:
        DataError: if the file is no log of a run.
    """
    report = replay(flags.file)
    print(json.dumps(report.to_dict(), indent=2) if flags.json else report)
    return 0 if report.is_equal else EXIT_DIFFERENT
