"""Hangul as letters: stems, endings and particles join by sound, and this file holds the rules.

A verb shows itself in a few bases, and an ending picks one of them by how it begins::

    stem 돌        plain 돌     -고 → 돌고        reduced 도    -는 → 도는
                   eu    돌     -(으)면 → 돌면    eu_reduced 도 -(으)세요 → 도세요
                   a     돌아   -아 → 돌아        open 도       -ㅂ니다 → 돕니다

>>> conjugate("돌", "(으)세요"), conjugate("멈추", "아"), conjugate("줍", "아서", irregular="ㅂ")
(('도세요',), ('멈춰', '멈추어'), ('주워서',))

Source: National Institute of Korean Language, Hangul orthography, articles 15-18 and 34-36 (https://korean.go.kr);
Unicode Standard 3.12, "Conjoining Jamo Behavior" (https://www.unicode.org/versions/latest/).
"""

import unicodedata
from typing import Literal

Irregular = Literal["", "ㄷ", "ㅂ", "ㅅ", "ㅎ", "르", "으"]
Base = Literal["plain", "reduced", "closed", "open", "eu", "eu_reduced", "a"]

_FIRST_SYLLABLE, _NUM_FINALS, _NUM_VOWELS = 0xAC00, 28, 21
_BEFORE_FIRST_FINAL = 0x11A7  # finals as letters follow, in the order of FINALS
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_FINAL_LM, _FINAL_L, _FINAL_M = "\u11b1", "\u11af", "\u11b7"  # ㄻ is written as ㄹ + ㅁ, so that 돌 + ㅁ joins to 돎
_CONTRACTIONS = {"ㅗ": "ㅘ", "ㅜ": "ㅝ", "ㅣ": "ㅕ", "ㅚ": "ㅙ"}  # with -아/-어; both spellings are in use
_ABSORBING = "ㅏㅓㅐㅔㅕㅖ"  # vowels in which -아/-어 disappears
_PREFINALS = {"honorific": "시", "past": "았", "future": "겠"}


def is_hangul(text: str) -> bool:
    """Whether all characters are composed Hangul syllables; False for no characters."""
    return bool(text) and all("가" <= character <= "힣" for character in text)


def split_syllable(syllable: str) -> tuple[str, str, str]:
    """Initial, vowel and final ("" if none) of one composed syllable.

    >>> split_syllable("돌"), split_syllable("가")
    (('ㄷ', 'ㅗ', 'ㄹ'), ('ㄱ', 'ㅏ', ''))
    """
    index = ord(syllable) - _FIRST_SYLLABLE
    initial, rest = divmod(index, _NUM_VOWELS * _NUM_FINALS)
    vowel, final = divmod(rest, _NUM_FINALS)
    return _INITIALS[initial], _VOWELS[vowel], FINALS[final]


def join_syllable(initial: str, vowel: str, final: str = "") -> str:
    """Inverse of `split_syllable`."""
    index = (_INITIALS.index(initial) * _NUM_VOWELS + _VOWELS.index(vowel)) * _NUM_FINALS
    return chr(_FIRST_SYLLABLE + index + FINALS.index(final))


def to_jamo(text: str) -> str:
    """Letters of a text, initials and finals told apart; a lone ㄴ or ㅂ as at the start of "-ㅂ니다" is a final.

    >>> len(to_jamo("돌아")), from_jamo(to_jamo("도") + to_jamo("ㅂ니다"))
    (5, '돕니다')
    """
    if text and text[0] in FINALS[1:]:
        text = chr(_BEFORE_FIRST_FINAL + FINALS.index(text[0])) + text[1:]
    return unicodedata.normalize("NFD", text).replace(_FINAL_LM, _FINAL_L + _FINAL_M)


def from_jamo(jamo: str) -> str:
    """Inverse of `to_jamo`."""
    return unicodedata.normalize("NFC", jamo.replace(_FINAL_L + _FINAL_M, _FINAL_LM))


def final_of(word: str) -> str:
    """Final consonant of the last syllable; "" if it is open or no Hangul."""
    return split_syllable(word[-1])[2] if word and is_hangul(word[-1]) else ""


# Of "is": 이라고 after a closed syllable, 라고 after an open one.
_COPULA = (("이라", "라"), ("이란", "란"))


def agrees(word: str, particle: str) -> bool:
    """Whether a particle has the form that the end of `word` asks for.

    >>> agrees("컵", "을"), agrees("컵", "를"), agrees("거실", "로"), agrees("책상", "로"), agrees("사", "과")
    (True, False, True, False, False)
    """
    if not is_hangul(word[-1:]):
        return True  # the sound of a digit or a Latin letter is not known
    final = final_of(word)
    for after_closed, after_open in (
        ("을", "를"),
        ("은", "는"),
        ("과", "와"),
        ("이랑", "랑"),
        ("이나", "나"),
        *_COPULA,
    ):
        if particle.startswith(after_closed):
            return bool(final)
        if particle.startswith(after_open):
            return not final
    if particle.startswith("으로"):
        return bool(final) and final != "ㄹ"
    if particle.startswith("로"):
        return final in ("", "ㄹ")
    return bool(final) if particle == "이" else not final if particle == "가" else True


def bases(stem: str, irregular: Irregular = "") -> dict[Base, tuple[str, ...]]:
    """What endings attach to; a base that this stem lacks is missing.

    Args:
        stem: dictionary form without -다.
        irregular: class; a stem that ends in ㄹ, 하 or 르 needs none ("으" makes 따르 give 따라 and not 딸라).
    """
    final, is_open = final_of(stem), not final_of(stem)
    with_eu = stem if is_open else _before_vowel(stem, irregular)
    found: dict[Base, tuple[str, ...]] = {"plain": (stem,), "a": _infinitives(stem, irregular)}
    if is_open or final == "ㄹ":
        reduced = stem if is_open else _with_final(stem, "")
        return {**found, "reduced": (reduced,), "open": (reduced,), "eu": (stem,), "eu_reduced": (reduced,)}
    return {**found, "reduced": (stem,), "closed": (stem,), "eu": (with_eu,), "eu_reduced": (with_eu,)}


