"""Flamingo's released layouts: at their published sizes without memory, and small folders that are loaded."""

import dataclasses
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, CLIPConfig, CLIPModel

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError
from robovlms.model.backbone.base import Media
from robovlms.model.backbone.composite import native_config
from robovlms.model.backbone.flamingo import FlamingoBackbone
from robovlms.model.backbone.flamingo_keys import from_original_layout, rename_flamingo

from .layouts import (
    CLIP,
    FLAMINGO,
    MPT_1B,
    Shapes,
    gated_blocks,
    linear,
    mpt_1b,
    norm,
    on_meta,
    open_clip,
    perceiver,
    write_tokenizer,
)

KINDS = ("llama", "gpt_neox", "opt", "mpt")

# ------------------------------------------------------------------------------------------------- the published sizes

VIT_L = {
    "model_type": "clip",
    "vision_config": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu",
    },
}  # fmt: skip
MPT_1B_CONFIG = {
    "model_type": "mosaic_gpt", "d_model": 2048, "n_heads": 16, "n_layers": 24, "vocab_size": 50368,
    "max_seq_len": 2048, "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True, "attn_clip_qkv": None,
    "softmax_scale": None, "mlp_ratio": 4, "no_bias": True, "logit_scale": None,
}  # fmt: skip
MPT_7B_CONFIG = {
    "model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432, "max_seq_len": 2048,
    "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "qk_ln": False, "clip_qkv": None},
    "expansion_ratio": 4, "no_bias": True, "logit_scale": None,
}  # fmt: skip
REDPAJAMA_CONFIG = {
    "model_type": "gpt_neox", "hidden_size": 2560, "intermediate_size": 10240, "num_attention_heads": 32,
    "num_hidden_layers": 32, "vocab_size": 50432, "rotary_pct": 1.0, "use_parallel_residual": False,
    "architectures": ["GPTNeoXForCausalLM"], "torch_dtype": "float16",
}  # fmt: skip


def mpt_7b() -> Shapes:
    shapes: Shapes = {"transformer.wte.weight": (50432, 4096), "transformer.norm_f.weight": (4096,)}
    for i in range(32):
        block = f"transformer.blocks.{i}"
        shapes |= {f"{block}.norm_1.weight": (4096,), f"{block}.norm_2.weight": (4096,)}
        shapes |= linear(f"{block}.attn.Wqkv", 3 * 4096, 4096, bias=False)
        shapes |= linear(f"{block}.attn.out_proj", 4096, 4096, bias=False)
        shapes |= linear(f"{block}.ffn.up_proj", 4 * 4096, 4096, bias=False)
        shapes |= linear(f"{block}.ffn.down_proj", 4096, 4 * 4096, bias=False)
    return shapes


def redpajama_3b() -> Shapes:
    width = 2560
    shapes: Shapes = {"gpt_neox.embed_in.weight": (50432, width), "embed_out.weight": (50432, width)}
    for i in range(32):
        layer = f"gpt_neox.layers.{i}"
        shapes |= norm(f"{layer}.input_layernorm", width) | norm(f"{layer}.post_attention_layernorm", width)
        shapes |= linear(f"{layer}.attention.query_key_value", 3 * width, width)
        shapes |= linear(f"{layer}.attention.dense", width, width)
        shapes |= linear(f"{layer}.mlp.dense_h_to_4h", 4 * width, width)
        shapes |= linear(f"{layer}.mlp.dense_4h_to_h", width, 4 * width)
        shapes |= {f"{layer}.attention.bias": (1, 1, 2048, 2048), f"{layer}.attention.masked_bias": ()}
        shapes |= {f"{layer}.attention.rotary_emb.inv_freq": (40,)}
    return shapes | norm("gpt_neox.final_layer_norm", width)


