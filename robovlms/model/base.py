"""BaseRoboVLM: a policy is backbone × history × head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.actions.space import ActionSpace
from robovlms.config import ModelConfig
from robovlms.data.batch import Batch
from robovlms.data.text import PromptEncoder
from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone
from robovlms.model.build_head import build_action_tokenizer, build_head, count_learned_queries
from robovlms.model.history import HISTORIES, History, Stream
from robovlms.model.history.frames import Frames, pack_left
from robovlms.model.losses import elementwise
from robovlms.model.resampler import PerceiverResampler
from robovlms.model.tuning import set_trainable


@dataclass(frozen=True, kw_only=True)
class PolicyOutput:
    """What a forward pass gives; None where the mode or the head has none.

    Attributes:
        loss: in training "loss_arm", "loss_gripper" and "total_loss", scalars, and what else the head reports.
        action_predictions: in inference [b, t, n, a], arm in [-1, 1], gripper as the probability of open; t = 1, the
            last step, for the history "video".
        action_logits: in inference, of a discrete head: [b, t, n · a, vocabulary with action tokens], -inf for tokens
            that are no action; argmax gives what `ActionTokenizer.decode_token_ids_to_actions` takes.
    """

    loss: dict[str, Tensor] | None = None
    action_predictions: Float[Tensor, "b t n a"] | None = None
    action_logits: Float[Tensor, "b t m w"] | None = None


class BaseRoboVLM(nn.Module):
    """A vision-language model turned into a robot policy.

    The module is a pure function of tensors; what must be remembered between control steps lives in a `Stream`.

    Args:
        config: backbone, history and head.
        action_space: size and gripper dimensions of an action.
        proprio_dim: p, numbers of proprioception; 0 if there is none.
        backbone: a loaded VLM; None builds `config.vlm`.
        assets: folder of backbone files in a checkpoint whose weights are loaded afterwards.

    Attributes:
        history: how time enters.
        action_tokenizer: numbers <-> token ids, of a discrete head.
    """

    backbone_class: ClassVar[type[Backbone]]

    def __init__(
        self,
        config: ModelConfig,
        action_space: ActionSpace,
        proprio_dim: int,
        *,
        backbone: Backbone | None = None,
        assets: Path | None = None,
    ) -> None:
        super().__init__()
        self.config, self.action_space = config, action_space
        self.proprio_dim = proprio_dim if config.use_proprio else 0
        self.backbone = backbone if backbone is not None else self._init_backbone(assets)
        self._init_heads()
        self.history: History = HISTORIES[config.history](self)
        self._trainable_params_setup()
        self.backbone.serve(self)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "BaseRoboVLM":
        """Load the policy of a checkpoint folder, or of the newest checkpoint of a run folder, in evaluation mode.

        Raises:
            CheckpointError: if a file is missing, damaged, or of another model.
        """
        from robovlms.model.checkpoint import load_policy  # that module builds policies, so it imports this one

        return load_policy(Path(path))[0]

    def _init_backbone(self, assets: Path | None) -> Backbone:
        return self.backbone_class.build(self.config.vlm, self.config.tokenizer, torch.float32, assets)

    def _init_heads(self) -> None:
        config, d = self.config, self.hidden_size
        if config.history not in HISTORIES:
            raise ConfigError("model.history: " + unknown_name("history", config.history, HISTORIES))
        num_queries = count_learned_queries(config)
        # Unlike each other from the start, and of unit norm on average.
        self.action_token = nn.Parameter(torch.randn(num_queries, d) / math.sqrt(d), requires_grad=num_queries > 0)
        self.proprio_projection = nn.Linear(self.proprio_dim, d) if self.proprio_dim else None
        self.action_tokenizer = build_action_tokenizer(config, self.backbone) if config.head == "discrete" else None
        self.act_head = build_head(config, self.action_space, self.backbone, self.action_tokenizer)
        self.vision_resampler = self._build_resampler() if config.resampler.num_latents else None

    def _build_resampler(self) -> PerceiverResampler:
        if self.backbone.is_cross_attention:
            raise ConfigError("model.resampler: this VLM resamples its images itself; set num_latents: 0")
        shape = self.config.resampler
        return PerceiverResampler(
            self.backbone.embed_width,
            depth=shape.depth,
            num_latents=shape.num_latents,
            num_heads=shape.num_heads,
            head_dim=shape.head_dim,
        )

    def _trainable_params_setup(self) -> None:
        set_trainable(self)

    @property
    def hidden_size(self) -> int:
        """Width d of the backbone's decoder."""
        return self.backbone.hidden_size

    @property
    def vision_tower(self) -> nn.Module:
        """The backbone's image encoder."""
        return self.backbone.vision_tower

    @property
    def text_tower(self) -> nn.Module:
        """The backbone's decoder."""
        return self.backbone.text_tower

    @property
    def word_embedding(self) -> nn.Module:
        """The backbone's token embedding."""
        return self.backbone.word_embedding

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_token.device

    @property
    def prompt_encoder(self) -> PromptEncoder:
        """Instruction -> token ids, in the backbone's prompt format."""
        return self.backbone.prompt_encoder(self.config.tokenizer)

    def encode_images(self, images: Tensor | Sequence[Tensor]) -> Float[Tensor, "b t k e"]:
        """Encode frames into image tokens.

        Args:
            images: uint8 [b, t, 3, h, w] or [b, 3, h, w], or a list of b tensors [t, 3, h, w] or [3, h, w]; any frame
                size. Floating-point images count as already resized and normalised.

        Returns:
            [b, t, k, e]; t = 1 for 4-D input. e is the decoder's width d, except for a VLM whose images feed several
            layers, or stay outside of the sequence.
        """
        if not isinstance(images, Tensor):
            images = torch.stack(list(images))
        if images.ndim == 4:
            images = images.unsqueeze(1)
        tokens = self.backbone.encode_images(self.backbone.preprocess(images.flatten(0, 1)))
        if self.vision_resampler is not None:
            tokens = self.vision_resampler(tokens.to(self.vision_resampler.latents.dtype)).to(tokens.dtype)
        return tokens.unflatten(0, images.shape[:2])

    def encode(
        self,
        images: Tensor,
        image_mask: Bool[Tensor, "b t v"],
        input_ids: Int64[Tensor, "b l"],
        text_mask: Bool[Tensor, "b l"],
        proprio: Float[Tensor, "b t p"],
        proprio_mask: Bool[Tensor, "b t"],
    ) -> Frames:
        """Encode a window's images; shapes as in `Batch`, padding of the text on either side."""
        tokens = self.encode_images(images.flatten(1, 2)).unflatten(1, image_mask.shape[1:])
        input_ids, text_mask = pack_left(input_ids, text_mask)
        return Frames(
            tokens=tokens,
            image_mask=image_mask,
            input_ids=input_ids,
            text_mask=text_mask,
            proprio=proprio,
            proprio_mask=proprio_mask,
        )

    def stream(self, num_rows: int = 1) -> Stream:
        """Run-time state for `num_rows` robots that share this policy."""
        return self.history.stream(num_rows)

    def forward(
        self,
        vision_x: Tensor,
        lang_x: Int64[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        *,
        vision_gripper: Tensor | None = None,
        image_mask: Bool[Tensor, "b t v"] | None = None,
        proprio: Float[Tensor, "b t p"] | None = None,
        proprio_mask: Bool[Tensor, "b t"] | None = None,
        actions: Float[Tensor, "b t n a"] | None = None,
        action_mask: Bool[Tensor, "b t n"] | Bool[Tensor, "b t n a"] | None = None,
        mode: Literal["train", "inference"] = "train",
    ) -> PolicyOutput:
        """Predict the next n actions at every frame of the window.

        Args:
            vision_x: uint8 frames, [b, t, v, 3, h, w] or, with one camera, [b, t, 3, h, w]; floating-point frames count
                as already resized and normalised.
            lang_x: prompt ids.
            attention_mask: True or 1 = a real token; None = all real.
            vision_gripper: frames of a second camera, [b, t, 3, h, w]; it goes before `vision_x`, as in the original.
            image_mask: True = a real frame; None = all real. A window step without any real frame is padding.
            proprio: normalised proprioception; None only if the policy takes none.
            proprio_mask: True = a real measurement; None = all real.
            actions: targets; needed in training.
            action_mask: True = supervised; [b, t, n, a] where robots have different numbers; None = all.
            mode: "train" computes losses, "inference" predictions.

        Raises:
            ConfigError: if targets or proprioception are missing.
        """
        images = vision_x.unsqueeze(2) if vision_x.ndim == 5 else vision_x
        if vision_gripper is not None:
            images = torch.cat([vision_gripper.unsqueeze(2), images], dim=2)
        b, t, v = images.shape[:3]
        everything = torch.ones(b, t, v, dtype=torch.bool, device=images.device)
        text_mask = torch.ones_like(lang_x, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if proprio is None:
            if self.proprio_dim:
                raise ConfigError(f"the policy takes {self.proprio_dim} numbers of proprioception; give `proprio`")
            proprio = torch.zeros(b, t, 0, device=images.device)
        frames = self.encode(
            images,
            everything if image_mask is None else image_mask,
            lang_x,
            text_mask,
            proprio,
            everything[:, :, 0] if proprio_mask is None else proprio_mask,
        )
        if mode == "inference":
            return self.predict(*self.history.features(frames, *self._first_queries(frames)))
        if actions is None:
            raise ConfigError("forward in mode 'train' needs `actions`; use mode='inference' to predict")
        if action_mask is None:
            action_mask = torch.ones(actions.shape[:3], dtype=torch.bool, device=actions.device)
        return PolicyOutput(loss=self._loss(frames, actions, action_mask))

    def _first_queries(self, frames: Frames) -> tuple[Tensor, bool]:
        return self.history.first_queries(frames), self.act_head.is_discrete

    def _loss(self, frames: Frames, actions: Tensor, action_mask: Tensor) -> dict[str, Tensor]:
        queries = self.history.first_queries(frames)
        if self.act_head.is_discrete:
            known = self.act_head.encode(actions.where(elementwise(action_mask, actions), 0.0))[..., :-1]
            queries = torch.cat([queries, self.act_head.embed_tokens(known)], dim=2)
        features, step_mask = self.history.features(frames, queries, choose=False)
        if not self.history.gives_every_step:
            actions, action_mask = actions[:, -1:], action_mask[:, -1:]
        return self.act_head.loss(self._for_head(features), actions, action_mask, step_mask)

    def predict(self, features: Float[Tensor, "b t q d"], step_mask: Bool[Tensor, "b t"]) -> PolicyOutput:
        """Predictions from the features that a history or a stream gives."""
        features = self._for_head(features)
        predictions = self.act_head.predict(features, step_mask)
        if not self.act_head.is_discrete:
            return PolicyOutput(action_predictions=predictions)
        logits = self.act_head.action_logits(features)
        if not self.config.original_layout:  # the text's own ids come first
            first = self.action_tokenizer.action_token_begin_idx + 1
            logits = nn.functional.pad(logits, (first, 0), value=-math.inf)
        return PolicyOutput(action_predictions=predictions, action_logits=logits)

    def _for_head(self, features: Float[Tensor, "b t q d"]) -> Float[Tensor, "b t q d"]:
        """In the head's own precision, float32 unless someone changed it."""
        weight = next(self.act_head.parameters(), None)
        return features.float() if weight is None else features.to(weight.dtype)

    def forward_batch(self, batch: Batch, mode: Literal["train", "inference"] = "train") -> PolicyOutput:
        """`forward` on a batch of the loader."""
        return self(
            batch.images,
            batch.input_ids,
            batch.text_mask,
            image_mask=batch.image_mask,
            proprio=batch.proprio if self.proprio_dim else batch.proprio[..., :0],
            proprio_mask=batch.proprio_mask,
            actions=batch.actions,
            action_mask=batch.supervised,
            mode=mode,
        )

    def generate(self, prompt: str, image: Any = None, *, max_new_tokens: int = 32) -> str:
        """Continue a text about an image with the VLM's own words, greedily.

        Args:
            prompt: the text as the VLM expects it; "<image>" marks the image's place, which is otherwise the VLM's own.
            image: uint8 [3, h, w], or [h, w, 3] as NumPy array or Pillow image; None = text only.
            max_new_tokens: longest answer.
        """
        return self.backbone.generate(prompt, image, max_new_tokens=max_new_tokens)
