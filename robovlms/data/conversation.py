"""How a question is put to each family of language models, and how the original RoboVLMs wrote its instructions.

Two tables of the original, one line per family. A discrete policy is asked in the model's conversation format, and the
action tokens are written where the answer would be::

    format   Input: What action should the robot take to push the block?\\nOutput: \\n</s>
             before                                                     after      end

A continuous policy is only told what to do, in the words of its tokenizer type::

    text     <grounding>An image of a robot push the block

A mark that a tokenizer does not have is left out.

>>> conversation_format("kosmos").prompt("What now?", bos="<s>", eos="</s>")
'Input: What now?\\nOutput: \\n</s>'
>>> text_template("kosmos").text("push the block")
'<grounding>An image of a robot push the block'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from robovlms.errors import ConfigError, unknown_name


@dataclass(frozen=True, kw_only=True)
class ConversationFormat:
    """One question and the place of its answer.

    Attributes:
        before: text before the question.
        after: text between the question and the answer.
        end: what closes the answer, with the field `{eos}`; empty = nothing.
        fallback_eos: end mark for a tokenizer that has neither a begin nor an end mark.
    """

    before: str
    after: str
    end: str
    fallback_eos: str = ""

    def prompt(self, question: str, *, bos: str | None, eos: str | None) -> str:
        """Return the prompt, without white space at its end.

        Args:
            question: what is asked; the image placeholder "<image>" is taken out of it.
            bos: begin mark of the tokenizer, None if it has none. It is taken out of the text, because tokenizers put
                it there themselves; so one that begins and ends with the same mark ends with none.
            eos: end mark of the tokenizer, None if it has none.
        """
        mark = self.fallback_eos if bos is None and eos is None else eos
        text = self.before + question.replace("<image>", "").strip() + self.after
        text += self.end.format(eos=mark) if mark else ""
        return (text.replace(bos, "") if bos else text).rstrip()


_INPUT_OUTPUT = ConversationFormat(before="Input: ", after="\nOutput: ", end="\n{eos}")

# The first name that is part of the model's name counts.
# Source: the formats of Vicuna 1.5, Mistral Instruct, LLaMA-2 chat and Phi-2 as the original RoboVLMs gives them.
CONVERSATIONS: dict[str, ConversationFormat] = {
    "vicuna": ConversationFormat(
        before=(
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
        ),
        after=" ASSISTANT:  ",
        end="{eos}",
        fallback_eos="</s>",
    ),
    "mistral": ConversationFormat(before="[INST] ", after=" [/INST]  ", end="{eos}", fallback_eos="</s>"),
    "llama": ConversationFormat(
        before=(
            "[INST] <<SYS>\nYou are a helpful language and vision assistant. You are able to understand the visual "
            "content that the user provides, and assist the user with a variety of tasks using natural language.\n"
            "<</SYS>>\n\n"
        ),
        after=" [/INST]  ",
        end="{eos}",
        fallback_eos="</s>",
    ),
    "mpt": _INPUT_OUTPUT,
    "qwen": ConversationFormat(before="Input: ", after="\nOutput:", end=""),
    "kosmos": _INPUT_OUTPUT,
    "paligemma": _INPUT_OUTPUT,
    "flamingo": _INPUT_OUTPUT,
    "moondream": _INPUT_OUTPUT,
    "uform": _INPUT_OUTPUT,
    "llava": _INPUT_OUTPUT,
    "phi": _INPUT_OUTPUT,
    "auto": _INPUT_OUTPUT,
    "tiny": _INPUT_OUTPUT,
}


def conversation_format(model_name: str) -> ConversationFormat:
    """Return the format of the first family whose name is part of `model_name`, in any case.

    Raises:
        ConfigError: if there is none.
    """
    for name, found in CONVERSATIONS.items():
        if name in model_name.lower():
            return found
    raise ConfigError("model_name: " + unknown_name("model family", model_name, CONVERSATIONS))


@dataclass(frozen=True, kw_only=True)
class TextTemplate:
    """The text of an instruction for one type of tokenizer, and how that tokenizer is called.

    Attributes:
        template: with the fields `{instruction}`, `{bos}` and `{eos}`.
        max_length: longest text in tokens; None = as the caller says.
        is_truncated: whether a longer one is cut.
        add_special_tokens: whether the tokenizer adds its own marks.
        padding_side: where texts of a batch are filled up to the longest.
    """

    template: str
    max_length: int | None = 512
    is_truncated: bool = True
    add_special_tokens: bool = True
    padding_side: Literal["left", "right"] = "right"

    def text(self, instruction: str, *, bos: str | None = None, eos: str | None = None) -> str:
        """Return the text; a mark that is None is left out, and so is white space around the instruction."""
        return self.template.format(instruction=instruction.strip(), bos=bos or "", eos=eos or "")

    def arguments(self, max_length: int) -> dict[str, Any]:
        """Keyword arguments of the call of a transformers tokenizer; `max_length` holds unless the template has one."""
        length = max_length if self.max_length is None else self.max_length
        cut = {"truncation": "only_first"} if self.is_truncated else {}
        special = {"add_special_tokens": self.add_special_tokens}
        return {"max_length": length, "padding": "longest", "return_tensors": "pt"} | cut | special

    def encode(self, tokenizer: Any, instructions: Sequence[str], max_length: int = 256) -> tuple[Any, Any]:
        """Token ids and mask of instructions, tensors [b, l]; the tokenizer is one of transformers."""
        marks = {"bos": tokenizer.bos_token, "eos": tokenizer.eos_token}
        texts = [self.text(instruction, **marks) for instruction in instructions]
        encoded = tokenizer(texts, padding_side=self.padding_side, **self.arguments(max_length))
        return encoded["input_ids"], encoded["attention_mask"]


_END_OF_TEXT = TextTemplate(template="<|endoftext|>{instruction}")
_GAP = " " * 13  # the original's text continues over source lines, whose indentation became part of it

# Source: `get_text_function` of the original RoboVLMs.
TEXT_TEMPLATES: dict[str, TextTemplate] = {
    "flamingo": TextTemplate(template="<image>{instruction}<|endofchunk|>{eos}", max_length=None),
    "llava": TextTemplate(template="{instruction}", max_length=2048, is_truncated=False, padding_side="left"),
    "llava_orig": TextTemplate(
        template=(
            f"{{bos}}You are a helpful language and vision assistant.{_GAP}You are able to understand the visual "
            f"content that the user provides,{_GAP}and assist the user with a variety of tasks using natural language."
            "This is the static camera observation: <image>This is the egocentric girpper camera observation: <image>"
            "{instruction}{eos}"
        ),
        max_length=None,
    ),
    "qwen": TextTemplate(template="{instruction}"),
    "kosmos": TextTemplate(template="<grounding>An image of a robot {instruction}"),
    "moondream": _END_OF_TEXT,
    "uform": TextTemplate(template="<image> {instruction}"),
    "paligemma": TextTemplate(template="{eos}{instruction}\n", add_special_tokens=False),
    "default": _END_OF_TEXT,
}


def text_template(tokenizer_type: str) -> TextTemplate:
    """Return the template of a type of tokenizer; a type that is not listed takes "default", as in the original."""
    return TEXT_TEMPLATES.get(tokenizer_type, TEXT_TEMPLATES["default"])
