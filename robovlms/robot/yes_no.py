"""Yes or no in a model's answer.

::

    text ─ prompt, chat marks, markdown, questions, "yes or no" go ─ words
      ─ doubt ("not sure", "아마")                          ─> None
      ─ yes words and no words                             ─> None: both were said
      ─ a no word in front                                 ─> False
      ─ a yes word in front, and "there is no …" nowhere   ─> True
      ─ "there is …", "I see …", "… 있습니다"               ─> True, or False if it is denied
      ─ anything else                                      ─> None

Whole words count: there is no "no" in "piano", no "yes" in "yesterday" and no "예" in "예쁜". None is no answer:
whoever asked stands still.
"""

import re

from robovlms.robot.language.answer_phrases import BECAUSE
from robovlms.robot.language.echo import answers_after_prompt
from robovlms.robot.language.markdown import plain_lines

MAX_CHARACTERS = 8_192


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


YES = _set("yes yeah yep yup affirmative 네 넵 예 응 그래 그래요 그렇습니다 맞아요 맞습니다 sí")
NO = _set("no nope nah negative 아니요 아니오 아뇨 아니 아닙니다 아니에요")
_LABELS = _set("answer final response output the is a 답 답변 대답 정답 respuesta")
_NEGATIONS = _set(
    "no not none never neither nor without cannot isn't aren't wasn't don't doesn't can't couldn't "
    "않습니다 않아요 않는다 않음 않네요 없습니다 없어요 없음 없다 없네요 없는 안 못 아닙니다 아니에요 "
    "ningún ninguna tampoco"
)
_DOUBT = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|may|could|would|unsure|unclear|uncertain|either)\b"
    r"|\bnot (?:\w+ )?(?:sure|certain|clear)\b"
    r"|\b(?:don't|do not|can't|cannot|can not) (?:\w+ )?(?:know|tell|say|determine)\b"
    r"|\b(?:hard|difficult|impossible|unable) to\b|\bas an ai\b|\b(?:no|without a) doubt\b|\bno (?:idea|problem)\b"
    r"|\bif\b|아마|글쎄|모르|확실하지|확실치|불확실|것 같|수도 있|알 수 없"
    r"|\bquizás?\b|\btal vez\b|\bno (?:estoy segur[oa]|sé|lo sé)\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\byes\b\W{0,3}\bor\b\W{0,3}\bno\b|\byes ?/ ?no\b|\bsí o no\b|(?:예|네) ?(?:/|또는|혹은) ?아니[요오]",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?？\n。;])")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_PRONOUNS = _set("it one them that this 그것 이것")
_DENIED = re.compile(r"(?:있|보이)지 않")
_EXISTS = re.compile(
    r"\b(?:there(?:'s| is| are| isn't| aren't| was)|i (?:can |do |don't |can't |cannot |could )?(?:also )?(?:not )?see"
    r"|(?:is|are|isn't|aren't) (?:\w+ )?(?:visible|present|shown|seen|in the (?:image|picture|scene)))\b"
    r"|(?:있|없)(?:습니다|어요|음|다|네요|지 않)|보(?:입니다|여요|임|인다|이지)|\b(?:no )?hay\b",
    re.IGNORECASE,
)


def parse_yes_no_answer(text: str, original_prompt: str = "", target_object: str | None = None) -> bool | None:
    """Return whether a text says yes (True) or no (False); None if it says neither, both, or is not sure.

    Never raises for any text.

    Args:
        text: what a model generated.
        original_prompt: what it was asked, which it may have echoed.
        target_object: what was asked for: "There is a table." is then no answer to the question for a cup.

    >>> [parse_yes_no_answer(text) for text in ("Yes, there is a cup.", "아니요", "a piano", "not sure", "yes and no")]
    [True, False, None, None, None]
    """
    if max(len(text), len(original_prompt)) > MAX_CHARACTERS:
        return None
    said = {_one_answer(answer, target_object) for answer in answers_after_prompt(text, original_prompt)}
    return said.pop() if len(said) == 1 else None


def _one_answer(answer: str, thing: str | None) -> bool | None:
    plain = "\n".join(line.words for line in plain_lines(answer)).replace("’", "'").lower()
    if _DOUBT.search(plain):
        return None
    sentences = [claim for sentence in _SENTENCE_END.split(plain) if (claim := _claim(sentence))]
    words = {word for sentence in sentences for word in _words(sentence)}
    if words & YES and words & NO:
        return None
    first = next((_words(sentence)[0] for sentence in sentences if _words(sentence)), "")
    seen = {_is_seen(sentence) for sentence in sentences if _EXISTS.search(sentence) and _names(sentence, thing)}
    if first in NO:
        return False
    if words & YES:
        return True if first in YES and False not in seen else None
    return seen.pop() if len(seen) == 1 else None


def _claim(sentence: str) -> str:
    """What a sentence claims; "" for a question or none. Of "answer yes or no: no" what stands behind the colon."""
    if sentence.endswith(("?", "？")) or not _WORD.search(sentence):
        return ""
    return BECAUSE.sub(
        "", sentence.rpartition(":")[2] if ":" in sentence else "" if _CHOICE.search(sentence) else sentence
    )


def _is_seen(sentence: str) -> bool:
    """Whether "there is …" is said or denied."""
    return not (_NEGATIONS & set(_WORD.findall(sentence)) or _DENIED.search(sentence))


def _names(sentence: str, thing: str | None) -> bool:
    """Whether a sentence is about the thing: by its last word, or a pronoun."""
    last = (thing or "").lower().split()[-1:]
    return not last or last[0] in sentence or bool(_PRONOUNS & set(_words(sentence)))


def _words(sentence: str) -> list[str]:
    """Words of a sentence in lower case, without a label in front."""
    words = _WORD.findall(sentence)
    while words and words[0] in _LABELS:
        words = words[1:]
    return words