def clip_of_the_hub() -> Shapes:
    """The image half as it is; of the text half one tensor of each kind."""
    v, width = "vision_model", CLIP.width
    shapes: Shapes = {f"{v}.embeddings.class_embedding": (width,), f"{v}.embeddings.position_ids": (1, CLIP.positions)}
    shapes |= {f"{v}.embeddings.patch_embedding.weight": (width, 3, CLIP.patch, CLIP.patch)}
    shapes |= {f"{v}.embeddings.position_embedding.weight": (CLIP.positions, width)}
    shapes |= norm(f"{v}.pre_layrnorm", width) | norm(f"{v}.post_layernorm", width)
    for i in range(CLIP.layers):
        layer = f"{v}.encoder.layers.{i}"
        shapes |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", width, width)
        shapes |= linear(f"{layer}.mlp.fc1", CLIP.inner, width) | linear(f"{layer}.mlp.fc2", width, CLIP.inner)
    shapes |= {"text_model.embeddings.token_embedding.weight": (49408, 768), "logit_scale": ()}
    return shapes | {"text_projection.weight": (768, 768), "visual_projection.weight": (768, width)}


def trained(layers: str, every: int, num_layers: int, width: int, embedding: str) -> Shapes:
    """What checkpoint.pt holds: resampler, gated blocks, and embeddings of 50277 words and three marks."""
    numbers = range(every - 1, num_layers, every)
    return {
        **perceiver(FLAMINGO),
        **gated_blocks(layers, numbers, width, FLAMINGO),
        f"lang_encoder.{embedding}": (50280, width),
    }


RELEASED = {
    "3B": (MPT_1B_CONFIG, mpt_1b(MPT_1B), trained("transformer.blocks", 1, 24, 2048, "transformer.wte.weight")),
    "4B": (REDPAJAMA_CONFIG, redpajama_3b(), trained("gpt_neox.layers", 2, 32, 2560, "gpt_neox.embed_in.weight")),
    "9B": (MPT_7B_CONFIG, mpt_7b(), trained("transformer.blocks", 4, 32, 4096, "transformer.wte.weight")),
}


def sources(language_model: Shapes, vision_model: Shapes, checkpoint: Shapes) -> dict[str, Tensor]:
    """As `read_released` gives them."""
    parts = {"language_model": language_model, "vision_model": vision_model, "checkpoint": checkpoint}
    return {f"{part}/{name}": x for part, shapes in parts.items() for name, x in on_meta(shapes).items()}


def on_meta_device(architecture: Any) -> FlamingoBackbone:
    with torch.device("meta"):
        return FlamingoBackbone(architecture, ByteTokenizer())


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("size", RELEASED)
def test_every_published_tensor_finds_its_place(size: str) -> None:
    text, language_model, checkpoint = RELEASED[size]
    state = sources(language_model, clip_of_the_hub(), checkpoint)
    config = {"language_model": text, "vision_model": VIT_L}
    architecture, weights = FlamingoBackbone.translate(config, state, "here")
    backbone = on_meta_device(architecture)
    assert shapes_of(weights) == shapes_of(backbone.state_dict())
    assert backbone.image_size == (224, 224)
    assert backbone.vision.config.num_attention_heads == 16
    assert backbone.vision.config.hidden_act == "quick_gelu"
    assert backbone.max_positions == 2048
    every = {"3B": 1, "4B": 2, "9B": 4}[size]
    assert [int(i) for i in backbone.gated] == list(range(every - 1, len(backbone.decoder_layers), every))
    assert backbone.gated[str(every - 1)].attn.num_heads == 8
    assert backbone.bridge.layers[0][0].num_heads == 8
    assert backbone.encode_images(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 64, 1024)
    assert (backbone.output_embedding is None) == (size != "4B")


