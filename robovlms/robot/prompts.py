"""What a VLM is asked for a goal. A goal about a thing is asked in two stages::

    presence   "Is there a red cup in the image? Answer yes or no."     ─ parse_yes_no_answer ─> go on, or stop
    locate     "detect red cup"                                         ─ parse_detections    ─> a box

A model asked to locate what is not there invents a box; so it is asked first whether the thing is there. "detect …" is
what models with location tokens were trained on, in English words around the name.

Source: https://ai.google.dev/gemma/docs/paligemma/prompt-system-instructions
"""

from enum import Enum
from typing import Literal

from robovlms.errors import ConfigError, unknown_name

Stage = Literal["presence", "locate"]
STAGES = ("presence", "locate")
MAX_CHARACTERS = 80  # of the name of a thing


class Goal(str, Enum):
    """What a robot is to do with a picture."""

    DESCRIBE_SCENE = "describe_scene"
    IDENTIFY_MAIN_OBJECT = "identify_main_object"
    SAVE_IMAGE = "save_image"
    FIND_OBJECT = "find_object"
    NAVIGATE_TO = "navigate_to"
    FOLLOW = "follow"
    UNKNOWN = "unknown"


TWO_STAGE_GOALS = frozenset({Goal.FIND_OBJECT, Goal.NAVIGATE_TO, Goal.FOLLOW})

# Language -> what is asked.
_DESCRIBE = {
    "en": "Describe what you see in the image.",
    "ko": "이미지에 무엇이 보이는지 설명해 주세요.",
    "es": "Describe lo que ves en la imagen.",
}
_IDENTIFY = {
    "en": "What is the main object in the image? Answer with its name.",
    "ko": "이미지에서 가장 중요한 물체는 무엇입니까? 이름만 답하세요.",
    "es": "¿Cuál es el objeto principal de la imagen? Responde con su nombre.",
}
_PRESENCE = {
    "en": "Is there {a_thing} in the image? Answer yes or no.",
    "ko": "다음 물체가 이미지에 보입니까: {thing}? 예 또는 아니오로 답하세요.",
    "es": "¿Hay {thing} en la imagen? Responde sí o no.",
}
_LOCATE = "detect {thing}"
LANGUAGES = tuple(_PRESENCE)


def get_vlm_prompt(
    goal: Goal | str,
    custom_prompt: str | None = None,
    target_object: str | None = None,
    stage: Stage = "presence",
    language: str = "en",
) -> str:
    """Return what to ask the model; "" where nothing needs to be asked (save_image, unknown).

    Args:
        goal: what the robot is to do.
        custom_prompt: asked instead; `{target_object}` in it stands for the thing.
        target_object: the thing; needed by find_object, navigate_to and follow.
        stage: which question of those goals: whether the thing is there, or where.
        language: of the questions, "en", "ko" or "es".

    Raises:
        ConfigError: if goal, stage or language is unknown, or the thing is missing or not a plain name.

    >>> get_vlm_prompt("find_object", target_object="red cup")
    'Is there a red cup in the image? Answer yes or no.'
    >>> get_vlm_prompt(Goal.NAVIGATE_TO, target_object="red cup", stage="locate")
    'detect red cup'
    """
    goal = goal_of(goal)
    if stage not in STAGES:
        raise ConfigError(unknown_name("stage", stage, STAGES))
    if language not in LANGUAGES:
        raise ConfigError(unknown_name("language", language, LANGUAGES))
    thing = target_name(target_object) if goal in TWO_STAGE_GOALS or target_object is not None else ""
    if custom_prompt is not None:
        return custom_prompt.replace("{target_object}", thing)
    if goal in TWO_STAGE_GOALS:
        question = _LOCATE if stage == "locate" else _PRESENCE[language]
        return question.replace("{a_thing}", _with_article(thing)).replace("{thing}", thing)
    return {Goal.DESCRIBE_SCENE: _DESCRIBE, Goal.IDENTIFY_MAIN_OBJECT: _IDENTIFY}.get(goal, {}).get(language, "")


def _with_article(thing: str) -> str:
    if thing.lower().startswith(("a ", "an ", "the ")):
        return thing
    return f"an {thing}" if thing[0].lower() in "aeiou" else f"a {thing}"


def goal_of(name: Goal | str) -> Goal:
    """Return the goal of that name.

    Raises:
        ConfigError: if there is none.
    """
    choices = [goal.value for goal in Goal]
    if name not in choices:
        raise ConfigError(unknown_name("goal", name, choices))
    return Goal(name)


def target_name(target_object: str | None) -> str:
    """Return the name of a thing, spaces collapsed.

    A name goes into a prompt and is compared with labels, so it holds no line, no mark of a token and no separator.

    Raises:
        ConfigError: if it is missing, too long, or not a plain name.
    """
    words = " ".join(target_object.split()) if isinstance(target_object, str) else ""
    if not words or len(words) > MAX_CHARACTERS or not words.isprintable() or set("<>;{}|") & set(words):
        raise ConfigError(
            f"target_object: expected a name of 1 to {MAX_CHARACTERS} characters without <>;{{}}|, "
            f"got {str(target_object)[:100]!r}"
        )
    return words
