import pytest

from robovlms.data.quarantine import BadWindow, Quarantine
from robovlms.errors import DataError


def bad(window: int, file: str = "a.mp4", dataset: int = 0) -> BadWindow:
    return BadWindow(dataset=dataset, window=window, file=file, reason=f"reason {window}")


def test_each_window_counts_once() -> None:
    quarantine = Quarantine(0.5, {0: 10, 1: 10})
    assert quarantine.add([bad(1), bad(2)]) == [bad(1), bad(2)]
    assert quarantine.add([bad(2), bad(2, dataset=1), bad(3)]) == [bad(2, dataset=1), bad(3)]
    assert len(quarantine) == 4


def test_the_budget_is_met_exactly() -> None:
    quarantine = Quarantine(0.001, {0: 2000})
    quarantine.add([bad(1), bad(2)])
    with pytest.raises(
        DataError, match=r"3 of 2000 windows cannot be read.*data.bad_budget = 0.001.*b.mp4 \(1: reason 3\)"
    ):
        quarantine.add([bad(3, "b.mp4")])


def test_the_message_is_one_line_and_names_ten_files() -> None:
    with pytest.raises(DataError) as error:
        Quarantine(0.0, {0: 100}).add([bad(i, f"{i:02}.mp4") for i in range(12)] + [bad(50, "00.mp4")])
    text = str(error.value)
    assert "\n" not in text
    assert "00.mp4 (2: reason 0)" in text
    assert "09.mp4" in text
    assert "10.mp4" not in text
    assert "and 2 more files" in text