def test_every_tensor_of_an_original_policy_finds_its_place() -> None:
    """The original stores the layers three times, the whole model twice, and a whole CLIP."""
    text, language_model, checkpoint = RELEASED["3B"]
    layer = r"^transformer\.blocks\.(\d+)\."
    wrapped = {re.sub(layer, r"transformer.blocks.\1.decoder_layer.", name): s for name, s in language_model.items()}
    own = {n.removeprefix("lang_encoder."): s for n, s in checkpoint.items() if n.startswith("lang_encoder.")}
    blocks = {re.sub(layer, r"old_decoder_blocks.\1.", n): s for n, s in language_model.items() if re.match(layer, n)}
    gated = r"^transformer\.blocks\.(\d+)\.gated_cross_attn_layer\."
    copies = {re.sub(gated, r"gated_cross_attn_layers.\1.", n): s for n, s in own.items() if re.match(gated, n)}
    language = wrapped | blocks | copies | own
    state = {f"{prefix}.{name}": shape for prefix in ("backbone", "model") for name, shape in language.items()}
    state |= {n: s for n, s in checkpoint.items() if n.startswith("perceiver.")}
    vision = open_clip(CLIP)
    state |= {name.replace("vision_encoder.", "vision_encoder.visual."): shape for name, shape in vision.items()}
    state |= {f"vision_encoder.{name}": (1,) for name in ("positional_embedding", "text_projection", "logit_scale")}
    state |= {"vision_encoder.token_embedding.weight": (49408, 768), "vision_encoder.ln_final.bias": (768,)}
    state |= {"vision_encoder.transformer.resblocks.0.attn.in_proj_weight": (3 * 768, 768)}
    names = from_original_layout(on_meta(state), "here")
    assert set(names) == {f"lang_encoder.{name}" for name in language} | set(vision) | {
        name for name in checkpoint if name.startswith("perceiver.")
    }
    config = {"language_model": text, "vision_model": VIT_L}
    architecture, weights = FlamingoBackbone.translate(
        config, {f"checkpoint/{name}": tensor for name, tensor in names.items()}, "here"
    )
    assert shapes_of(weights) == shapes_of(on_meta_device(architecture).state_dict())
    with pytest.raises(CheckpointError, match="the tensor 'frame_embs'"):
        from_original_layout({"frame_embs": torch.zeros(1)}, "here")


def test_queries_keys_and_values_of_openclip_are_told_apart() -> None:
    name = "vision_encoder.transformer.resblocks.3.attn.in_proj_weight"
    state = rename_flamingo({name: torch.arange(12.0).view(6, 2)}, "opt", "here")
    layer = "vision.encoder.layers.3.self_attn"
    expected = {
        f"{layer}.{part}_proj.weight": [[4 * i, 4 * i + 1], [4 * i + 2, 4 * i + 3]] for i, part in enumerate("qkv")
    }
    assert {key: tensor.tolist() for key, tensor in state.items()} == expected


# -------------------------------------------------------------------------------------------------------- small folders

WORDS = "push the red button left right"  # and <unk>, <|endoftext|>, three marks
ROWS = len(WORDS.split()) + 5
LAYERS = {
    "llama": "model.layers", "gpt_neox": "gpt_neox.layers", "opt": "model.decoder.layers", "mpt": "transformer.blocks"
}  # fmt: skip
EMBEDDINGS = {
    "llama": "model.embed_tokens", "gpt_neox": "gpt_neox.embed_in", "opt": "model.decoder.embed_tokens",
    "mpt": "transformer.wte",
}  # fmt: skip


def reference(kind: str, qk_ln: bool) -> FlamingoBackbone:
    """A small model with eight heads, the number that every release has."""
    torch.manual_seed(0)
    tiny = deepcopy(FlamingoBackbone.tiny[kind])
    tiny.text["vocab_size"] = ROWS
    if kind == "mpt":
        tiny.text["attn_config"] = {"qk_ln": qk_ln}
    own = {**tiny.own, "num_heads": 8, "head_dim": 2}
    backbone = FlamingoBackbone(dataclasses.replace(tiny, own=own), ByteTokenizer())
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


def checkpoint_of(backbone: FlamingoBackbone, kind: str) -> dict[str, Tensor]:
    """Weights under the names of OpenFlamingo's checkpoint.pt."""
    state = {f"lang_encoder.{EMBEDDINGS[kind]}.weight": backbone.word_embedding.weight.detach().clone()}
    for name, tensor in backbone.state_dict().items():
        if name.startswith("bridge."):
            state[name.replace("bridge.", "perceiver.", 1)] = tensor
        if name.startswith("gated."):
            _, layer, rest = name.split(".", 2)
            state[f"lang_encoder.{LAYERS[kind]}.{layer}.gated_cross_attn_layer.{rest}"] = tensor
    return state


