"""Converted policies against the original's sequences, written out by hand and run through transformers.

::

    post    every frame by itself      [bos · hand · static · text · ACT … · eos]
    pre     all frames, one after the other, in one sequence
    video   [bos · hand of every frame · static of every frame · text · ACT … · eos]
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robovlms import BaseRoboVLM
from robovlms.model.head import FCDecoder, LSTMDecoder

from .original_checkpoint import Made

IDS = torch.tensor([0, 4, 5, 6, 2])  # bos, three words, eos
B, T = 2, 3


@pytest.fixture
def made(tmp_path: Any) -> Made:
    return Made(tmp_path)


def head_of(made: Made) -> torch.nn.Module:
    """The head, with the weights of the checkpoint."""
    settings = made.config["act_head"]
    kind = {"LSTMDecoder": LSTMDecoder, "FCDecoder": FCDecoder}[settings["type"]]
    sizes = dict(fwd_pred_next_n=3, latent=settings["latent"], window_size=made.config["window_size"], num_layers=1)
    return kind(32, 8, 7, down_sample="none", **sizes).eval()


def image_tokens(made: Made, images: Tensor) -> Tensor:
    """[b, t, v, 3, h, w] -> [b, t, v, k, d]."""
    from transformers import Kosmos2Model

    tokens = Kosmos2Model.get_image_features(made.backbone, pixel_values=images.flatten(0, 2)).pooler_output
    return tokens.unflatten(0, images.shape[:3])


def sequences(made: Made, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings [b · t, s, d], or [b, s, d] for a video, and the kind of each token: i(mage), t(ext) or a(ction)."""
    settings = made.config["act_head"]
    tokens = image_tokens(made, images)
    if settings["history_type"] == "video":
        tokens = tokens.transpose(1, 2).flatten(1, 3)
    else:
        tokens = tokens.flatten(2, 3).flatten(0, 1)
    words = made.backbone.text_model.model.embed_tokens(IDS).expand(len(tokens), -1, -1)
    count = 0 if settings["action_space"] == "down_sample" else settings["latent"]
    action = made.state["model.action_token"].expand(len(tokens), count, -1)
    embeds = torch.cat([words[:, :1], tokens, words[:, 1:-1], action, words[:, -1:]], dim=1)
    kinds = "t" + "i" * tokens.shape[1] + "t" * 3 + "a" * count + "t"
    return embeds, torch.tensor([ord(kind) for kind in kinds])


@torch.inference_mode()
def by_hand(made: Made, images: Tensor) -> Tensor:
    """Actions [b, t, n, a], or of the last step for a video."""
    settings = made.config["act_head"]
    embeds, kinds = sequences(made, images)
    if settings["history_type"] == "pre":
        embeds = embeds.unflatten(0, images.shape[:2]).flatten(1, 2)
    per_frame = embeds.shape[1] // len(kinds)
    is_action = (kinds == ord("a")).tile(per_frame)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    if settings.get("fill_zero"):
        mask[:, is_action] = 0
    hidden = made.backbone.text_model.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    steps = 1 if settings["history_type"] == "video" else images.shape[1]
    hidden = hidden.reshape(images.shape[0], steps, len(kinds), -1)
    if settings["action_space"] == "down_sample":
        source = {"all": "it", "text": "t", "vision": "i"}[settings["token_source"]]
        read = torch.isin(kinds, torch.tensor([ord(kind) for kind in source]))
        features = F.adaptive_max_pool1d(hidden[:, :, read].flatten(0, 1).transpose(1, 2), settings["latent"])
        features = features.transpose(1, 2).unflatten(0, hidden.shape[:2])
    else:
        features = hidden[:, :, kinds == ord("a")]
    arm, grip = made.head(features)
    return torch.cat([arm, grip.sigmoid()], dim=-1)


