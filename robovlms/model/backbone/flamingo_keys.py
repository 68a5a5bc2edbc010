"""Names of OpenFlamingo checkpoints, and of the three models that such a checkpoint is made of.

One list of rules reads all of them, because OpenFlamingo wraps a language model without renaming its parts::

    lang_encoder.<layers>.3.decoder_layer.*              a layer of the language model
    lang_encoder.<layers>.3.gated_cross_attn_layer.*     the gated block in front of it
    lang_encoder.*                                       all else of the language model
    perceiver.*, vision_encoder.*                        resampler; vision tower as in OpenCLIP

The language model's own files are read as `lang_encoder.<their name>`, and CLIP's as `clip.<their name>`.

Source: https://github.com/mlfoundations/open_flamingo (open_flamingo/src/flamingo_lm.py, helpers.py) and
https://github.com/mlfoundations/open_clip (src/open_clip/transformer.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from robovlms.errors import CheckpointError, unknown_name
from robovlms.model.backbone.key_map import Rule, apply_rules, drop, rename, split

# Where a folder's weights come from -> the prefix that their names get.
SOURCES = {"language_model": "lang_encoder.", "vision_model": "clip.", "checkpoint": ""}


@dataclass(frozen=True)
class LanguageModel:
    """Names of one kind of language model.

    Attributes:
        layers: where its layers are, as a regular expression.
        embedding: our name of its word embedding.
        rules: its names, after `lm.`, to ours.
    """

    layers: str
    embedding: str
    rules: tuple[Rule, ...]


_COMPUTED = "computed from the configuration"
_UNUSED_NORM = "OpenFlamingo reads the tokens before it"
_LM_HEAD = rename(r"lm\.lm_head\.weight", "lm_head.weight")
_MPT_LAYER = r"lm\.transformer\.blocks\.(\d+)\."
LANGUAGE_MODELS: dict[str, LanguageModel] = {
    "llama": LanguageModel(
        r"model\.layers",
        "decoder.embed_tokens.weight",
        (
            drop(r"lm\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", _COMPUTED),
            rename(r"lm\.model\.(.*)", r"decoder.\1"),
            _LM_HEAD,
        ),
    ),
    "gpt_neox": LanguageModel(
        r"gpt_neox\.layers",
        "decoder.embed_in.weight",
        (
            drop(r"lm\.gpt_neox\.layers\.\d+\.attention\.(?:bias|masked_bias|rotary_emb\.inv_freq)", _COMPUTED),
            rename(r"lm\.gpt_neox\.(.*)", r"decoder.\1"),
            rename(r"lm\.embed_out\.weight", "lm_head.weight"),
            _LM_HEAD,
        ),
    ),
    "opt": LanguageModel(
        r"model\.decoder\.layers",
        "decoder.decoder.embed_tokens.weight",
        (
            rename(r"lm\.(?:model\.)?decoder\.(.*)", r"decoder.decoder.\1"),
            _LM_HEAD,
        ),
    ),
    "mpt": LanguageModel(
        r"transformer\.blocks",
        "decoder.wte.weight",
        (
            rename(_MPT_LAYER + r"ln_(\d)\.weight", r"decoder.blocks.\1.norm_\2.weight"),
            rename(_MPT_LAYER + r"mlp\.mlp_(up|down)\.weight", r"decoder.blocks.\1.ffn.\2_proj.weight"),
            rename(r"lm\.transformer\.ln_f\.weight", "decoder.norm_f.weight"),
            rename(r"lm\.transformer\.(.*)", r"decoder.\1"),
            _LM_HEAD,
        ),
    ),
}
_RESBLOCK, _CLIP_LAYER = r"vision_encoder\.transformer\.resblocks\.(\d+)\.", r"vision.encoder.layers.\1."
_OPEN_CLIP = (
    rename(r"vision_encoder\.conv1\.weight", "vision.embeddings.patch_embedding.weight"),
    rename(r"vision_encoder\.class_embedding", "vision.embeddings.class_embedding"),
    rename(r"vision_encoder\.positional_embedding", "vision.embeddings.position_embedding.weight"),
    rename(r"vision_encoder\.ln_pre\.(.*)", r"vision.pre_layrnorm.\1"),
    split(_RESBLOCK + r"attn\.in_proj_(weight|bias)", [_CLIP_LAYER + rf"self_attn.{part}_proj.\2" for part in "qkv"]),
    rename(_RESBLOCK + r"attn\.out_proj\.(.*)", _CLIP_LAYER + r"self_attn.out_proj.\2"),
    rename(_RESBLOCK + r"ln_(\d)\.(.*)", _CLIP_LAYER + r"layer_norm\2.\3"),
    rename(_RESBLOCK + r"mlp\.c_fc\.(.*)", _CLIP_LAYER + r"mlp.fc1.\2"),
    rename(_RESBLOCK + r"mlp\.c_proj\.(.*)", _CLIP_LAYER + r"mlp.fc2.\2"),
    drop(r"vision_encoder\.ln_post\..*", _UNUSED_NORM),
    drop(r"vision_encoder\.proj", "into the space shared with text, for retrieval"),
)
_CLIP = (
    drop(r"clip\.(?:vision_model\.)?embeddings\.position_ids", _COMPUTED),
    drop(r"clip\.(?:vision_model\.)?post_layernorm\..*", _UNUSED_NORM),
    drop(r"clip\.(?:text_model\..*|text_projection\.weight|visual_projection\.weight|logit_scale)", "for retrieval"),
    rename(r"clip\.(?:vision_model\.)?((?:embeddings|pre_layrnorm|encoder)\..*)", r"vision.\1"),
)
# The language model is the policy's `backbone`, the vision tower the image half of a whole CLIP.
_ORIGINAL = (
    rename(r"backbone\.(.*)", r"lang_encoder.\1"),
    drop(r"model\..*", "stored once more as backbone.*"),
    rename(r"vision_encoder\.visual\.(.*)", r"vision_encoder.\1"),
    drop(
        r"vision_encoder\.(?:(?:transformer|token_embedding|ln_final)\..*|positional_embedding|text_projection|logit_scale)",
        "the text half of CLIP",
    ),
    rename(r"(perceiver\..*)", r"\1"),
)


def language_model(model_type: str) -> LanguageModel:
    """Look the names of a kind of language model up.

    Raises:
        CheckpointError: names the nearest kind that is known.
    """
    if model_type not in LANGUAGE_MODELS:
        raise CheckpointError(unknown_name("kind of language model", model_type, LANGUAGE_MODELS))
    return LANGUAGE_MODELS[model_type]


def rename_flamingo(state: Mapping[str, Tensor], model_type: str, source: str) -> dict[str, Tensor]:
    """Return weights of a Flamingo under our names.

    Args:
        state: name -> tensor, as drawn above.
        model_type: kind of the language model: "llama", "gpt_neox", "opt" or "mpt".
        source: where the weights come from, for messages.

    Raises:
        CheckpointError: names a tensor that is not known.
    """
    names = language_model(model_type)
    unwrap = (
        drop(r"lang_encoder\.(?:old_decoder_blocks|gated_cross_attn_layers)\..*", "stored once more under the layers"),
        rename(rf"lang_encoder\.{names.layers}\.(\d+)\.gated_cross_attn_layer\.(.*)", r"gated.\1.\2"),
        rename(rf"lang_encoder\.({names.layers}\.\d+)\.decoder_layer\.(.*)", r"lm.\1.\2"),
        rename(r"lang_encoder\.(.*)", r"lm.\1"),
        rename(r"perceiver\.(.*)", r"bridge.\1"),
        *_OPEN_CLIP,
        *_CLIP,
    )
    keep = rename(r"((?:gated|bridge|vision)\..*)", r"\1")
    return apply_rules(apply_rules(state, unwrap, source), (keep, *names.rules), source)


def from_original_layout(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """OpenFlamingo's names for the weights of an original RoboVLMs Flamingo policy.

    Args:
        state: name -> tensor; the prefix `model.` of all names is gone, heads and action token are left out.
        source: where the weights come from, for messages.

    Raises:
        CheckpointError: names a tensor that is not known.
    """
    return apply_rules(state, _ORIGINAL, source)