def write_language_model(backbone: FlamingoBackbone, kind: str, folder: Path, rows: int) -> Tensor | None:
    """As transformers saves it, with other embeddings; return its own output layer."""
    config = native_config({**backbone.architecture.text, "vocab_size": rows})
    model = AutoModelForCausalLM.from_config(config)
    own = {name: x for name, x in backbone.decoder.state_dict().items() if x.shape[0] != ROWS}
    own |= {name: x for name, x in model.base_model.state_dict().items() if x.shape[0] == rows}
    model.base_model.load_state_dict(own)
    model.save_pretrained(folder)
    write_tokenizer(folder, f"{WORDS} <|endoftext|>")
    return None if config.tie_word_embeddings else model.get_output_embeddings().weight.detach()


def write_old_mpt(backbone: FlamingoBackbone, folder: Path, rows: int) -> None:
    """As MosaicML wrote MPT-1B: other names in weights and configuration, in a pickle."""
    old = {
        "norm_f": "ln_f",
        "norm_1": "ln_1",
        "norm_2": "ln_2",
        "ffn": "mlp",
        "up_proj": "mlp_up",
        "down_proj": "mlp_down",
    }
    state = {
        "transformer." + ".".join(old.get(part, part) for part in name.split(".")): tensor
        for name, tensor in backbone.decoder.state_dict().items()
    }
    state["transformer.wte.weight"] = torch.zeros(rows, backbone.hidden_size)
    text = backbone.architecture.text
    config = MPT_1B_CONFIG | {name: text[name] for name in ("d_model", "n_heads", "n_layers")} | {"vocab_size": rows}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "pytorch_model.bin")
    write_tokenizer(folder, f"{WORDS} <|endoftext|>")


def write_clip(backbone: FlamingoBackbone, folder: Path) -> None:
    vision = {name: value for name, value in backbone.architecture.vision.items() if name != "model_type"}
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=4))
    model.vision_model.load_state_dict(backbone.vision.state_dict(), strict=False)
    model.save_pretrained(folder)


def write_release(backbone: FlamingoBackbone, kind: str, folder: Path, rows: int, is_old: bool) -> Tensor | None:
    head = None
    if is_old:
        write_old_mpt(backbone, folder / "words", rows)
    else:
        head = write_language_model(backbone, kind, folder / "words", rows)
    write_clip(backbone, folder / "eyes")
    (folder / "config.json").write_text(json.dumps({"language_model": "words", "vision_model": "eyes"}))
    torch.save(checkpoint_of(backbone, kind), folder / "checkpoint.pt")
    return head


def load(folder: Path) -> FlamingoBackbone:
    return FlamingoBackbone.build(VLMConfig(pretrained=str(folder)), TokenizerConfig(), torch.float32, None).eval()


@torch.inference_mode()
def outputs(backbone: FlamingoBackbone) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = backbone.encode_images(torch.randn(2, 3, *backbone.image_size, generator=generator))
    embeds = backbone.word_embedding(torch.arange(6).expand(2, -1))
    allowed = torch.ones(2, 6, 6, dtype=torch.bool).tril()
    media = Media(tokens=tokens, allowed=torch.ones(2, 6, tokens.shape[1], dtype=torch.bool))
    return tokens, backbone.decode(embeds, allowed, torch.arange(6).expand(2, -1), torch.arange(6), media=media)


@pytest.mark.parametrize("kind", [*KINDS, "mosaic_gpt"])
@pytest.mark.parametrize("rows", [ROWS - 3, ROWS + 20], ids=["words to add", "words to cut"])
def test_a_released_folder_computes_as_the_model_it_was_made_of(kind: str, rows: int, tmp_path: Path) -> None:
    is_old, kind = kind == "mosaic_gpt", "mpt" if kind == "mosaic_gpt" else kind
    expected = reference(kind, qk_ln=is_old)
    head = write_release(expected, kind, tmp_path, rows, is_old)
    backbone = load(tmp_path)
    for actual, wanted in zip(outputs(backbone), outputs(expected), strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-6, rtol=0)
    assert (backbone.output_embedding is None) == (head is None)
    if head is not None:
        own = backbone.output_embedding.weight
        assert own.shape[0] == ROWS
        torch.testing.assert_close(own[: ROWS - 3], head[: ROWS - 3], atol=0, rtol=0)
        if rows < ROWS:
            torch.testing.assert_close(own[-1], head.mean(0))


