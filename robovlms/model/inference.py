"""From raw observations to physical actions: the steps between a checkpoint's contract and its tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from robovlms.actions.contract import PolicyContract
from robovlms.data.text import PromptEncoder
from robovlms.errors import PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.types import Observation


class ObservationEncoder:
    """Turns observations into features of the policy, and features into actions, as the contract says.

    Holds no run-time state.

    Args:
        model: the policy, in evaluation mode.
        contract: what it was trained on.
    """

    def __init__(self, model: BaseRoboVLM, contract: PolicyContract) -> None:
        self.model, self.contract = model, contract
        self._prompts: PromptEncoder = model.prompt_encoder
        self._codec, self._proprio = contract.action_codec, contract.proprio_normalizer

    @torch.inference_mode()
    def features(self, observation: Observation) -> Float[Tensor, "1 1 latent d"]:
        """Features of one frame.

        Raises:
            PolicyError: names what the observation lacks, the expected and the given value.
        """
        device = self.model.device
        images = torch.from_numpy(np.stack([self._image(observation, i) for i in range(len(self.contract.cameras))]))
        images = images.permute(0, 3, 1, 2)[None, None].to(device)
        ids = torch.from_numpy(self._prompts.encode(observation.instruction))[None].to(device)
        proprio = torch.from_numpy(self._proprioception(observation))[None, None].to(device)
        seen = torch.ones(images.shape[:3], dtype=torch.bool, device=device)
        text = torch.ones_like(ids, dtype=torch.bool)
        return self.model.features(images, seen, ids, text, proprio, seen[:, :, 0]).float()

    @torch.inference_mode()
    def actions(self, features: Sequence[Float[Tensor, "1 1 latent d"]]) -> Float[np.ndarray, "n a"]:
        """The next n physical actions, from the features of the frames up to now (at most the window's)."""
        predicted = self.model.act_head.predict(torch.cat(list(features), dim=1))[0, -1]
        if not torch.isfinite(predicted).all():
            raise PolicyError("the policy predicted a number that is not finite; refusing to act on it")
        return self._codec.decode(predicted.cpu().numpy())

    def _image(self, observation: Observation, index: int) -> np.ndarray:
        camera = self.contract.cameras[index]
        if camera.name not in observation.images:
            raise PolicyError(f"observation lacks camera {camera.name!r}; it has {sorted(observation.images)}")
        image = observation.images[camera.name]
        expected = (camera.height, camera.width, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise PolicyError(f"camera {camera.name!r}: expected uint8 {expected}, got {image.dtype} {image.shape}")
        return image

    def _proprioception(self, observation: Observation) -> np.ndarray:
        names = self.contract.proprio_names
        if self._proprio is None:
            return np.zeros(0, np.float32)
        if observation.proprio is None or observation.proprio.shape != (len(names),):
            got = None if observation.proprio is None else observation.proprio.shape
            raise PolicyError(f"proprioception: expected {len(names)} numbers {list(names)}, got {got}")
        if not np.isfinite(observation.proprio).all():
            raise PolicyError(f"proprioception is not finite: {observation.proprio.tolist()}")
        return self._proprio.normalize(observation.proprio)
