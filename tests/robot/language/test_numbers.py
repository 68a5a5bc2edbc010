import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.robot.language.languages import VOCABULARIES
from robovlms.robot.language.numbers import NumberReader, read_digits
from robovlms.robot.language.tokens import normalise, tokenise
from robovlms.robot.language.vocabulary import load_vocabulary


def _reader(language: str) -> NumberReader:
    words = load_vocabulary(VOCABULARIES / f"{language}.yaml")
    return NumberReader(words.numbers, words.units, words.before_unit)


READERS = {language: _reader(language) for language in ("english", "spanish")}


def read(text: str, language: str = "english") -> tuple[str, float] | None:
    """Kind and value of the amount that a text begins with."""
    amount = READERS[language].read_amount(tokenise(normalise(text)), 0)
    return amount and (amount.kind, amount.value)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("2 m", "distance", 2),
        ("2m", "distance", 2),
        ("2.5 metres", "distance", 2.5),
        (".5 m", "distance", 0.5),
        ("1,500 mm", "distance", 1.5),
        ("half a meter", "distance", 0.5),
        ("half meter", "distance", 0.5),
        ("a meter", "distance", 1),
        ("a meter and a half", "distance", 1.5),
        ("one and a half meters", "distance", 1.5),
        ("two and a half metres", "distance", 2.5),
        ("two and three quarters metres", "distance", 2.75),
        ("a quarter of a mile", "distance", 402.336),
        ("three quarters of a yard", "distance", 0.6858),
        ("1/2 m", "distance", 0.5),
        ("1 1/2 m", "distance", 1.5),
        ("½ m", "distance", 0.5),
        ("1½ m", "distance", 1.5),
        ("ten feet", "distance", 3.048),
        ("3'", "distance", 0.9144),
        ("5'6\"", "distance", 1.6764),
        ("5 feet 6 inches", "distance", 1.6764),
        ("one foot and six inches", "distance", 0.4572),
        ("twenty-five cm", "distance", 0.25),
        ("a hundred centimetres", "distance", 1),
        ("one hundred and five centimetres", "distance", 1.05),
        ("two thousand five hundred millimetres", "distance", 2.5),
        ("one point two five metres", "distance", 1.25),
        ("zero point five metres", "distance", 0.5),
        ("minus two metres", "distance", -2),
        ("-2 metres", "distance", -2),
        ("negative 2 metres", "distance", -2),
        ("infinity metres", "distance", math.inf),
        ("minus infinity metres", "distance", -math.inf),
        ("1e400 m", "distance", math.inf),
        ("1e-1 m", "distance", 0.1),
        ("90 degrees", "angle", 90),
        ("90°", "angle", 90),
        ("ninety degrees", "angle", 90),
        ("one hundred and eighty degrees", "angle", 180),
        ("pi radians", "angle", 180),
        ("pi/2 radians", "angle", 90),
        ("π/4 rad", "angle", 45),
        ("2 pi radians", "angle", 360),
        ("pi over two radians", "angle", 90),
        ("half a turn", "angle", 180),
        ("quarter turn", "angle", 90),
        ("two full turns", "angle", 720),
        ("three quarters of a turn", "angle", 270),
        ("3 seconds", "duration", 3),
        ("two minutes", "duration", 120),
        ("90", "bare", 90),
        ("ninety", "bare", 90),
    ],
)
def test_amounts(text: str, kind: str, value: float) -> None:
    assert read(text) == (kind, pytest.approx(value))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1,5 m", "distance", 1.5),
        ("1.5 metros", "distance", 1.5),
        ("medio metro", "distance", 0.5),
        ("un metro", "distance", 1),
        ("metro y medio", "distance", 1.5),
        ("dos metros y medio", "distance", 2.5),
        ("treinta y cinco centímetros", "distance", 0.35),
        ("ciento veinte centimetros", "distance", 1.2),
        ("dos coma cinco metros", "distance", 2.5),
        ("menos dos metros", "distance", -2),
        ("noventa grados", "angle", 90),
        ("media vuelta", "angle", 180),
        ("un cuarto de vuelta", "angle", 90),
        ("pi/2 radianes", "angle", 90),
    ],
)
def test_spanish_amounts(text: str, kind: str, value: float) -> None:
    assert read(text, "spanish") == (kind, pytest.approx(value))


@pytest.mark.parametrize("text", ["", "a cup", "metres", "the door", "and a half", "half", "m"])
def test_what_is_no_amount(text: str) -> None:
    amount = read(text)
    assert amount is None or amount[0] == "bare"


@pytest.mark.parametrize("text", ["1.2.3 m", "1/0 m", "nan m", "not a number metres", "1,2,3 m"])
def test_what_is_no_number_is_nan(text: str) -> None:
    amount = read(text)
    assert amount is not None
    assert math.isnan(amount[1])


def test_a_comma_is_decimal_or_separates_thousands() -> None:
    assert read_digits("1,500", False) == 1500
    assert read_digits("1,500", True) == 1.5
    assert read_digits("1,5", False) == 1.5
    assert read_digits("1,500,000.5", False) == 1500000.5


@given(st.integers(0, 999_999), st.sampled_from([("m", 1.0), ("cm", 0.01), ("feet", 0.3048)]))
def test_digits_with_any_unit(value: int, unit: tuple[str, float]) -> None:
    assert read(f"{value} {unit[0]}") == ("distance", pytest.approx(value * unit[1]))


@given(st.text(alphabet="0123456789.,/-+e'\" ", max_size=12))
def test_any_digits_give_a_number_or_nothing(text: str) -> None:
    amount = read(text + " m")
    assert amount is None or isinstance(amount[1], float)