def test_marks_of_the_prompt_and_a_saved_tokenizer(tmp_path: Path) -> None:
    write_release(reference("llama", False), "llama", tmp_path / "released", ROWS, False)
    backbone = load(tmp_path / "released")
    backbone.save_assets(tmp_path / "saved")
    again = FlamingoBackbone.build(VLMConfig(), TokenizerConfig(), torch.float32, tmp_path / "saved")
    words = ["<unk>", *WORDS.split(), "<|endoftext|>", "<|endofchunk|>", "<image>", "<PAD>"]
    for built in (backbone, again):
        encoder = built.prompt_encoder(TokenizerConfig())
        ids = [words[i] for i in encoder.encode("push the button")]
        assert ids == ["<image>", "push", "the", "button", "<|endofchunk|>", "<|endoftext|>"]
        assert (built.images_at, built.prompt_tail) == (0, 1)  # queries stand before the end mark
        assert len(built.tokenizer) == len(built.word_embedding.weight) == ROWS
    assert again.prompt_encoder(TokenizerConfig()).fingerprint == backbone.prompt_encoder(TokenizerConfig()).fingerprint


def test_a_mark_that_the_tokenizer_has_already_keeps_its_id(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, f"{WORDS} <|endoftext|>", pad_token="<|endoftext|>")
    tokenizer = FlamingoBackbone.read_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert len(tokenizer) == len(FlamingoBackbone.read_tokenizer(tmp_path)) == ROWS - 1  # no <PAD>


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("perceiver.latents", None, r"no tensor for 'bridge\.latents'"),
        ("perceiver.norm.bias", None, r"no tensor for 'bridge\.norm\.bias' \[24\]"),
        ("perceiver.norm.bias", torch.zeros(7), r"'bridge\.norm\.bias' is \[7\], expected \[24\]"),
        ("perceiver.frame_embs", torch.zeros(1), r"'bridge\.frame_embs' is not a parameter"),
        ("something.else", torch.zeros(1), r"nothing is known of the tensor 'something\.else'"),
        ("lang_encoder.gpt_neox.layers.1.gated_cross_attn_layer.ff_gate", None, r"no tensor for 'gated\.1\.ff_gate'"),
        ("lang_encoder.gpt_neox.layers.0.gated_cross_attn_layer.ff_gate", torch.zeros(1), "gated.0"),
        (
            "lang_encoder.gpt_neox.embed_in.weight",
            torch.zeros(ROWS - 1, 32),
            "tokenizer has 11 tokens, but .* has embeddings of 10 only",
        ),
    ],
)
def test_a_bad_checkpoint_names_the_tensor(name: str, tensor: Tensor | None, message: str, tmp_path: Path) -> None:
    write_release(reference("gpt_neox", False), "gpt_neox", tmp_path, ROWS, False)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state = {key: x for key, x in state.items() if key != name} | ({} if tensor is None else {name: tensor})
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_a_bad_folder_says_what_is_missing(tmp_path: Path) -> None:
    write_release(reference("gpt_neox", False), "gpt_neox", tmp_path, ROWS, False)
    for values, message in [
        ({"language_model": "words"}, "lacks 'vision_model'"),
        ({"language_model": "wrods", "vision_model": "eyes"}, "'wrods' is no folder"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path)


def test_a_language_model_without_its_output_layer_is_refused() -> None:
    text, language_model, checkpoint = RELEASED["4B"]
    del (language_model := dict(language_model))["embed_out.weight"]
    config = {"language_model": text, "vision_model": VIT_L}
    with pytest.raises(CheckpointError, match=r"no tensor for 'lm_head\.weight'"):
        FlamingoBackbone.translate(config, sources(language_model, clip_of_the_hub(), checkpoint), "here")
    with pytest.raises(CheckpointError, match="unknown kind of language model 'optt'; did you mean 'opt'"):
        rename_flamingo({}, "optt", "here")
    no_blocks = {name: shape for name, shape in checkpoint.items() if "gated" not in name}
    with pytest.raises(CheckpointError, match="no tensor of a gated_cross_attn_layer"):
        FlamingoBackbone.translate(config, sources(redpajama_3b(), clip_of_the_hub(), no_blocks), "here")
