"""Words around an answer, in the languages that are understood: labels, refusals, doubts, alternatives, reasons.

They decide what of a generated text is its answer, never what the answer means. A language is a line in each table.
"""

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


def _label(words: str) -> str:
    """A label stands at the front of a line or sentence and ends with a colon."""
    return rf"(?:^|(?<=[.!?;,。\n•])[ \t]{{0,4}})(?:so |therefore |thus |my )?(?:{words})[ \t]{{0,4}}[:：]"


FINAL_LABEL = _any(
    _label(r"(?:the )?final (?:answer|action|command|decision)(?: is)?"),
    _label(r"최종 ?(?:답|답변|답안|행동|명령|결정)(?:은|는)?"),
    _label(r"(?:la )?(?:respuesta|acción) final(?: es)?"),
)
ANSWER_LABEL = _any(
    _label(
        r"(?:the )?(?:(?:next|best|correct|robot|chosen|recommended) )?"
        r"(?:answer|action|command|decision|output|response|out|ans|a)(?: is)?(?: to)?"
    ),
    _label(r"(?:정답|답|답변|대답|다음 행동|행동|명령|동작|출력)(?:은|는)?"),
    _label(r"(?:la )?(?:respuesta|acción|comando|orden)(?: es)?"),
)
REASON_LABEL = _any(
    _label(
        r"(?:step-by-step )?(?:reasoning|reasons?|explanation|thoughts?|thinking|thought process|observations?|analysis"
        r"|scene|scene description|description|image description|rationale|justification|question|q)"
    ),
    _label(r"(?:이유|설명|생각|추론|관찰|분석|장면|질문)"),
    _label(r"(?:razonamiento|razón|explicación|pensamiento|observación|pregunta)"),
)
NOTE_LABEL = _any(
    _label(r"(?:notes?|warning|caution|context)"), _label(r"(?:참고|주의|경고)"), _label(r"(?:nota|aviso)")
)
REFUSAL = _any(
    r"\b(?:i|we)(?:'m| am| are|'re)? (?:really |very |so |afraid |currently )*"
    r"(?:can(?:not|'t| not)|could(?:n't| not)|unable|do(?:n't| not) (?:know|see|have|understand)"
    r"|not (?:sure|able|certain)|unsure|won't|will not)\b",
    r"\bi(?:'m| am) sorry\b|\bi apologi[sz]e\b|\bas an? (?:ai|artificial|language model|large language|assistant)\b",
    r"죄송|할 수 없|알 수 없|모르겠|불가능합니다|인공지능으로서|AI로서|확실하지 않",
    r"\blo siento\b|\bno puedo\b|\bno sé\b|\bcomo (?:una? )?(?:ia|modelo|inteligencia)\b|\bno estoy segur[oa]\b",
)
DOUBT = _any(
    r"(?<!if )(?<!as )(?<!when )\b(?:i|we|you|it|he|she|they|the robot) "
    r"(?:would(?! (?:really |very much |)(?:like|love|prefer) (?:for |)you to| appreciate| be grateful)|"
    r"could|might|may|can)\b",
    r"\b(?:i|we|you|they)'d\b(?! (?:really |very much |)(?:like|love|prefer) (?:for |)you to| appreciate| be grateful)",
    r"(?:^|(?<=[.!?\n,])[ \t]?)(?:maybe|perhaps|possibly|probably)\b",
    r"\bmight\b|\beither\b|\bnot sure\b|\bi (?:think|guess)\b",
    r"아마|것 같|수도 있|글쎄",
    r"\b(?:quizás?|tal vez|a lo mejor|(?<!¿)podría|probablemente)\b",
)
OR = _any(r"\bor\b|/(?=[a-z])", r"또는|혹은|아니면|(?<=\S)거나(?=[\s,]|$)", r"(?<=\s)[oó](?=\s)")
OPTIONS = _any(
    r"\b(?:options?|possible|possibilities|choices?|choose|either|alternatives?|one of|could|might)\b",
    r"선택|가능한|옵션|후보|중 하나",
    r"\b(?:opciones|posibles?|alternativas|elige)\b",
)
NEGATED = _any(
    r"\b(?:not|never|no|none|nothing|avoid|wrong|incorrect|forbidden|prohibited|instead of|except|unsafe|bad|cannot)\b",
    r"n't\b",
    r"지 마|지 말|금지|안 되|안 됩|아닌|잘못|위험",
    r"\b(?:nunca|jamás|evit[ae]r?|prohibido|mal)\b",
)
HEAD = _any(r"[:：]\s*$", r"\b(?:following|these|those|below)\b", r"다음", r"\bsiguientes?\b")  # of a list
# Behind a word, up to the next comma: in front of a command a reason is no reason to drop the command.
BECAUSE = _any(
    r"(?<=[^\s.!?,;:])[,;]?\s\(?(?:because|since (?:the|there|it|i|we|you|that|this)|so that|in order to|due to"
    r"|as (?:there|it) (?:is|are))\b[^.!?\n,;]*",
    r"[,;]?\s?왜냐하면[^.!?\n,;]*|[,;]?\s?때문입니다",
    r"(?<=[^\s.!?,;:])[,;]?\s(?:porque|ya que|debido a)\b[^.!?\n,;]*",
)
LEAD_IN = re.compile(
    r"\s*(?:(?:sure|certainly|of course|okay|ok|alright|all right|understood|got it|네|예|알겠습니다|claro|de acuerdo)"
    r"[,.!]+\s+)?"
    r"(?:(?:so|therefore|thus|then)?,?\s?(?:the robot (?:should|must|needs to|has to)(?P<not> not| never)?(?: now)?"
    r"|(?:the )?(?:(?:next|best|correct|final) )?(?:answer|action|command|move) (?:is|would be|should be)(?: to)?)"
    r"(?P<colon>:)?\s)?",
    re.IGNORECASE,
)
QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」"), ("«", "»"))
