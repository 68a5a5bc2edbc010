"""BaseRoboVLM: a policy is backbone × history × head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.actions.space import ActionSpace
from robovlms.config import ModelConfig
from robovlms.data.batch import Batch
from robovlms.data.text import PromptEncoder
from robovlms.errors import ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone
from robovlms.model.head import HEADS
from robovlms.model.history import attention_allowed, positions_of


@dataclass(frozen=True, kw_only=True)
class PolicyOutput:
    """What a forward pass gives.

    Attributes:
        loss: "loss_arm", "loss_gripper", "total_loss", scalars; None in inference.
        action_predictions: [b, t, n, a], arm in [-1, 1], gripper as the probability of open; None in training.
    """

    loss: dict[str, Tensor] | None = None
    action_predictions: Float[Tensor, "b t n a"] | None = None


class BaseRoboVLM(nn.Module):
    """A vision-language model turned into a robot policy.

    The module is a pure function of tensors; what must be remembered between control steps lives in `PolicySession`.

    Args:
        config: backbone, history and head.
        action_space: size and gripper dimensions of an action.
        proprio_dim: p, numbers of proprioception; 0 if there is none.
        backbone: a loaded VLM; None builds `config.vlm`.
        assets: folder of backbone files in a checkpoint whose weights are loaded afterwards.
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
        self._trainable_params_setup()

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
        if config.head not in HEADS:
            raise ConfigError("model.head: " + unknown_name("head", config.head, HEADS))
        if config.history == "one_step" and HEADS[config.head].needs_history:
            raise ConfigError(
                f"model.history is 'one_step' but model.head is {config.head!r}, which needs past frames; "
                "set head: fc or history: policy_head"
            )
        # Unlike each other from the start, and of unit norm on average.
        self.action_token = nn.Parameter(torch.randn(config.latent, d) / math.sqrt(d))
        self.proprio_projection = nn.Linear(self.proprio_dim, d) if self.proprio_dim else None
        self.act_head = HEADS[config.head](
            d,
            config.head_hidden_size,
            self.action_space.size,
            latent=config.latent,
            fwd_pred_next_n=config.fwd_pred_next_n,
            window_size=config.window_size,
            num_layers=config.head_num_layers,
            gripper_dims=self.action_space.gripper_dims,
            gripper_loss_weight=config.gripper_loss_weight,
            huber_delta=config.huber_delta,
        )

    def _trainable_params_setup(self) -> None:
        if self.config.freeze_backbone:
            self.backbone.requires_grad_(False)
        if self.config.freeze_vision:
            self.vision_tower.requires_grad_(False)

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

    def encode_images(self, images: Tensor | Sequence[Tensor]) -> Float[Tensor, "b t k d"]:
        """Encode frames into image tokens.

        Args:
            images: uint8 [b, t, 3, h, w] or [b, 3, h, w], or a list of b tensors [t, 3, h, w]; any frame size.

        Returns:
            [b, t, k, d]; t = 1 for 4-D input.
        """
        if not isinstance(images, Tensor):
            images = torch.stack(list(images))
        if images.ndim == 4:
            images = images.unsqueeze(1)
        tokens = self.backbone.encode_images(self.backbone.preprocess(images.flatten(0, 1)))
        return tokens.unflatten(0, images.shape[:2])

    def features(
        self,
        images: Tensor,
        image_mask: Bool[Tensor, "b t v"],
        input_ids: Int64[Tensor, "b l"],
        text_mask: Bool[Tensor, "b l"],
        proprio: Float[Tensor, "b t p"],
        proprio_mask: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b t latent d"]:
        """Hidden states at the action queries of every frame; frames do not see each other. Shapes as in `Batch`."""
        b, t, v = image_mask.shape
        frames = self.encode_images(images.flatten(1, 2)).unflatten(1, (t, v))
        k = frames.shape[3]
        text = self.word_embedding(input_ids).unsqueeze(1).expand(-1, t, -1, -1)
        text_seen = text_mask.unsqueeze(1).expand(-1, t, -1)
        pieces = [frames.flatten(2, 3), text]
        masks = [image_mask.repeat_interleave(k, dim=2), text_seen]
        always = text_mask.new_ones(b, t, 1)
        if self.backbone.leading_ids:
            ids = torch.tensor(self.backbone.leading_ids, device=input_ids.device)
            pieces.insert(0, self.word_embedding(ids).expand(b, t, -1, -1))
            masks.insert(0, always.expand(-1, -1, len(ids)))
        if self.proprio_projection is not None:
            pieces.append(self.proprio_projection(proprio).unsqueeze(2))
            masks.append(proprio_mask.unsqueeze(2))
        pieces.append(self.action_token.expand(b, t, -1, -1))
        masks.append(always.expand(-1, -1, self.config.latent))
        return self._decode(torch.cat([x.to(frames.dtype) for x in pieces], 2), torch.cat(masks, 2))

    def _decode(self, embeds: Float[Tensor, "b t s d"], mask: Bool[Tensor, "b t s"]) -> Float[Tensor, "b t latent d"]:
        folded, latent = mask.flatten(0, 1), self.config.latent
        allowed = attention_allowed(folded, latent, self.backbone.is_prefix_lm)
        hidden = self.backbone.decode(embeds.flatten(0, 1), allowed, positions_of(folded), latent)
        return hidden.unflatten(0, mask.shape[:2])

    def forward(
        self,
        vision_x: Tensor,
        lang_x: Int64[Tensor, "b l"],
        attention_mask: Bool[Tensor, "b l"] | None = None,
        *,
        image_mask: Bool[Tensor, "b t v"] | None = None,
        proprio: Float[Tensor, "b t p"] | None = None,
        proprio_mask: Bool[Tensor, "b t"] | None = None,
        actions: Float[Tensor, "b t n a"] | None = None,
        action_mask: Bool[Tensor, "b t n"] | None = None,
        mode: Literal["train", "inference"] = "train",
    ) -> PolicyOutput:
        """Predict the next n actions at every frame of the window.

        Args:
            vision_x: uint8 frames, [b, t, v, 3, h, w] or, with one camera, [b, t, 3, h, w].
            lang_x: prompt ids.
            attention_mask: True = a real token; None = all real.
            image_mask: True = a real frame; None = all real. A window step without any real frame is padding.
            proprio: normalised proprioception; None only if the policy takes none.
            proprio_mask: True = a real measurement; None = all real.
            actions: targets; needed in training.
            action_mask: True = supervised; None = all.
            mode: "train" computes losses, "inference" predictions.
        """
        images = vision_x.unsqueeze(2) if vision_x.ndim == 5 else vision_x
        b, t, v = images.shape[:3]
        if image_mask is None:
            image_mask = torch.ones(b, t, v, dtype=torch.bool, device=images.device)
        if attention_mask is None:
            attention_mask = torch.ones_like(lang_x, dtype=torch.bool)
        if proprio is None:
            proprio = torch.zeros(b, t, self.proprio_dim, device=images.device)
        if proprio_mask is None:
            proprio_mask = torch.ones(b, t, dtype=torch.bool, device=images.device)
        features = self.features(images, image_mask, lang_x, attention_mask, proprio, proprio_mask).float()
        step_mask = image_mask.any(2)
        if mode == "inference":
            return PolicyOutput(action_predictions=self.act_head.predict(features, step_mask))
        if actions is None:
            raise ConfigError("forward in mode 'train' needs `actions`; use mode='inference' to predict")
        if action_mask is None:
            action_mask = torch.ones(actions.shape[:3], dtype=torch.bool, device=actions.device)
        return PolicyOutput(loss=self.act_head.loss(features, actions, action_mask, step_mask))

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
            action_mask=batch.action_mask,
            mode=mode,
        )
