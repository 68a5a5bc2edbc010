"""From the configuration to an action head."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from robovlms.actions.space import ActionSpace
from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.config import ModelConfig
from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone
from robovlms.model.head import HEADS, BasePolicyHead


@dataclass(frozen=True)
class TextVocabulary:
    """Action tokens that overwrite words of the VLM, as in the original.

    Attributes:
        backbone: owns embedding and output layer.
        action_tokenizer: numbers <-> ids.
    """

    backbone: Backbone
    action_tokenizer: ActionTokenizer

    def embed(self, ids: Int64[Tensor, "*lead"]) -> Float[Tensor, "*lead d"]:
        """Embeddings of ids."""
        return self.backbone.word_embedding(ids)

    def logits(self, hidden: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead w"]:
        """Scores of the whole vocabulary."""
        return self.backbone.logits(hidden)


def find_head(config: ModelConfig) -> type[BasePolicyHead]:
    """The configured head's class.

    Raises:
        ConfigError: names the nearest known one.
    """
    if config.head not in HEADS:
        raise ConfigError("model.head: " + unknown_name("head", config.head, HEADS))
    return HEADS[config.head]


def count_learned_queries(config: ModelConfig) -> int:
    """Learned query tokens of a frame: none where the head reads tokens that are there anyway."""
    head = find_head(config)
    if config.token_source != "action" or (head.is_discrete and config.original_layout):
        return 0
    if head.is_discrete:
        return 1  # the first one; the others are the action tokens before
    return config.fwd_pred_next_n if head.has_parallel_queries else config.latent


def build_action_tokenizer(config: ModelConfig, backbone: Backbone) -> ActionTokenizer:
    """Action tokens of a discrete head, behind the tokenizer's own or, for the original's weights, among them.

    The VLM's tokenizer is left as it is: prompts have no action tokens. `ActionTokenizer(tokenizer)` gives these ids.
    """
    tokenizer = backbone.tokenizer
    if config.original_layout:
        return ActionTokenizer(tokenizer, bins=config.num_bins, layout="original")
    size = len(tokenizer) if hasattr(tokenizer, "__len__") else tokenizer.vocab_size
    return ActionTokenizer.reserved(size, bins=config.num_bins)


def _check_values(config: ModelConfig, head: type[BasePolicyHead]) -> None:
    """Refuse values that the head would ignore."""
    one_per_number = head.is_discrete or head.has_parallel_queries
    given = {
        "model.decoder": (config.decoder, "regression"),
        "model.latent": (config.latent, 1),
        "model.hide_action_tokens": (config.hide_action_tokens, False),
    }
    for key, (value, only) in given.items():
        if one_per_number and value != only:
            raise ConfigError(f"{key} is {value!r}, but model.head {config.head!r} goes with {only!r} only; remove it")


def build_head(
    config: ModelConfig, action_space: ActionSpace, backbone: Backbone, action_tokenizer: ActionTokenizer | None
) -> BasePolicyHead:
    """Build the configured head.

    Raises:
        ConfigError: if the head is unknown, or contradicts the history or the token source.
    """
    head = find_head(config)
    if config.history in ("one_step", "video") and head.needs_history:
        raise ConfigError(
            f"model.history is {config.history!r} but model.head is {config.head!r}, which needs the features of past "
            "frames; set head: fc or history: policy_head"
        )
    if config.token_source == "vision" and backbone.is_cross_attention:
        raise ConfigError("model.token_source 'vision': this VLM has no image tokens in its sequence; set all or text")
    if config.token_source != "action" and (head.is_discrete or head.has_parallel_queries):
        raise ConfigError(
            f"model.head {config.head!r} reads its own action queries, but model.token_source is "
            f"{config.token_source!r}; set token_source: action"
        )
    _check_values(config, head)
    options = {}
    if head.is_discrete:
        options["n_bin"] = config.num_bins
        if config.original_layout:
            options["vocabulary"] = TextVocabulary(backbone, action_tokenizer)
    elif not head.has_parallel_queries:
        options["decoder"] = config.decoder
    if config.head == "gpt":
        options["num_heads"] = config.head_num_heads
    return head(
        backbone.hidden_size,
        config.head_hidden_size,
        action_space.size,
        latent=config.latent,
        fwd_pred_next_n=config.fwd_pred_next_n,
        window_size=config.window_size,
        num_layers=config.head_num_layers,
        gripper_dims=action_space.gripper_dims,
        gripper_loss_weight=config.gripper_loss_weight,
        huber_delta=config.huber_delta,
        **options,
    )
