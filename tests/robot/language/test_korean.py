"""Korean commands to actions: own lines, the public corpus, and what must hold for any text."""

import dataclasses
import math
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from robot.language.korean_lines import is_right, read_lines
from robot.scoring import read, score

from robovlms.errors import ConfigError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.language.clause import Clause
from robovlms.robot.language.hangul import conjugate, with_prefinal
from robovlms.robot.language.interpret import Pace, interpret
from robovlms.robot.language.korean import MAX_CHARACTERS, Korean
from robovlms.robot.language.korean_numbers import QuantityFinder
from robovlms.robot.language.korean_vocabulary import read_vocabulary
from robovlms.robot.language.korean_words import WordReader
from robovlms.robot.language.languages import VOCABULARIES

FILE = VOCABULARIES / "korean.yaml"
PUBLIC = Path(__file__).parents[4] / "shared" / "reference" / "commands_public.jsonl"
BLIND = Path(__file__).parents[1] / "data" / "blind_korean.jsonl"
FRESH = Path(__file__).parents[1] / "data" / "fresh_korean.jsonl"
KOREAN = Korean(FILE)
VOCABULARY = read_vocabulary(FILE)
READER = WordReader(VOCABULARY)
LINES = read_lines()


def words(text: str) -> list[str]:
    return text.split()


def act(text: str) -> list[RobotAction]:
    return interpret(KOREAN.analyse(text), Pace())


def moves(text: str) -> bool:
    return any(any(action.velocity) for action in act(text))


def only_clause(text: str) -> Clause:
    (clause,) = KOREAN.analyse(text)
    return clause


# Own lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "text", "answer"), LINES)
def test_line(section: str, text: str, answer: str) -> None:
    actions = act(text)
    assert is_right(actions, answer), f"{actions} of {KOREAN.analyse(text)}"


def test_there_are_many_lines() -> None:
    assert len(LINES) >= 500
    assert len({text for _, text, _ in LINES}) == len(LINES)


def test_lines_are_checked() -> None:
    forward = RobotAction(ActionType.MOVE, linear_x=0.3, distance_m=2.0)
    assert is_right([forward], "move x+ 2m")
    assert is_right([forward], "stop | move x+ 2m")
    for wrong in ("move x- 2m", "move x+", "move x+ y+ 2m", "turn x+ 2m", "move x+ 2m slow", "move x+ 2m :컵", "still"):
        assert not is_right([forward], wrong), wrong
    assert not is_right([forward, forward], "move x+ 2m")


# Corpora -------------------------------------------------------------------------------------------------------------


def predictions(lines: list[dict]) -> dict[str, list[dict]]:
    return {line["id"]: [action.to_dict() for action in act(line["text"])] for line in lines}


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public corpus is not beside the project")
def test_public_commands() -> None:
    lines = [line for line in read(PUBLIC) if line["lang"] == "ko"]
    report = score(lines, predictions(lines))
    assert report.unsafe == report.missed_stop == report.wrong_way == report.non_finite == []
    assert report.share("core") >= 0.98
    assert report.sequence_share == 1.0


def test_blind_commands() -> None:
    lines = read(BLIND)
    report = score(lines, predictions(lines))
    assert report.unsafe == report.missed_stop == report.wrong_way == report.non_finite == []
    assert report.share("core") >= 0.97
    assert report.sequence_share >= 0.95


def test_fresh_commands() -> None:
    lines = read(FRESH)
    report = score(lines, predictions(lines))
    assert report.unsafe == report.missed_stop == report.wrong_way == report.non_finite == []
    assert report.share("core") >= 0.97, report.wrong_core
    assert report.sequence_share >= 0.85, report.wrong_sequence


def test_most_fresh_commands_are_new() -> None:
    fresh = [line["text"] for line in read(FRESH)]
    assert len(fresh) == len(set(fresh)) >= 200
    assert len(set(fresh) & {line["text"] for line in read(BLIND)}) < 0.1 * len(fresh)


