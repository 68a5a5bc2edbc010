"""Every check by name. A new one is a class, or a function of files, and a line here."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robovlms.data.checks.calvin import check_calvin
from robovlms.data.checks.check import Check
from robovlms.data.checks.conventions import ConventionsCheck
from robovlms.data.checks.fault import Fault
from robovlms.data.checks.folder import check_folder
from robovlms.data.checks.frames import Frames
from robovlms.data.checks.hdf5 import check_hdf5
from robovlms.data.checks.lerobot import check_lerobot
from robovlms.data.checks.numbers import (
    BinaryGripper,
    ConstantDimension,
    DuplicateEpisode,
    Finite,
    Lengths,
    Range,
    Readable,
)
from robovlms.data.checks.rlds import check_rlds
from robovlms.data.checks.statistics import EpisodeStatistics, LeRobotStatistics
from robovlms.data.checks.text import Instruction

# Of every format.
CHECKS: dict[str, type[Check]] = {
    "lengths": Lengths,
    "readable": Readable,
    "finite": Finite,
    "range": Range,
    "instruction": Instruction,
    "frames": Frames,
    "binary_gripper": BinaryGripper,
    "constant_dimension": ConstantDimension,
    "duplicate_episode": DuplicateEpisode,
    "conventions": ConventionsCheck,
}

# Format -> name -> check, of what only that format keeps.
FORMAT_CHECKS: dict[str, dict[str, type[Check]]] = {
    "lerobot": {"statistics": LeRobotStatistics},
    "lerobot_v21": {"statistics": EpisodeStatistics},
}

# Format -> name -> check of the files, which needs no dataset that can be opened; arguments are its path and options.
FILE_CHECKS: dict[str, dict[str, Callable[[Path, Mapping[str, Any]], Iterator[Fault]]]] = {
    "calvin": {"files": check_calvin},
    "folder": {"files": check_folder},
    "hdf5": {"files": check_hdf5},
    "lerobot": {"files": check_lerobot},
    "lerobot_v21": {"files": check_lerobot},
    "rlds": {"files": check_rlds},
}
