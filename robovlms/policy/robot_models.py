"""The models that a robot's worker loads: a trained policy, or a VLM that answers in words."""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from robovlms.model.device import resolve_device
from robovlms.model.vlm import build_vlm
from robovlms.model_config import VLMConfig
from robovlms.policy.session import load_session
from robovlms.types import Observation


class PolicyModel:
    """A checkpoint's policy, as a `robovlms.robot.worker.ChunkModel`.

    Args:
        checkpoint: folder of a checkpoint, or of a run.
        device: where to compute; "auto" takes CUDA if there is one.
    """

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        self._session = load_session(checkpoint, execute_steps=1, device=device)
        self.contract_json = self._session.contract.to_json()

    def chunk(self, observation: Observation) -> Float32[np.ndarray, "n a"]:
        """The next n actions in physical units."""
        return self._session.chunk(observation)


class WordsModel:
    """A VLM's own words about a picture, as a `robovlms.robot.worker.TextModel`.

    Args:
        name: key of `robovlms.model.vlm.POLICIES`, for example "paligemma".
        pretrained: hub id or folder; None builds a randomly initialised one, which says nothing sensible.
        precision: data type of the weights.
        device: where to compute; "auto" takes CUDA if there is one.
        max_new_tokens: longest answer.
        overrides: as of `VLMConfig`.
    """

    def __init__(
        self,
        name: str,
        pretrained: str | None = None,
        precision: str = "fp32",
        device: str = "auto",
        max_new_tokens: int = 48,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        config = VLMConfig(name=name, pretrained=pretrained, overrides=overrides or {})
        backbone = build_vlm(config, precision=precision)  # type: ignore[arg-type]
        self._backbone = backbone.to(resolve_device(device, "model.options.device")).eval()
        self._max_new_tokens = max_new_tokens

    def generate(self, prompt: str, image: UInt8[np.ndarray, "h w 3"]) -> str:
        """What the VLM writes after `prompt`, greedily."""
        return self._backbone.generate(prompt, image, max_new_tokens=self._max_new_tokens)