# Words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "noun", "role"),
    [
        *[
            ("컵을", "컵", "object"),
            ("의자를", "의자", "object"),
            ("사과를", "사과", "object"),
            ("책은", "책", "topic"),
        ],
        *[("거실로", "거실", "to"), ("부엌으로", "부엌", "to"), ("문까지", "문", "to"), ("사람에게", "사람", "to")],
        *[("친구한테", "친구", "to"), ("창문쪽으로", "창문", "to"), ("방에서", "방", "from"), ("컵의", "컵", "of")],
        *[("사과", "사과", ""), ("오이", "오이", ""), ("거리", "거리", "")],
        *[("아이", "아이", ""), ("나무", "나무", "")],
        *[("의자", "의자", ""), ("고양이", "고양이", ""), ("종이", "종이", ""), ("가지를", "가지", "object")],
        *[
            ("오이를", "오이", "object"),
            ("도로를", "도로", "object"),
            ("회의", "회의", ""),
            ("지도를", "지도", "object"),
        ],
    ],
)
def test_particles(word: str, noun: str, role: str) -> None:
    (part,) = READER.read(word, {})
    assert (part.stem, part.role) == (noun, role)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("왼쪽으로돌아주세요", ["왼쪽으로", "돌아", "주세요"]),
        ("앞으로가서왼쪽으로돌아", ["앞으로", "가서", "왼쪽으로", "돌아"]),
        ("앞으로가지마세요", ["앞으로", "가지", "마세요"]),
        ("컵을집어줘", ["컵을", "집어", "줘"]),
        ("편의점으로가", ["편의점으로", "가"]),
        ("전진후좌회전", ["전진", "후", "좌회전"]),
        *[
            (word, [word])
            for word in ("돌고래", "우산", "서가", "가오리", "돌다리", "도마뱀", "회전목마", "대기업", "앞치마")
        ],
        *[
            (word, [word])
            for word in ("정지선", "전진기지", "우체국", "가위", "서랍", "서류", "오른손", "후진국", "서울")
        ],
    ],
)
def test_words_are_cut_only_where_every_part_is_known(word: str, parts: list[str]) -> None:
    assert [part.text for part in READER.read(word, {})] == parts


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        *[
            ("3미터", "distance", 3.0),
            ("3 미터", "distance", 3.0),
            ("3m", "distance", 3.0),
            ("1.5미터", "distance", 1.5),
        ],
        *[("삼 미터", "distance", 3.0), ("두 미터", "distance", 2.0), ("십이 미터", "distance", 12.0)],
        *[("반 미터", "distance", 0.5), ("1미터 반", "distance", 1.5), ("일 점 오 미터", "distance", 1.5)],
        *[("30센티", "distance", 0.3), ("30센티미터", "distance", 0.3), ("삼십 센치", "distance", 0.3)],
        *[("30cm", "distance", 0.3), ("50mm", "distance", 0.05), ("2킬로미터", "distance", 2000.0)],
        *[("1,000미터", "distance", 1000.0), ("만 미터", "distance", 10000.0), ("천이백 미터", "distance", 1200.0)],
        *[("-3미터", "distance", -3.0), ("마이너스 3미터", "distance", -3.0), ("무한 미터", "distance", math.inf)],
        *[
            ("90도", "angle", 90.0),
            ("구십 도", "angle", 90.0),
            ("백팔십도", "angle", 180.0),
            ("삼백육십 도", "angle", 360.0),
        ],
        *[("30°", "angle", 30.0), ("사십오 도", "angle", 45.0), ("1라디안", "angle", math.degrees(1))],
        *[("한 바퀴", "angle", 360.0), ("반 바퀴", "angle", 180.0), ("두 바퀴", "angle", 720.0)],
        *[("한 바퀴 반", "angle", 540.0), ("4분의 1바퀴", "angle", 90.0), ("사분의 일 바퀴", "angle", 90.0)],
        *[
            ("1/4바퀴", "angle", 90.0),
            ("세 걸음", "other", 3.0),
            ("3초", "other", 3.0),
            ("스물다섯 미터", "distance", 25.0),
        ],
    ],
)
def test_quantities(text: str, kind: str, value: float) -> None:
    _, found = quantity_finder().replace(text)
    (quantity,) = found.values()
    assert quantity.kind == kind
    assert quantity.value == pytest.approx(value)


def quantity_finder() -> QuantityFinder:
    return QuantityFinder(VOCABULARY.numbers, VOCABULARY.units, READER.can_follow)


@pytest.mark.parametrize(
    "text", ["이 도로", "3도시", "이 컵", "3번방", "백화점", "일기", "구두", "5mb", "3d", "천천히", "한도"]
)
def test_no_quantities(text: str) -> None:
    assert quantity_finder().replace(text)[1] == {}


@pytest.mark.parametrize("text", ["1~2미터", "nan미터", "1/0미터"])
def test_no_single_number_is_nan(text: str) -> None:
    (quantity,) = quantity_finder().replace(text)[1].values()
    assert math.isnan(quantity.value)


# Moods: whatever the verb, an ending keeps what it says ---------------------------------------------------------------

