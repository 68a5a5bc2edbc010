"""Conjugation, particles and letters of Hangul, against forms written by hand."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.robot.language.hangul import (
    agrees,
    conjugate,
    final_of,
    from_jamo,
    is_hangul,
    join_syllable,
    split_syllable,
    to_jamo,
    with_prefinal,
)

SYLLABLES = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)

ENDINGS = ["고", "는", "(으)면", "(으)세요", "(으)십시오", "(으)ㄴ", "(으)ㅂ시다", "아", "아라", "았어"]
# Each line: stem, class, then its forms with ENDINGS, in that order.
TABLE = """
가      -   가고 가는 가면 가세요 가십시오 간 갑시다 가 가라 갔어
서      -   서고 서는 서면 서세요 서십시오 선 섭시다 서 서라 섰어
오      -   오고 오는 오면 오세요 오십시오 온 옵시다 와 와라 왔어
보      -   보고 보는 보면 보세요 보십시오 본 봅시다 봐 봐라 봤어
두      -   두고 두는 두면 두세요 두십시오 둔 둡시다 둬 둬라 뒀어
주      -   주고 주는 주면 주세요 주십시오 준 줍시다 줘 줘라 줬어
켜      -   켜고 켜는 켜면 켜세요 켜십시오 켠 켭시다 켜 켜라 켰어
멈추    -   멈추고 멈추는 멈추면 멈추세요 멈추십시오 멈춘 멈춥시다 멈춰 멈춰라 멈췄어
기다리  -   기다리고 기다리는 기다리면 기다리세요 기다리십시오 기다린 기다립시다 기다려 기다려라 기다렸어
움직이  -   움직이고 움직이는 움직이면 움직이세요 움직이십시오 움직인 움직입시다 움직여 움직여라 움직였어
피하    -   피하고 피하는 피하면 피하세요 피하십시오 피한 피합시다 피해 피해라 피했어
전진하  -   전진하고 전진하는 전진하면 전진하세요 전진하십시오 전진한 전진합시다 전진해 전진해라 전진했어
되      -   되고 되는 되면 되세요 되십시오 된 됩시다 돼 돼라 됐어
뛰      -   뛰고 뛰는 뛰면 뛰세요 뛰십시오 뛴 뜁시다 뛰어 뛰어라 뛰었어
집      -   집고 집는 집으면 집으세요 집으십시오 집은 집읍시다 집어 집어라 집었어
잡      -   잡고 잡는 잡으면 잡으세요 잡으십시오 잡은 잡읍시다 잡아 잡아라 잡았어
찾      -   찾고 찾는 찾으면 찾으세요 찾으십시오 찾은 찾읍시다 찾아 찾아라 찾았어
내려놓  -   내려놓고 내려놓는 내려놓으면 내려놓으세요 내려놓으십시오 내려놓은 내려놓읍시다 내려놔 내려놔라 내려놨어
돌      -   돌고 도는 돌면 도세요 도십시오 돈 돕시다 돌아 돌아라 돌았어
열      -   열고 여는 열면 여세요 여십시오 연 엽시다 열어 열어라 열었어
밀      -   밀고 미는 밀면 미세요 미십시오 민 밉시다 밀어 밀어라 밀었어
걷      ㄷ  걷고 걷는 걸으면 걸으세요 걸으십시오 걸은 걸읍시다 걸어 걸어라 걸었어
듣      ㄷ  듣고 듣는 들으면 들으세요 들으십시오 들은 들읍시다 들어 들어라 들었어
줍      ㅂ  줍고 줍는 주우면 주우세요 주우십시오 주운 주웁시다 주워 주워라 주웠어
돕      ㅂ  돕고 돕는 도우면 도우세요 도우십시오 도운 도웁시다 도와 도와라 도왔어
짓      ㅅ  짓고 짓는 지으면 지으세요 지으십시오 지은 지읍시다 지어 지어라 지었어
젓      ㅅ  젓고 젓는 저으면 저으세요 저으십시오 저은 저읍시다 저어 저어라 저었어
빨갛    ㅎ  빨갛고 빨갛는 빨가면 빨가세요 빨가십시오 빨간 빨갑시다 빨개 빨개라 빨갰어
끄      -   끄고 끄는 끄면 끄세요 끄십시오 끈 끕시다 꺼 꺼라 껐어
모으    -   모으고 모으는 모으면 모으세요 모으십시오 모은 모읍시다 모아 모아라 모았어
누르    -   누르고 누르는 누르면 누르세요 누르십시오 누른 누릅시다 눌러 눌러라 눌렀어
오르    -   오르고 오르는 오르면 오르세요 오르십시오 오른 오릅시다 올라 올라라 올랐어
서두르  -   서두르고 서두르는 서두르면 서두르세요 서두르십시오 서두른 서두릅시다 서둘러 서둘러라 서둘렀어
따르    으  따르고 따르는 따르면 따르세요 따르십시오 따른 따릅시다 따라 따라라 따랐어
"""
FORMS = [
    (stem, "" if irregular == "-" else irregular, ending, form)
    for stem, irregular, *forms in map(str.split, TABLE.strip().splitlines())
    for ending, form in zip(ENDINGS, forms, strict=True)
]


@pytest.mark.parametrize(("stem", "irregular", "ending", "form"), FORMS)
def test_form(stem: str, irregular: str, ending: str, form: str) -> None:
    assert conjugate(stem, ending, irregular)[0] == form


def test_the_table_is_large() -> None:
    assert len(FORMS) >= 340


@pytest.mark.parametrize(
    ("stem", "ending", "forms"),
    [
        ("가", "ㅂ니다", ("갑니다",)),
        ("돌", "ㅂ니다", ("돕니다",)),
        ("집", "ㅂ니다", ()),
        ("집", "습니다", ("집습니다",)),
        ("가", "습니다", ()),
        ("돌", "습니다", ()),
        ("돌", "(으)ㅁ", ("돎",)),
        ("멈추", "(으)ㅁ", ("멈춤",)),
        ("돌", "(으)ㄹ", ("돌",)),
        ("돌", "ㄴ다", ("돈다",)),
        ("집", "는다", ("집는다",)),
        ("가", "는다", ()),
        ("놓", "아", ("놔", "놓아")),
        ("보", "아", ("봐", "보아")),
        ("오", "아", ("와",)),
        ("피하", "아", ("피해", "피하여")),
        ("말", "아", ("말아", "마")),
    ],
)
def test_endings_that_depend_on_the_stem(stem: str, ending: str, forms: tuple[str, ...]) -> None:
    assert conjugate(stem, ending) == forms


@pytest.mark.parametrize(
    ("ending", "prefinal", "stem", "form"),
    [
        ("아요", "past", "돌", "돌았어요"),
        ("고", "past", "멈추", "멈췄고"),
        ("습니다", "past", "가", "갔습니다"),
        ("(으)면", "past", "집", "집었으면"),
        ("다가", "past", "오", "왔다가"),
        ("고", "honorific", "돌", "도시고"),
        ("아요", "honorific", "잡", "잡으셔요"),
        ("(으)면", "honorific", "가", "가시면"),
        ("ㅂ니까", "honorific", "가", "가십니까"),
        ("아요", "future", "가", "가겠어요"),
        ("습니다", "future", "돌", "돌겠습니다"),
    ],
)
def test_endings_behind_others(ending: str, prefinal: str, stem: str, form: str) -> None:
    assert form in [one for joined in with_prefinal(ending, prefinal) for one in conjugate(stem, joined)]


@pytest.mark.parametrize(
    ("word", "particle", "fits"),
    [
        *[("컵", "을", True), ("컵", "를", False), ("의자", "를", True), ("의자", "을", False)],
        *[("컵", "이", True), ("컵", "가", False), ("오", "이", False), ("사", "과", False), ("책", "과", True)],
        *[("거실", "로", True), ("거실", "으로", False), ("책상", "으로", True), ("책상", "로", False)],
        *[("부엌", "으로", True), ("의자", "로", True), ("컵", "은", True), ("의자", "은", False)],
        *[("컵", "에서", True), ("3", "을", True), ("tv", "를", True)],
    ],
)
def test_particle_agrees_with_the_end_of_the_noun(word: str, particle: str, fits: bool) -> None:
    assert agrees(word, particle) is fits


@given(st.text(SYLLABLES, min_size=1))
def test_letters_join_to_the_same_text(text: str) -> None:
    assert from_jamo(to_jamo(text)) == text
    assert all(join_syllable(*split_syllable(syllable)) == syllable for syllable in text)


@given(SYLLABLES)
def test_letters_are_those_of_unicode(syllable: str) -> None:
    _, _, final = split_syllable(syllable)
    assert bool(final) == (len(unicodedata.normalize("NFD", syllable)) == 3)
    assert final_of("가" + syllable) == final


@given(
    st.text(SYLLABLES, min_size=1, max_size=4), st.sampled_from(["고", "(으)면", "아요", "았다", "ㅂ니다", "(으)ㄹ"])
)
def test_any_stem_takes_any_ending(stem: str, ending: str) -> None:
    assert all(is_hangul(form) for form in conjugate(stem, ending))


def test_what_is_no_hangul() -> None:
    assert not is_hangul("")
    assert not is_hangul("컵a")
    assert not is_hangul("ㅋㅋ")
    assert final_of("a") == final_of("") == ""
