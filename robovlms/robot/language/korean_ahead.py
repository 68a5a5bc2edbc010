"""What the parts ahead say about the one that is being read: a Korean clause is closed by what follows."""

from collections.abc import Collection, Sequence

from robovlms.robot.language.korean_words import Part


def starts_anew(ahead: Sequence[Part]) -> bool:
    """Whether the words up to the next comma name a direction, an amount or a deed of their own."""
    for part in ahead:
        if part.kind == "mark":
            return False
        if part.kind in ("direction", "number") or part.sense is not None:
            return True
    return False


def names_amount(ahead: Sequence[Part], then: Collection[str]) -> bool:
    """Whether only an amount or a direction follows a deed: "전진 2미터", "회전 왼쪽으로 90도".

    Args:
        ahead: parts behind the deed.
        then: words that begin another step.
    """
    is_named = False
    for part in ahead:
        if part.kind in ("mark", "deed") or "then" in part.kinds or part.text in then:
            break
        if _is_amount(part) or _is_done(part):
            is_named = True
        elif not {"word", "ask", "not", "forward"} & set(part.kinds):
            return False
    return is_named


def _is_amount(part: Part) -> bool:
    is_direction = part.kind == "direction" and part.role in ("", "to")
    return is_direction or part.kind == "number" or bool({"slow", "fast"} & set(part.kinds))


def _is_done(part: Part) -> bool:
    if part.kind != "verb":
        return False
    sense = part.forms[0].sense
    return sense.stem == "하" or sense.auxiliary == "give"


def stands_alone(part: Part, ahead: Sequence[Part]) -> bool:
    """Whether a deed is the end of its clause."""
    if not ahead or ahead[0].kind == "mark":
        return True
    if {"ask", "then"} & set(ahead[0].kinds):
        return True
    is_soft = bool({"word", "slow", "fast", "hello"} & set(ahead[0].kinds))
    if is_soft and all({"word", "slow", "fast", "ask", "hello"} & set(one.kinds) for one in ahead):
        return True
    return part.text.isascii()


def is_ruled_out(ahead: Sequence[Part]) -> bool:
    """ "왼쪽은 안 돼, 오른쪽으로 돌아": a contrast, if something follows."""
    return len(ahead) > 2 and bool({"wrong", "forbidden"} & set(ahead[0].kinds)) and ahead[1].kind == "mark"


def denies(part: Part) -> bool:
    """Whether it forbids or denies the verb before it: 마, 않아."""
    return any(form.sense.auxiliary in ("stop_doing", "not") for form in part.forms)


def is_describing(part: Part) -> bool:
    """Whether a verb belongs to the noun behind it: 있는, 움직이던."""
    return any(form.ending.role.endswith("adnominal") for form in part.forms)
