"""Language annotations of CALVIN: which frames show which task, and in which words.

CALVIN is released with its annotations in `auto_lang_ann.npy`, an array of one object, which NumPy stores as a pickle::

    language   ann    one sentence per annotation       task   one task name per annotation
               emb    one embedding per annotation, not used here
    info       indx   one (start, end) per annotation   episodes   empty

A pickle can run any code, and this is the only file in which the words are, so it is read by an unpickler that cannot:
containers, text and numbers are built in, and NumPy's arrays and numbers are put together by the stand-ins below.
Whatever else a pickle asks for by name is refused, and nothing of NumPy's own unpickling runs either, which trusts
what it is told about memory.
"""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError

_DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class CalvinAnnotations:
    """What CALVIN says about its frames, one entry per annotation.

    Attributes:
        spans: (start, end); the annotation has frames start to end - 1.
        tasks: task names.
        sentences: instructions.
    """

    spans: tuple[tuple[int, int], ...]
    tasks: tuple[str, ...]
    sentences: tuple[str, ...]


def read_annotations(file: Path) -> CalvinAnnotations:
    """Read `auto_lang_ann.npy`.

    Raises:
        DataError: if the file is missing, damaged, asks for anything but data, or holds something else.
    """
    content = read_object(file)
    try:
        language, info = content["language"], content["info"]
        sentences, tasks, spans = _listed(language["ann"]), _listed(language["task"]), _listed(info["indx"])
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{file}: expected a dict with language/ann, language/task and info/indx, as CALVIN has it; {error!r}"
        ) from error
    counts = {"language/ann": len(sentences), "language/task": len(tasks), "info/indx": len(spans)}
    if len(set(counts.values())) != 1:
        raise DataError(f"{file}: expected as many of each, found {counts}")
    texts = {"ann": sentences, "task": tasks}
    for key, values in texts.items():
        for number, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"{file}: language/{key}, annotation {number}: expected text, found {value!r}")
    return CalvinAnnotations(
        spans=tuple(_span(file, number, span) for number, span in enumerate(spans)),
        tasks=tuple(map(str, tasks)),
        sentences=tuple(map(str, sentences)),
    )


def read_object(file: Path) -> Any:
    """Return the one object in a `.npy` file of objects: containers, text, numbers and arrays of numbers, no more.

    Raises:
        DataError: if it asks for anything else, and names it; if the file is missing or damaged.
    """
    try:
        with file.open("rb") as stream:
            dtype = _read_header(stream)
            if dtype != np.dtype(object):
                raise DataError(f"{file}: expected one pickled object, found an array of {dtype}")
            array = _DataUnpickler(stream, file).load()
    except OSError as error:
        raise DataError(f"{file}: not readable: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise DataError(f"{file}: damaged: {error}") from error
    values = array.values if isinstance(array, _Array) else None
    if not isinstance(values, list) or len(values) != 1:
        raise DataError(f"{file}: expected an array of one object, as CALVIN has it")
    return values[0]


class _DataUnpickler(pickle.Unpickler):
    """Unpickles containers, text, numbers and arrays; refuses every other name."""

    def __init__(self, stream: io.BufferedIOBase, file: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self.file = file

    def find_class(self, module: str, name: str) -> Any:
        known = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise DataError(
                f"{self.file}: the pickle asks for {module}.{name}, which is not data; the file is not CALVIN's, and "
                "opening it with anything that unpickles would run what it says"
            )
        return known


class _DType:
    """Stands in for numpy.dtype; its state holds the byte order, "<", ">" or "|"."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(str(code))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray; its state is (version, shape, dtype, Fortran order, bytes or list of objects)."""

    values: Any = None  # list of objects, flat, or an array of numbers

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        if dtype.dtype == np.dtype(object):
            self.values = list(data)
        else:
            self.values = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if is_fortran else "C")


def _make_dtype(code: str, align: bool, copy: bool) -> _DType:
    """Stands in for a call of numpy.dtype."""
    return _DType(code)


def _reconstruct(*_: Any) -> _Array:
    """Stands in for what NumPy calls before the state comes."""
    return _Array()


def _scalar(dtype: _DType, data: bytes) -> Any:
    """Stands in for what makes a NumPy number or text."""
    return np.frombuffer(data, dtype.dtype)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for what makes bytes of text; old pickles write their bytes so."""
    return text.encode("latin1" if encoding == "latin1" else "ascii")


def _ndarray() -> None:
    """Stands in for the name numpy.ndarray, which pickles hand to `_reconstruct`."""


# Functions, no classes: a pickle may set attributes of what it gets, and a class would keep them.
_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
}


def _read_header(stream: io.BufferedIOBase) -> np.dtype:
    major, _ = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    return read(stream)[2]


def _listed(values: Any) -> list[Any]:
    """A list of what may be a list or an array."""
    return list(values.values if isinstance(values, _Array) else values)


def _span(file: Path, number: int, span: Any) -> tuple[int, int]:
    try:
        start, end = (int(value) for value in _listed(span))
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: info/indx, annotation {number}: expected (start, end), found {span!r}") from error
    if not 0 <= start < end:
        raise DataError(f"{file}: info/indx, annotation {number}: expected 0 <= start < end, found {start}, {end}")
    return start, end