def set_up(made: Made, window: int, hand: bool, head: dict[str, Any]) -> tuple[BaseRoboVLM, Tensor]:
    """Convert the recipe; return the policy and pictures."""
    made.config |= {"window_size": window, "use_hand_rgb": hand}
    made.config["act_head"] |= {"type": "FCDecoder", **head}
    for name, parameter in made.backbone.named_parameters():  # fresh weights hardly mix tokens
        parameter.data.add_((0.05 if "embed" in name else 0.4) * torch.randn_like(parameter))
    made.drop("backbone")
    made.add("backbone", made.backbone.eval())
    made.drop("act_head")
    if made.config["act_head"]["type"] != "DiscreteDecoder":  # it has no weights
        made.head = head_of(made)
        made.add("act_head", made.head)
    images = torch.randn(B, window, 1 + hand, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    return made.convert(), images


POOLED = {"action_space": "down_sample", "down_sample": "pooling"}
RECIPES: dict[str, dict[str, Any]] = {
    "post": {"history_type": "post"},
    "post, lstm": {"history_type": "post", "type": "LSTMDecoder"},
    "post, two tokens": {"history_type": "post", "latent": 2},
    "post, nobody sees the tokens": {"history_type": "post", "latent": 2, "fill_zero": True},
    "pre": {"history_type": "pre"},
    "pre, lstm": {"history_type": "pre", "type": "LSTMDecoder"},
    "pre, two tokens": {"history_type": "pre", "latent": 2},
    "pre, nobody sees the tokens": {"history_type": "pre", "fill_zero": True},
    "video": {"history_type": "video"},
    "video, two tokens": {"history_type": "video", "latent": 2},
    "video, nobody sees the tokens": {"history_type": "video", "latent": 2, "fill_zero": True},
    **{
        f"{history}, {source}": {"history_type": history, "token_source": source, **POOLED}
        for history in ("post", "pre")
        for source in ("all", "text", "vision")
    },
    "post, two pools": {"history_type": "post", "token_source": "all", "latent": 2, **POOLED},
    "video, all": {"history_type": "video", "token_source": "all", **POOLED},
}


@pytest.mark.parametrize("hand", [False, True], ids=["static", "hand"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_window_gives_the_originals_actions(made: Made, recipe: str, hand: bool) -> None:
    model, images = set_up(made, T, hand, RECIPES[recipe])
    vision = images[:, :, -1]
    with torch.inference_mode():
        ours = model(
            vision, IDS.expand(B, -1), vision_gripper=images[:, :, 0] if hand else None, mode="inference"
        ).action_predictions
    expected = by_hand(made, images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("recipe", ["post", "post, two tokens", "post, all", "post, text", "post, vision", "video"])
def test_one_step_gives_the_originals_actions(made: Made, recipe: str) -> None:
    model, images = set_up(made, 1, True, RECIPES[recipe])
    assert model.config.history == "one_step"
    with torch.inference_mode():
        ours = model(images, IDS.expand(B, -1), mode="inference").action_predictions
    torch.testing.assert_close(ours, by_hand(made, images), atol=5e-6, rtol=0)


@pytest.mark.parametrize("recipe", ["post, lstm", "pre", "pre, lstm", "pre, all", "video"])
def test_a_stream_gives_what_the_window_of_the_last_frames_gives(made: Made, recipe: str) -> None:
    model, _ = set_up(made, T, True, RECIPES[recipe])
    images = torch.randn(B, T + 3, 2, 3, 28, 28, generator=torch.Generator().manual_seed(4))
    stream, rows = model.stream(B), list(range(B))
    ids, seen = IDS.expand(B, -1), torch.ones(B, 1, 2, dtype=torch.bool)
    with torch.inference_mode():
        for i in range(T + 3):
            nothing = torch.zeros(B, 1, 0)
            frames = model.encode(images[:, i : i + 1], seen, ids, torch.ones_like(ids).bool(), nothing, seen[:, :, 0])
            ours = model.predict(*stream.step(frames, rows)).action_predictions[:, -1]
            window = images[:, max(0, i + 1 - T) : i + 1]
            torch.testing.assert_close(ours, by_hand(made, window)[:, -1], atol=5e-6, rtol=0)


def test_a_discrete_policy_chooses_the_originals_tokens(made: Made) -> None:
    """`[bos · hand · static · prompt · eos]`, then one token after the other, each seeing those before it."""
    made.drop("action_token")
    made.config["act_head"] |= {"action_space": "discrete", "n_bin": 16}
    made.backbone.text_model.model.embed_tokens.weight.data.zero_()  # or each token is likeliest followed by itself
    model, images = set_up(made, 1, True, {"type": "DiscreteDecoder"})
    assert model.config.history == "one_step"
    tokenizer, decoder = model.action_tokenizer, made.backbone.text_model
    with torch.inference_mode():
        ours = model(images, IDS.expand(B, -1), mode="inference").action_predictions
        words = decoder.model.embed_tokens(IDS).expand(B, -1, -1)
        embeds = torch.cat([words[:, :1], image_tokens(made, images).flatten(1, 3), words[:, 1:]], dim=1)
        chosen: list[Tensor] = []
        for _ in range(3 * 7):
            logits = decoder(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2])).logits[:, -1]
            first = tokenizer.action_token_begin_idx + 1
            chosen.append(logits[:, first : tokenizer.action_token_end_idx].argmax(-1) + first)
            embeds = torch.cat([embeds, decoder.model.embed_tokens(chosen[-1])[:, None]], dim=1)
    values = tokenizer.decode_token_ids_to_actions(torch.stack(chosen, dim=1).numpy())
    expected = torch.from_numpy(values).view(B, 1, 3, 7).float()
    assert len(set(expected.flatten().tolist())) > 2
    torch.testing.assert_close(ours[..., :6], expected[..., :6], atol=1e-6, rtol=0)
