"""Faults to be seeded: one small replacement in a copy of the safety package each (`mutants.yaml`), and the copy.

A copy is a package of its own, `<name>` in place of `robovlms.robot.safety`. Types of copies are not checked at run
time, which would take most of the time.
"""

import importlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

from robovlms.robot import safety

SOURCE = Path(safety.__file__).parent


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault; what the fields are stands in `mutants.yaml`."""

    name: str
    file: str
    old: str
    new: str
    suite: str
    property: str


MUTANTS = [Mutant(**values) for values in yaml.safe_load(Path(__file__).with_name("mutants.yaml").read_text())]


def copied(folder: Path, name: str, mutant: Mutant | None = None) -> ModuleType:
    """A copy of the safety package, imported; with a fault if one is given.

    Args:
        folder: to write it to.
        name: of the package, new every time.
        mutant: the fault.
    """
    shutil.copytree(SOURCE, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in sorted((folder / name).glob("*.py")):
        text = file.read_text()
        if mutant is not None and file.name == mutant.file:
            assert text.count(mutant.old) == 1, f"{mutant.name}: {text.count(mutant.old)} places in {mutant.file}"
            text = text.replace(mutant.old, mutant.new)
        file.write_text(text.replace("robovlms.robot.safety", name))
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
