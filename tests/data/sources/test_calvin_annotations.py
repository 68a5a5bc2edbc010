import collections
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.sources.calvin_fixture import write_annotations

from robovlms.data.sources.calvin_annotations import read_annotations, read_object
from robovlms.errors import DataError


def content(**changes: Any) -> dict[str, Any]:
    language = {"ann": ["lift it", "öffne sie"], "task": ["lift", "open"], "emb": np.zeros((2, 3), np.float32)}
    language |= {key: value for key, value in changes.items() if key in language}
    return {"language": language, "info": {"episodes": [], "indx": changes.get("indx", [(3, 9), (7, 12)])}}


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_every_age_of_file_is_read(protocol: int, module: str, tmp_path: Path) -> None:
    """NumPy wrote the protocols 2, 3 and 4, and its second version calls its own modules otherwise."""
    stream = io.BytesIO()
    array = np.empty((), object)
    array[()] = content(indx=[(np.int64(3), np.int64(9)), (np.int64(7), 12)])
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    data = pickle.dumps(array, protocol)
    if protocol < 4:  # names are lines of text
        data = data.replace(b"cnumpy._core.multiarray\n", f"c{module}\n".encode())
    file = tmp_path / "auto_lang_ann.npy"
    file.write_bytes(stream.getvalue() + data)
    found = read_annotations(file)
    assert found.spans == ((3, 9), (7, 12))
    assert found.tasks == ("lift", "open")
    assert found.sentences == ("lift it", "öffne sie")


@pytest.mark.parametrize(
    "changes",
    [
        {"indx": np.array([[3, 9], [7, 12]], ">i4")},
        {"indx": np.asfortranarray([[3, 9], [7, 12]])},
        {"indx": [np.array([3, 9]), [7, 12]]},
        {"ann": np.array(["lift it", "öffne sie"]), "task": np.array(["lift", "open"], object)},
        {"ann": [np.str_("lift it"), np.str_("öffne sie")]},
    ],
)
def test_arrays_are_as_good_as_lists(changes: dict[str, Any], tmp_path: Path) -> None:
    assert read_annotations(write_annotations(tmp_path, content(**changes))) == read_annotations(
        write_annotations(tmp_path, content())
    )


def test_numbers_are_read_as_numpy_wrote_them(tmp_path: Path) -> None:
    values = np.arange(6, dtype=">f8").reshape(2, 3).T
    found = read_object(write_annotations(tmp_path, {"a": values}))["a"]
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("posix.system", Runs(os.system, "touch HARM")),
        ("builtins.eval", Runs(eval, "open('HARM', 'w')")),
        ("builtins.getattr", Runs(getattr, "", "join")),
        ("collections.OrderedDict", collections.OrderedDict(ann=1)),
        ("pathlib", Path("HARM")),
        ("numpy.load", Runs(np.load, "HARM")),
    ],
)
def test_a_pickle_that_asks_for_more_than_data_is_refused(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for harmful in (value, content(emb=value), content(ann=["lift it", value])):
        file = write_annotations(tmp_path, harmful)
        with pytest.raises(DataError, match=name) as caught:
            read_annotations(file)
        assert str(file) in str(caught.value)
        assert "not data" in str(caught.value)
    assert not (tmp_path / "HARM").exists()


def test_the_harmful_pickle_would_have_done_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.load(write_annotations(tmp_path, Runs(os.system, "touch HARM")), allow_pickle=True)
    assert (tmp_path / "HARM").exists()


def test_an_array_type_that_lies_about_its_memory_is_not_believed(tmp_path: Path) -> None:
    """NumPy takes an array's bytes for pointers where its type says objects; here they never become any."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    state = (1, (1,), np.dtype(object), False, b"\x41" * 8)
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
    data = b"\x80\x03" + array + pickle.dumps(state, 3)[2:-1] + b"b."
    file = tmp_path / "auto_lang_ann.npy"
    file.write_bytes(stream.getvalue() + data)
    with pytest.raises(DataError, match=str(file)):
        read_annotations(file)


def test_a_file_cannot_change_how_the_next_one_is_read(tmp_path: Path) -> None:
    """A pickle may set attributes of what it names; here it sets them to another function that it may name."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    other = b"cnumpy._core.multiarray\nscalar\n"
    attributes = b"".join(b"V" + name + b"\n" + other + b"s" for name in (b"__init__", b"__setstate__", b"__call__"))
    names = (b"numpy\ndtype", b"numpy\nndarray", b"numpy._core.multiarray\n_reconstruct")
    file = tmp_path / "auto_lang_ann.npy"
    for name in names:
        file.write_bytes(stream.getvalue() + b"\x80\x03c" + name + b"\n(N}" + attributes + b"tb.")
        with pytest.raises(DataError, match="expected an array of one object"):
            read_annotations(file)
    assert read_annotations(write_annotations(tmp_path, content())).spans == ((3, 9), (7, 12))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ann": ["one"]}, "as many of each.*'language/ann': 1"),
        ({"task": ["lift", 3]}, "language/task, annotation 1: expected text, found 3"),
        ({"ann": ["", "x"]}, "language/ann, annotation 0: expected text"),
        ({"indx": [(3, 9), (12, 12)]}, "annotation 1: expected 0 <= start < end, found 12, 12"),
        ({"indx": [(3, 9), (-1, 12)]}, "annotation 1: expected 0 <= start < end, found -1, 12"),
        ({"indx": [(3, 9, 1), (7, 12)]}, "annotation 0: expected \\(start, end\\), found \\(3, 9, 1\\)"),
        ({"indx": [(3, 9), 7]}, "annotation 1: expected \\(start, end\\), found 7"),
        ({"indx": 4}, "expected a dict with language/ann"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write_annotations(tmp_path, content(**changes))
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("value", [{"language": {"ann": []}}, ["x"], 3, None, {1: 2}])
def test_another_object_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected (a|one)"):
        read_annotations(write_annotations(tmp_path, value))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = write_annotations(tmp_path, content())
    data = file.read_bytes()
    for size in range(0, len(data), 7):
        file.write_bytes(data[:size])
        with pytest.raises(DataError, match=str(file)):
            read_annotations(file)
    np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="expected one pickled object, found an array of float64"):
        read_annotations(file)
    file.unlink()
    with pytest.raises(DataError, match="not readable: No such file"):
        read_annotations(file)
