"""Checks of HDF5 files, each by itself: opening the dataset ends at the first bad one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robovlms.data.checks.fault import Fault
from robovlms.data.sources.hdf5 import files_in
from robovlms.data.sources.hdf5_files import open_hdf5
from robovlms.data.sources.hdf5_look import look
from robovlms.errors import DataError


def check_hdf5(path: Path, options: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield files that cannot be opened, or whose arrays do not fit each other."""
    for file in files_in(path):
        check = "damaged_file"
        try:
            open_hdf5(file).close()
            check = "columns"
            look(file, layout=str(options.get("layout", "auto")))
        except DataError as error:
            text = str(error)
            is_length = "steps" in text or "rows" in text
            yield Fault(check="lengths" if check == "columns" and is_length else check, file=file, message=text)