MOTIONS = [
    *[
        ("왼쪽으로 ", "돌", ""),
        ("앞으로 ", "가", ""),
        ("앞으로 ", "움직이", ""),
        ("뒤로 ", "물러나", ""),
        ("", "전진하", ""),
    ],
    *[
        ("앞으로 ", "걷", "ㄷ"),
        ("왼쪽으로 ", "회전하", ""),
        ("", "우회전하", ""),
        ("", "후진하", ""),
        ("왼쪽으로 ", "게걸음하", ""),
    ],
]
COMMANDS = words(
    """
    아 아라 아요 (으)세요 (으)십시오 (으)시오 자 (으)ㅂ시다 (으)시죠 (으)시겠어요 기
    """
)
ASKING_NOTHING = words(
    """
    ㄴ다 네요 ㅂ니다 니 냐 나요 (으)ㄹ까 (으)ㄹ까요 (으)ㄹ게 (으)ㄹ거야 (으)면 거든
    (으)니까 지만 (으)러 (으)려고 도록 (으)라고 (으)ㄴ (으)ㄹ 는 던 다 (으)ㅁ 더라 잖아
    군요 아야지 (으)ㄹ때 (으)면서 다가
    """
)
PAST = words(
    """
    아 아요 다 습니다 니 나요 지 네 는데 고 (으)면 (으)니까 거든 던 어라 을까 잖아 더라
    """
)
FORBIDDING = words(
    """
    아 아라 아요 (으)세요 (으)십시오 (으)시오 자 (으)ㅂ시다 (으)라 (으)라고 도록
    """
)


@pytest.mark.parametrize(("before", "stem", "irregular"), MOTIONS)
def test_every_way_to_ask_moves(before: str, stem: str, irregular: str) -> None:
    for ending in COMMANDS:
        for form in conjugate(stem, ending, irregular):
            assert moves(before + form), before + form
    for form in conjugate(stem, "아", irregular):
        for helper in ("줘", "주세요", "주십시오", "줄래?", "주시겠어요?", "줄 수 있어?", "주실 수 있나요?", "봐"):
            assert moves(f"{before}{form} {helper}"), f"{before}{form} {helper}"


@pytest.mark.parametrize(("before", "stem", "irregular"), MOTIONS)
def test_telling_asking_and_wondering_never_move(before: str, stem: str, irregular: str) -> None:
    for ending in ASKING_NOTHING:
        for form in conjugate(stem, ending, irregular):
            assert not moves(before + form), before + form
    for ending in PAST:
        for past in with_prefinal(ending, "past"):
            for form in conjugate(stem, past, irregular):
                assert not moves(before + form), before + form
                assert not moves(f"어제 {before}{form}?")


@pytest.mark.parametrize(("before", "stem", "irregular"), MOTIONS)
def test_forbidding_and_denying_never_move(before: str, stem: str, irregular: str) -> None:
    for ending in FORBIDDING:
        for helper in conjugate("말", ending):
            for written in (f"{before}{stem}지 {helper}", f"{before}{stem}지{helper}", f"{before}{stem}지는 {helper}"):
                assert not moves(written), written
        for negative in ("안", "못"):
            for form in conjugate(stem, ending, irregular):
                assert not moves(f"{before}{negative} {form}"), f"{before}{negative} {form}"
    for helper in ("않아", "않아요", "않습니다", "못해", "못합니다", "않으면 좋겠어", "않았어", "않을래"):
        assert not moves(f"{before}{stem}지 {helper}")
    for form in conjugate(stem, "(으)면", irregular):
        assert not moves(f"{before}{form} 안 돼")
        assert not moves(f"{before}{form} 안 됩니다")
    assert not moves(f"{before}{stem}지 말아 주시겠어요?")


@pytest.mark.parametrize("stem", ["멈추", "서", "정지하", "기다리", "대기하", "중지하", "그만하", "스톱하"])
def test_every_way_to_ask_for_a_stop_stops(stem: str) -> None:
    for ending in [*COMMANDS, "(으)ㅁ", "(으)라고", "니", "지", "다"]:
        for form in conjugate(stem, ending):
            assert act(form)[0].action_type == ActionType.STOP, form
    for form in conjugate(stem, "아"):
        for helper in ("줘", "주세요", "주시겠어요?", "줄래?", "줄 수 있어?", "야 해", "봐"):
            assert act(f"{form} {helper}")[0].action_type == ActionType.STOP, f"{form} {helper}"
        assert act(f"안 {form}?")[0].action_type == ActionType.STOP


