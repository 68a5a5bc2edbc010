"""Prompts against what the original wrote, and marks that a tokenizer does not have."""

import json
from pathlib import Path

import pytest

from robovlms.data.conversation import CONVERSATIONS, TEXT_TEMPLATES, conversation_format, text_template
from robovlms.errors import ConfigError

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
PROMPTS = json.loads((GOLDENS / "prompts.json").read_text()) if GOLDENS.is_dir() else {}
QUESTION = "What action should the robot take to push the block?"


@needs_goldens
def test_every_prompt_of_the_original():
    assert len(PROMPTS["discrete_prompts"]) == 16
    for row in PROMPTS["discrete_prompts"]:
        found = conversation_format(row["model"]).prompt(QUESTION, bos=row["bos"], eos=row["eos"])
        assert found == row["prompt"], row


@needs_goldens
def test_every_text_of_the_original():
    assert len(PROMPTS["text_functions"]) == 9
    for row in PROMPTS["text_functions"]:
        template = text_template(row["tokenizer_type"])
        assert [template.text("Push the blue block", bos="<s>", eos="</s>")] == row["sample"], row
        assert template.arguments(row["max_length_arg"]) == {"add_special_tokens": True} | row["kwargs"], row
        assert template.padding_side == row["padding_side"], row


@needs_goldens
@pytest.mark.parametrize("kind", TEXT_TEMPLATES)
def test_templates_encode(kind):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(GOLDENS / "tiny_tokenizer")
    template = text_template(kind)
    ids, mask = template.encode(tokenizer, ["push the block", "push"], max_length=256)
    assert ids.shape == mask.shape
    longer, shorter = mask.bool().tolist()
    assert all(longer)
    assert shorter == sorted(shorter, reverse=template.padding_side == "right")
    alone = template.encode(tokenizer, ["push"])[0][0].tolist()
    assert ids[1][mask[1].bool()].tolist() == alone
    assert (alone[0] == tokenizer.bos_token_id) == (template.add_special_tokens or kind == "llava_orig")


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("marks", [(None, None), ("<s>", None), (None, "</s>")])
def test_a_missing_mark_is_left_out_and_never_the_word_none(name, marks):
    """The original wrote "None" behind the prompt of a tokenizer without an end mark."""
    bos, eos = marks
    prompt = conversation_format(name).prompt(QUESTION, bos=bos, eos=eos)
    assert "None" not in prompt
    assert "<s>" not in prompt
    if eos is None and bos is not None:
        assert "</s>" not in prompt
    assert all("None" not in template.text("push") for template in TEXT_TEMPLATES.values())


def test_one_mark_for_begin_and_end_is_left_to_the_tokenizer():
    assert conversation_format("moondream").prompt("Go?", bos="<|e|>", eos="<|e|>") == "Input: Go?\nOutput:"


def test_a_question_cannot_bring_an_image_or_a_begin_mark():
    assert conversation_format("mpt").prompt("<image>Go<s>?", bos="<s>", eos=None) == "Input: Go?\nOutput:"


@pytest.mark.parametrize(
    ("name", "family"), [("KOSMOS-2", "kosmos"), ("path/to/vicuna-7b-v1.5", "vicuna"), ("Qwen-VL", "qwen")]
)
def test_a_family_is_part_of_the_name(name, family):
    assert conversation_format(name) is CONVERSATIONS[family]


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'vicuna'"):
        conversation_format("vicunna")


def test_braces_in_an_instruction_are_text():
    assert text_template("qwen").text(" say {hello} ") == "say {hello}"
