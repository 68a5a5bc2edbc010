"""The configuration of a policy: backbone × history × head; the `model` section of `robovlms.config`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from robovlms.typed_yaml import require


@dataclass(frozen=True, kw_only=True)
class VLMConfig:
    """Which vision-language model, and where its weights come from.

    Attributes:
        name: key of `robovlms.model.vlm.POLICIES`, for example "tiny" or "paligemma".
        pretrained: hub id or folder for `from_pretrained`; None builds a randomly initialised model.
        image_size: height and width in pixels that frames are resized to; None takes the VLM's own, which only some can
            change.
        overrides: architecture values for the randomly initialised model; keys as in the backbone's own configuration.
    """

    name: str = "tiny"
    pretrained: str | None = None
    image_size: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How an instruction becomes token ids.

    Attributes:
        pretrained: hub id or folder of the tokenizer; None takes the VLM's own.
        prompt_template: text around the instruction, with the field `{instruction}`; None takes the VLM's own.
        max_text_len: longest prompt in tokens; a longer one is an error, never cut in silence.
    """

    pretrained: str | None = None
    prompt_template: str | None = None
    max_text_len: int = 128


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
    """A perceiver resampler between vision tower and decoder: any number of image tokens becomes a few.

    Attributes:
        num_latents: image tokens that it leaves; 0 = no resampler.
        depth: layers.
        num_heads: attention heads.
        head_dim: width of a head.
    """

    num_latents: int = 0
    depth: int = 6
    num_heads: int = 8
    head_dim: int = 64

    def __post_init__(self) -> None:
        require(self.num_latents >= 0, f"model.resampler.num_latents must not be negative, got {self.num_latents}")
        for name in ("depth", "num_heads", "head_dim"):
            require(getattr(self, name) >= 1, f"model.resampler.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters beside frozen weights.

    Attributes:
        rank: of the adapters; 0 = none.
        alpha: scale of the adapters times their rank.
        dropout: on the adapters' input, in [0, 1).
        towers: which parts of the VLM get them.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    towers: tuple[Literal["text", "vision"], ...] = ("text",)

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"model.lora.rank must not be negative, got {self.rank}")
        require(0 <= self.dropout < 1, f"model.lora.dropout must lie in [0, 1), got {self.dropout}")
        require(not self.rank or bool(self.towers), "model.lora.towers is empty but model.lora.rank is not 0")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The policy: backbone × history × head.

    Attributes:
        vlm: the backbone.
        tokenizer: the text side.
        history: "one_step" looks at one frame; "policy_head" encodes each frame by itself and lets the head put them
            together; "interleaved" puts the frames into one causal sequence; "video" shows all frames at once.
        head: key of `robovlms.model.head.HEADS`: "fc", "lstm", "gpt", "discrete" or "l1_chunk".
        decoder: how fc, lstm and gpt give an action: "regression" or "flow_matching".
        window_size: t, observations per window, the current one included; 1 for one_step.
        fwd_pred_next_n: n, actions predicted per observation.
        latent: number of learned action-query tokens per frame.
        token_source: what the head reads: "action" queries, or a max-pool of "all", "text" or "vision" tokens.
        repeat_text: interleaved only: repeat the instruction in every frame, as the original does, instead of once.
        original_layout: put images, queries and action tokens where the original RoboVLMs did; for its checkpoints.
        hide_action_tokens: action queries are seen by nobody; the original's `fill_zero`.
        use_proprio: whether proprioception enters the sequence as one token.
        resampler: between vision tower and decoder.
        head_hidden_size: width of the head's trunk.
        head_num_layers: layers of a recurrent trunk; ignored by the others.
        head_num_heads: attention heads of "gpt".
        num_bins: action tokens per number, for "discrete".
        freeze_backbone: train only head, action queries, proprioception and, unless frozen too, the resampler.
        freeze_vision: keep the vision tower fixed.
        freeze_text_embedding: keep the token embedding fixed.
        freeze_resampler: keep the resampler fixed.
        train_decoder_layers: of the VLM, train only so many of the decoder's last layers, and what is not frozen of
            vision tower, token embedding and resampler; None trains all.
        lora: adapters; with them the rest of the VLM is frozen, but for the resampler.
        base_bits: bits per weight of the frozen linear layers of the text tower; 16 leaves them as they are.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        gripper_loss_weight: weight of the gripper's cross-entropy beside the arm's Huber loss.
        huber_delta: error, in the normalised space, above which the arm loss grows linearly.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    history: Literal["one_step", "policy_head", "interleaved", "video"] = "one_step"
    head: str = "fc"
    decoder: Literal["regression", "flow_matching"] = "regression"
    window_size: int = 1
    fwd_pred_next_n: int = 8
    latent: int = 1
    token_source: Literal["action", "all", "text", "vision"] = "action"
    repeat_text: bool = False
    original_layout: bool = False
    hide_action_tokens: bool = False
    use_proprio: bool = True
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    head_hidden_size: int = 256
    head_num_layers: int = 4
    head_num_heads: int = 8
    num_bins: int = 256
    freeze_backbone: bool = False
    freeze_vision: bool = False
    freeze_text_embedding: bool = False
    freeze_resampler: bool = False
    train_decoder_layers: int | None = None
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    base_bits: Literal[16, 8, 4] = 16
    gradient_checkpointing: bool = False
    gripper_loss_weight: float = 0.01
    huber_delta: float = 1.0

    def __post_init__(self) -> None:
        counts = ("window_size", "fwd_pred_next_n", "latent", "head_hidden_size", "head_num_layers", "head_num_heads")
        for name in counts:
            require(getattr(self, name) >= 1, f"model.{name} must be at least 1, got {getattr(self, name)}")
        require(self.huber_delta > 0, f"model.huber_delta must be positive, got {self.huber_delta}")
        weight = self.gripper_loss_weight
        require(weight >= 0, f"model.gripper_loss_weight must not be negative, got {weight}")
        length = self.tokenizer.max_text_len
        require(length >= 1, f"model.tokenizer.max_text_len must be at least 1, got {length}")
        require(
            self.history != "one_step" or self.window_size == 1,
            f"model.history is 'one_step' but model.window_size is {self.window_size}; "
            "set window_size: 1 or history: policy_head",
        )
        require(
            not self.repeat_text or self.history == "interleaved",
            f"model.repeat_text is for history: interleaved, but model.history is {self.history!r}",
        )
        require(
            self.token_source == "action" or self.history != "interleaved" or self.repeat_text,
            f"model.token_source {self.token_source!r} needs the text in every frame; set repeat_text: true",
        )
        require(
            not self.original_layout or self.history != "interleaved" or self.repeat_text,
            "model.original_layout is the original's, which has the text in every frame; set repeat_text: true",
        )
        require(
            not self.hide_action_tokens or self.token_source == "action",
            f"model.hide_action_tokens: with token_source {self.token_source!r} there are none; set it to false",
        )
        require(self.num_bins >= 2, f"model.num_bins must be at least 2, got {self.num_bins}")
        layers = self.train_decoder_layers
        require(layers is None or layers >= 0, f"model.train_decoder_layers must not be negative, got {layers}")
        require(
            not (self.freeze_backbone and layers),
            f"model.freeze_backbone is true but model.train_decoder_layers is {layers}; leave one of them out",
        )
        rank = self.lora.rank
        require(
            not rank or layers is None,
            f"model.lora.rank is {rank}, which freezes the VLM, but model.train_decoder_layers is {layers}; "
            "leave one of them out",
        )
        require(
            not (rank and self.freeze_vision and "vision" in self.lora.towers),
            f"model.freeze_vision is true but model.lora.towers is {list(self.lora.towers)}; leave one of them out",
        )
        require(
            self.base_bits == 16 or rank > 0 or self.freeze_backbone,
            f"model.base_bits is {self.base_bits}, which only frozen weights can have; set model.freeze_backbone: true "
            "or model.lora.rank",
        )