# Any text ------------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    words(
        """
        앞으로 뒤로 왼쪽으로 오른쪽 시계방향으로 가 가고 가서 가지 돌아 돌지 돌면서 마 말고
        멈춰 정지 안 못 컵을 의자 부엌으로 3미터 90도 반 바퀴 천천히 빨리 그리고 다음 후
        전진 좌회전 게걸음으로 있는 않으면 때까지 봐 집어 내려놔 피해 , . ? 하고 해 주세요
        어제 나한테 그것을 금지 라고 아니라 이 무한 것 수 있어 돌 서 가지마 -지 그만 잠깐
        stop 아무말 쪽 위에
        """
    )
)
HANGUL = st.text(
    st.one_of(
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.sampled_from("가서돌지마앞뒤왼쪽으로이그저도미터백십반 ,.?!0123456789-~/㎝ㅋㅠ"),
    ),
    max_size=60,
)


def check(actions: list[RobotAction]) -> None:
    assert actions
    for action in actions:
        assert all(math.isfinite(value) for value in action.velocity)
        assert 0.0 <= action.confidence <= 1.0
        assert action.distance_m is None or action.distance_m > 0 or not any(action.velocity)


@given(st.one_of(HANGUL, st.text(max_size=60)))
def test_never_raises(text: str) -> None:
    check(act(text))
    assert KOREAN.count_known(text) >= 0
    for clause in KOREAN.analyse(text):
        assert 0 <= clause.num_understood <= clause.num_words


@given(st.lists(WORDS, max_size=12))
def test_never_raises_on_words_in_any_order(words: list[str]) -> None:
    check(act(" ".join(words)))
    check(act("".join(words)))


@given(st.lists(WORDS, max_size=6), st.sampled_from(["가지 마", "움직이지 마세요", "움직이면 안 돼"]))
def test_what_forbids_motion_at_the_end_wins(words: list[str], forbidden: str) -> None:
    assert not moves(" ".join([*words, ".", forbidden]))


@pytest.mark.parametrize(("section", "text", "answer"), LINES)
def test_without_spaces_nothing_is_less_safe(section: str, text: str, answer: str) -> None:
    """Unspaced text may be refused; it may not move where the spaced text stands, or the other way."""
    spaced, unspaced = act(text), act(text.replace(" ", ""))
    if not any(any(action.velocity) for action in spaced):
        assert not any(any(action.velocity) for action in unspaced)
    for axis in ("linear_x", "linear_y", "angular_z"):
        signs = {math.copysign(1, getattr(action, axis)) for action in spaced if getattr(action, axis)}
        assert {math.copysign(1, getattr(action, axis)) for action in unspaced if getattr(action, axis)} <= signs


@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=2, max_size=5))
def test_an_unknown_word_is_never_ignored_by_a_motion(word: str) -> None:
    assume({part.kind for part in READER.read(word, {})} == {"unknown"})
    assert not moves(f"{word} 앞으로 가")
    assert not moves(f"앞으로 {word} 가")


def test_understood_words_are_counted() -> None:
    full, less = only_clause("컵을 집어"), only_clause("물끄러미로 컵을 집어")
    assert full.num_words == full.num_understood == 2
    assert (less.thing, less.num_words, less.num_understood) == ("컵", 3, 2)


def test_long_text_is_refused_and_quick() -> None:
    started = time.perf_counter()
    for piece in ("앞으로 가 ", "가", "3", "백", "이 ", "나무아미타불 "):
        check(act(piece * (MAX_CHARACTERS // 4 // len(piece))))
        assert not moves(piece * MAX_CHARACTERS)
    assert time.perf_counter() - started < 10


def test_a_command_is_read_quickly() -> None:
    texts = [text for _, text, _ in LINES]
    started = time.process_time()
    for text in texts:
        KOREAN.analyse(text)
    assert (time.process_time() - started) / len(texts) < 0.002  # about 0.1 ms; checked annotations take their time


# The file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("verbs:", "verbz:", "unknown section 'verbz'; did you mean 'verbs'"),
        ("  turn around:", "  turn arond:", "unknown direction 'arond'; did you mean 'around'"),
        ("  turn around:", "  trun around:", "unknown verb 'trun'; did you mean 'turn'"),
        ("걷/ㄷ", "걷/ㅋ", "unknown irregular class 'ㅋ'"),
        ("gaze:", "# gaze:", "expected a section 'gaze'"),
        ("verbs:", "verbs: [", "cannot be read as a vocabulary"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "korean.yaml"
    path.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        Korean(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        Korean(tmp_path / "none.yaml")


def test_clauses_are_whole() -> None:
    clause = only_clause("천천히 왼쪽으로 90도 돌아 주세요")
    assert dataclasses.replace(clause, text="") == Clause(
        text="",
        mood="command",
        verb="turn",
        directions=("left",),
        angle_deg=90.0,
        speed="slow",
        num_words=5,
        num_understood=5,
    )