def ending_forms(ending: str) -> tuple[tuple[Base, str], ...]:
    """The base that an ending wants and the letters it adds, written as in grammars: "고", "(으)면", "ㅂ니다", "아서".

    "아" stands for 아, 어 and 여; "았" likewise.
    """
    if ending.startswith("(으)"):
        jamo = to_jamo(ending[3:])
        return (("eu_reduced" if _drops_rieul(ending[3:]) else "eu", jamo),)
    if ending[0] == "았":
        return (("a", to_jamo("ㅆ") + to_jamo(ending[1:])),)
    if ending[0] == "아":
        return (("a", to_jamo(ending[1:])),)
    if ending[0] in "ㄴㅂ":
        return (("open", to_jamo(ending)),)
    if ending.startswith(("습", "는다")):
        return (("closed", to_jamo(ending)),)
    return (("reduced" if ending[0] in "는니나냐네" else "plain", to_jamo(ending)),)


def with_prefinal(ending: str, prefinal: Literal["honorific", "past", "future"]) -> tuple[str, ...]:
    """The ending after -(으)시-, -았- or -겠-, as new endings; none where the two do not meet.

    >>> with_prefinal("고", "past"), with_prefinal("아요", "honorific"), with_prefinal("ㅂ니다", "past")
    (('았고',), ('(으)셔요', '(으)시어요'), ())
    """
    middle = _PREFINALS[prefinal]
    forms = []
    for base, jamo in ending_forms(ending):
        for attached in bases("었" if prefinal == "past" else middle).get(base, ()):
            forms.append(from_jamo(to_jamo(attached) + jamo))
    if prefinal == "past":
        return tuple("았" + form[1:] for form in forms)
    return tuple("(으)" + form for form in forms) if prefinal == "honorific" else tuple(forms)


def conjugate(stem: str, ending: str, irregular: Irregular = "") -> tuple[str, ...]:
    """All spellings of a stem with an ending, the usual one first; none where they do not meet."""
    attached = bases(stem, irregular)
    return tuple(
        from_jamo(to_jamo(base) + jamo) for kind, jamo in ending_forms(ending) for base in attached.get(kind, ())
    )


def _drops_rieul(ending: str) -> bool:
    """Whether ㄹ disappears before it: before ㄴ, ㅂ, ㅅ, 오 and a final ㄹ."""
    return ending[0] in "ㄴㅂㄹ오" or (is_hangul(ending[0]) and split_syllable(ending[0])[0] in "ㄴㅂㅅ")


def _with_final(word: str, final: str) -> str:
    initial, vowel, _ = split_syllable(word[-1])
    return word[:-1] + join_syllable(initial, vowel, final)


def _before_vowel(stem: str, irregular: Irregular) -> str:
    """A closed stem before -으."""
    if irregular == "ㅂ":
        return _with_final(stem, "") + "우"
    if irregular == "ㅎ":
        return _with_final(stem, "")
    if irregular == "ㄷ":
        return _with_final(stem, "ㄹ") + "으"
    return (_with_final(stem, "") if irregular == "ㅅ" else stem) + "으"


def _infinitives(stem: str, irregular: Irregular) -> tuple[str, ...]:
    """The stem with -아/-어, contracted and not."""
    initial, vowel, final = split_syllable(stem[-1])
    if stem[-1] == "하":
        return stem[:-1] + "해", stem + "여"
    if stem == "말":
        return "말아", "마"
    if final:
        return _closed_infinitives(stem, irregular, vowel)
    if vowel == "ㅡ":
        return (_eu_infinitive(stem, irregular),)
    if vowel in _CONTRACTIONS:
        contracted = stem[:-1] + join_syllable(initial, _CONTRACTIONS[vowel])
        return (contracted,) if stem[-1] == "오" else (contracted, stem + ("아" if vowel == "ㅗ" else "어"))
    return (stem,) if vowel in _ABSORBING else (stem + "어",)


def _closed_infinitives(stem: str, irregular: Irregular, vowel: str) -> tuple[str, ...]:
    is_bright = vowel in "ㅏㅗㅑ"
    if irregular == "ㅂ":
        return (_with_final(stem, "") + ("와" if stem[-1] in "돕곱" else "워"),)
    if irregular == "ㅎ":
        initial = split_syllable(stem[-1])[0]
        return (stem[:-1] + join_syllable(initial, {"ㅑ": "ㅒ", "ㅕ": "ㅖ"}.get(vowel, "ㅐ")),)
    bare = {"ㄷ": _with_final(stem, "ㄹ"), "ㅅ": _with_final(stem, "")}.get(irregular, stem)
    whole = bare + ("아" if is_bright else "어")
    return (stem[:-1] + "놔", whole) if stem[-1] == "놓" else (whole,)


def _eu_infinitive(stem: str, irregular: Irregular) -> str:
    before = stem[-2:-1]
    is_bright = bool(before) and is_hangul(before) and split_syllable(before)[1] in "ㅏㅗ"
    if stem[-1] == "르" and irregular != "으" and before:
        return _with_final(stem[:-1], "ㄹ") + ("라" if is_bright else "러")
    return stem[:-1] + join_syllable(split_syllable(stem[-1])[0], "ㅏ" if is_bright else "ㅓ")
