"""Names and shapes of released checkpoints, for any size; the published sizes are those of the real files.

Taken from the public code that wrote the checkpoints, and for MPT-1B from a listing of its file
(https://github.com/ggml-org/ggml/issues/499).
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, rows: int, columns: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def norm(name: str, width: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def two_layers(name: str, width: int, inner: int, first: str = "fc1", second: str = "fc2") -> Shapes:
    return linear(f"{name}.{first}", inner, width) | linear(f"{name}.{second}", width, inner)


# ------------------------------------------------------------------------------------------------------------ MoonDream

MOONDREAM = SimpleNamespace(
    vision_width=1152, vision_inner=4304, vision_layers=27, patch=14, grid=27, views=2, bridge_inner=8192,
    width=2048, inner=8192, layers=24, vocabulary=51200, heads=32, vision_heads=16,
)  # fmt: skip
TINY_MOONDREAM = SimpleNamespace(
    vision_width=12, vision_inner=20, vision_layers=2, patch=3, grid=2, views=2, bridge_inner=10,
    width=16, inner=24, layers=2, vocabulary=30, heads=2, vision_heads=3,
)  # fmt: skip


def moondream_2025(s: SimpleNamespace) -> Shapes:
    v, t, pixels = "model.vision", "model.text", 3 * s.patch**2
    shapes = linear(f"{v}.patch_emb", s.vision_width, pixels) | {f"{v}.pos_emb": (1, s.grid**2, s.vision_width)}
    for i in range(s.vision_layers):
        block = f"{v}.blocks.{i}"
        shapes |= norm(f"{block}.ln1", s.vision_width) | norm(f"{block}.ln2", s.vision_width)
        shapes |= linear(f"{block}.attn.qkv", 3 * s.vision_width, s.vision_width)
        shapes |= linear(f"{block}.attn.proj", s.vision_width, s.vision_width)
        shapes |= two_layers(f"{block}.mlp", s.vision_width, s.vision_inner)
    shapes |= norm(f"{v}.post_ln", s.vision_width)
    shapes |= linear(f"{v}.proj_mlp.fc1", s.bridge_inner, s.views * s.vision_width)
    shapes |= linear(f"{v}.proj_mlp.fc2", s.width, s.bridge_inner) | {f"{t}.wte": (s.vocabulary, s.width)}
    for i in range(s.layers):
        block = f"{t}.blocks.{i}"
        shapes |= norm(f"{block}.ln", s.width) | linear(f"{block}.attn.qkv", 3 * s.width, s.width)
        shapes |= linear(f"{block}.attn.proj", s.width, s.width) | two_layers(f"{block}.mlp", s.width, s.inner)
    shapes |= norm(f"{t}.post_ln", s.width) | linear(f"{t}.lm_head", s.vocabulary, s.width)
    return shapes | linear("model.region.coord_encoder", s.width, 256) | {"model.region.size_features": (2, 256)}


def moondream_2024(s: SimpleNamespace) -> Shapes:
    v, t, pixels = "vision_encoder.encoder.model.visual", "text_model.transformer", 3 * s.patch**2
    shapes = linear(f"{v}.patch_embed.linear", s.vision_width, pixels) | {
        f"{v}.pos_embed": (1, s.grid**2, s.vision_width)
    }
    for i in range(s.vision_layers):
        block = f"{v}.blocks.{i}"
        shapes |= norm(f"{block}.norm1", s.vision_width) | norm(f"{block}.norm2", s.vision_width)
        shapes |= linear(f"{block}.attn.qkv", 3 * s.vision_width, s.vision_width)
        shapes |= linear(f"{block}.attn.proj", s.vision_width, s.vision_width)
        shapes |= two_layers(f"{block}.mlp", s.vision_width, s.vision_inner)
    shapes |= norm(f"{v}.norm", s.vision_width)
    shapes |= linear("vision_encoder.projection.mlp.fc1", s.bridge_inner, s.views * s.vision_width)
    shapes |= linear("vision_encoder.projection.mlp.fc2", s.width, s.bridge_inner)
    shapes |= {f"{t}.embd.wte.weight": (s.vocabulary, s.width)}
    for i in range(s.layers):
        block = f"{t}.h.{i}"
        shapes |= norm(f"{block}.ln", s.width) | linear(f"{block}.mixer.Wqkv", 3 * s.width, s.width)
        shapes |= linear(f"{block}.mixer.out_proj", s.width, s.width) | two_layers(f"{block}.mlp", s.width, s.inner)
    return shapes | norm("text_model.lm_head.ln", s.width) | linear("text_model.lm_head.linear", s.vocabulary, s.width)


# ---------------------------------------------------------------------------------------------------------------- UForm

UFORM = SimpleNamespace(
    vision_width=1280, vision_layers=32, patch=14, positions=256, latents=256, pooler_inner=3200,
    width=1024, inner=2816, layers=24, vocabulary=151936,
)  # fmt: skip
TINY_UFORM = SimpleNamespace(
    vision_width=16, vision_layers=2, patch=3, positions=4, latents=5, pooler_inner=20,
    width=128, inner=24, layers=2, vocabulary=30,
)  # fmt: skip


def qwen2(prefix: str, s: SimpleNamespace) -> Shapes:
    shapes: Shapes = {f"{prefix}model.embed_tokens.weight": (s.vocabulary, s.width)}
    for i in range(s.layers):
        layer = f"{prefix}model.layers.{i}"
        shapes |= norm(f"{layer}.input_layernorm", s.width, bias=False)
        shapes |= norm(f"{layer}.post_attention_layernorm", s.width, bias=False)
        for part in "qkv":
            shapes |= linear(f"{layer}.self_attn.{part}_proj", s.width, s.width)
        shapes |= linear(f"{layer}.self_attn.o_proj", s.width, s.width, bias=False)
        for part in ("gate", "up"):
            shapes |= linear(f"{layer}.mlp.{part}_proj", s.inner, s.width, bias=False)
        shapes |= linear(f"{layer}.mlp.down_proj", s.width, s.inner, bias=False)
    return shapes | norm(f"{prefix}model.norm", s.width, bias=False)


def attention_in_one(name: str, width: int) -> Shapes:
    """As `nn.MultiheadAttention` names its parts."""
    inside = {f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,)}
    return inside | linear(f"{name}.out_proj", width, width)


def uform(s: SimpleNamespace) -> Shapes:
    v, p, width = "image_encoder", "image_pooler.pooler", s.vision_width
    shapes: Shapes = {f"{v}.patch_embed.weight": (width, 3, s.patch, s.patch), f"{v}.patch_embed.bias": (width,)}
    shapes |= {f"{v}.pos_embed": (1, s.positions, width), f"{v}.cls_token": (1, 1, width)}
    for i in range(s.vision_layers):
        block = f"{v}.blocks.{i}"
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        for part in ("query", "key", "value", "out"):
            shapes |= linear(f"{block}.attn.{part}", width, width)
        shapes |= {f"{block}.ls1.weight": (width,), f"{block}.ls2.weight": (width,)}
        shapes |= two_layers(f"{block}.mlp", width, 4 * width, "hidden_layer", "output_layer")
    shapes |= norm(f"{v}.norm", width) | {"image_pooler.image_latents": (1, s.latents, width)}
    shapes |= attention_in_one(f"{p}.self_attn", width) | attention_in_one(f"{p}.multihead_attn", width)
    shapes |= linear(f"{p}.linear1", s.pooler_inner, width) | linear(f"{p}.linear2", width, s.pooler_inner)
    shapes |= {**norm(f"{p}.norm1", width), **norm(f"{p}.norm2", width), **norm(f"{p}.norm3", width)}
    shapes |= linear("image_pooler.projection", s.width, width) | qwen2("text_decoder.", s)
    return shapes | {"text_decoder.lm_head.weight": (s.vocabulary, s.width)}


# -------------------------------------------------------------------------------------------------------------- Qwen-VL

QWEN_VL = SimpleNamespace(
    vision_width=1664, vision_inner=8192, vision_layers=48, patch=14, positions=256, queries=256, vision_heads=16,
    width=4096, inner=11008, layers=32, vocabulary=151936, heads=32,
)  # fmt: skip
TINY_QWEN_VL = SimpleNamespace(
    vision_width=12, vision_inner=20, vision_layers=2, patch=3, positions=4, queries=4, vision_heads=3,
    width=128, inner=24, layers=2, vocabulary=512, heads=4,
)  # fmt: skip


def qwen_vl(s: SimpleNamespace) -> Shapes:
    v, width = "transformer.visual", s.vision_width
    shapes: Shapes = {
        f"{v}.conv1.weight": (width, 3, s.patch, s.patch),
        f"{v}.positional_embedding": (s.positions, width),
    }
    shapes |= norm(f"{v}.ln_pre", width)
    for i in range(s.vision_layers):
        block = f"{v}.transformer.resblocks.{i}"
        shapes |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        shapes |= linear(f"{block}.attn.in_proj", 3 * width, width) | linear(f"{block}.attn.out_proj", width, width)
        shapes |= two_layers(f"{block}.mlp", width, s.vision_inner, "c_fc", "c_proj")
    pool = f"{v}.attn_pool"
    shapes |= {f"{pool}.query": (s.queries, s.width), f"{pool}.pos_embed": (s.queries, s.width)}
    shapes |= linear(f"{pool}.kv_proj", s.width, width, bias=False) | attention_in_one(f"{pool}.attn", s.width)
    shapes |= norm(f"{pool}.ln_q", s.width) | norm(f"{pool}.ln_kv", s.width) | norm(f"{v}.ln_post", s.width)
    shapes |= {f"{v}.proj": (s.width, s.width), "transformer.wte.weight": (s.vocabulary, s.width)}
    for i in range(s.layers):
        layer = f"transformer.h.{i}"
        shapes |= norm(f"{layer}.ln_1", s.width, bias=False) | norm(f"{layer}.ln_2", s.width, bias=False)
        shapes |= linear(f"{layer}.attn.c_attn", 3 * s.width, s.width)
        shapes |= linear(f"{layer}.attn.c_proj", s.width, s.width, bias=False)
        for part in ("w1", "w2"):
            shapes |= linear(f"{layer}.mlp.{part}", s.inner, s.width, bias=False)
        shapes |= linear(f"{layer}.mlp.c_proj", s.width, s.inner, bias=False)
    shapes |= norm("transformer.ln_f", s.width, bias=False)
    return shapes | {"lm_head.weight": (s.vocabulary, s.width)}


# ------------------------------------------------------------------------------------------------------------- Flamingo

FLAMINGO = SimpleNamespace(vision_width=1024, latents=64, depth=6, inner=512)
TINY_FLAMINGO = SimpleNamespace(vision_width=12, latents=5, depth=2, inner=16)
CLIP = SimpleNamespace(width=1024, inner=4096, layers=24, patch=14, positions=257)


def attention_and_feed_forward(attention: str, feed_forward: str, norms: list[str], to: Shapes, width: int) -> Shapes:
    shapes = dict(to)
    for one in norms:
        shapes |= norm(f"{attention}.{one}", width)
    shapes |= norm(f"{feed_forward}.0", width)
    return shapes | {f"{feed_forward}.1.weight": (4 * width, width), f"{feed_forward}.3.weight": (width, 4 * width)}


def perceiver(s: SimpleNamespace) -> Shapes:
    width, shapes = s.vision_width, {"perceiver.latents": (s.latents, s.vision_width)}
    for i in range(s.depth):
        a = f"perceiver.layers.{i}.0"
        to = {f"{a}.to_q.weight": (s.inner, width), f"{a}.to_kv.weight": (2 * s.inner, width)}
        to |= {f"{a}.to_out.weight": (width, s.inner)}
        shapes |= attention_and_feed_forward(a, f"perceiver.layers.{i}.1", ["norm_media", "norm_latents"], to, width)
    return shapes | norm("perceiver.norm", width)


def gated_blocks(layers: str, numbers: range, width: int, s: SimpleNamespace) -> Shapes:
    shapes: Shapes = {}
    for i in numbers:
        block = f"lang_encoder.{layers}.{i}.gated_cross_attn_layer"
        a = f"{block}.attn"
        to = {f"{a}.to_q.weight": (s.inner, width), f"{a}.to_kv.weight": (2 * s.inner, s.vision_width)}
        to |= {f"{a}.to_out.weight": (width, s.inner), f"{block}.attn_gate": (1,), f"{block}.ff_gate": (1,)}
        shapes |= attention_and_feed_forward(a, f"{block}.ff", ["norm"], to, width)
    return shapes


MPT_1B = SimpleNamespace(width=2048, layers=24, vocabulary=50368, embeddings=50280)


def mpt_1b(s: SimpleNamespace) -> Shapes:
    shapes: Shapes = {"transformer.wte.weight": (s.vocabulary, s.width), "transformer.ln_f.weight": (s.width,)}
    for i in range(s.layers):
        block = f"transformer.blocks.{i}"
        shapes |= {f"{block}.{one}.weight": (s.width,) for one in ("ln_1", "ln_2", "attn.q_ln", "attn.k_ln")}
        shapes |= linear(f"{block}.attn.Wqkv", 3 * s.width, s.width, bias=False)
        shapes |= linear(f"{block}.attn.out_proj", s.width, s.width, bias=False)
        shapes |= linear(f"{block}.mlp.mlp_up", 4 * s.width, s.width, bias=False)
        shapes |= linear(f"{block}.mlp.mlp_down", s.width, 4 * s.width, bias=False)
    return shapes


def open_clip(s: SimpleNamespace) -> Shapes:
    v, width = "vision_encoder", s.width
    shapes: Shapes = {f"{v}.class_embedding": (width,), f"{v}.positional_embedding": (s.positions, width)}
    shapes |= {f"{v}.proj": (width, 768), f"{v}.conv1.weight": (width, 3, s.patch, s.patch)}
    shapes |= norm(f"{v}.ln_pre", width) | norm(f"{v}.ln_post", width)
    for i in range(s.layers):
        block = f"{v}.transformer.resblocks.{i}"
        shapes |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
        shapes |= attention_in_one(f"{block}.attn", width)
        shapes |= two_layers(f"{block}.mlp", width, s.inner, "c_fc", "c_proj")
    return shapes


# -------------------------------------------------------------------------------------------------------------- tensors


def on_meta(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Norms and scales near 1, everything else near 0; nothing is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * 0.2 + (len(shape) == 1 and name.endswith("weight"))
        for name, shape in shapes.items()
    }


def write_folder(
    folder: Path, config: dict[str, object], state: dict[str, Tensor], words: str = "", eos: str = "<|endoftext|>"
) -> Path:
    """A released folder: configuration, weights in two shards with their index, a tokenizer of a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: state[name].contiguous() for name in part}, folder / file)
    index = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    if words:
        write_tokenizer(folder, words, eos)
    return folder


def write_tokenizer(folder: Path, words: str, eos: str = "<|endoftext|>", **marks: str) -> None:
    vocabulary = {word: i for i, word in enumerate(["<unk>", *words.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, **marks).save_pretrained(folder)
