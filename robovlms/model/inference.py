"""From raw observations to physical actions: the steps between a checkpoint's contract and its tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robovlms.actions.contract import PolicyContract
from robovlms.data.text import PromptEncoder, pad_right
from robovlms.errors import PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.history.frames import Frames
from robovlms.resize import resize_frame
from robovlms.types import Observation


class ObservationEncoder:
    """Turns observations into the policy's inputs, and its predictions into actions, as the contract says.

    Holds no run-time state.

    Args:
        model: the policy, in evaluation mode.
        contract: what it was trained on.
    """

    def __init__(self, model: BaseRoboVLM, contract: PolicyContract) -> None:
        self.model, self.contract = model, contract
        self._prompts: PromptEncoder = model.prompt_encoder
        self._codec, self._proprio = contract.action_codec, contract.proprio_normalizer
        self._columns = contract.columns

    @torch.inference_mode()
    def frames(self, observations: Sequence[Observation]) -> Frames:
        """Encode one observation of each of several robots.

        Raises:
            PolicyError: names what an observation lacks, the expected and the given value.
        """
        device = self.model.device
        images = [self._ready([self._image(one, i) for one in observations]) for i in range(len(self.contract.cameras))]
        proprio = np.stack([self._proprioception(one) for one in observations])
        ids, text_mask = pad_right([self._prompts.encode(one.instruction) for one in observations])
        seen = torch.ones(len(observations), 1, len(images), dtype=torch.bool, device=device)
        return self.model.encode(
            torch.stack(images, dim=1).unsqueeze(1),
            seen,
            torch.from_numpy(ids).to(device),
            torch.from_numpy(text_mask).to(device),
            torch.from_numpy(proprio).unsqueeze(1).to(device),
            seen[:, :, 0],
        )

    @torch.inference_mode()
    def actions(self, features: Float[Tensor, "b t q d"], step_mask: Bool[Tensor, "b t"]) -> Float[np.ndarray, "b n a"]:
        """The next n physical actions, from what a stream gives.

        Raises:
            PolicyError: if a prediction is not finite.
        """
        predicted = self.model.predict(features, step_mask).action_predictions[:, -1]
        # A tanh or a clamp makes an action of what is infinite, so the features are looked at as well.
        if not (torch.isfinite(predicted).all() and torch.isfinite(features[step_mask]).all()):
            raise PolicyError("the policy predicted a number that is not finite; refusing to act on it")
        return self._codec.decode(predicted[..., self._columns].float().cpu().numpy())

    def _ready(self, images: Sequence[np.ndarray]) -> Float[Tensor, "b 3 h w"]:
        """Pictures of one camera as the vision tower takes them; cameras may have different sizes."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.model.device)
        return self.model.backbone.preprocess(pixels)

    def _image(self, observation: Observation, index: int) -> np.ndarray:
        camera = self.contract.cameras[index]
        if camera.name not in observation.images:
            raise PolicyError(f"observation lacks camera {camera.name!r}; it has {sorted(observation.images)}")
        image = observation.images[camera.name]
        expected = (camera.height, camera.width, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise PolicyError(f"camera {camera.name!r}: expected uint8 {expected}, got {image.dtype} {image.shape}")
        return image if self.contract.image_size is None else resize_frame(image, *self.contract.image_size)

    def _proprioception(self, observation: Observation) -> np.ndarray:
        names = self.contract.proprio_names
        if self._proprio is None:
            return np.zeros(0, np.float32)
        if observation.proprio is None or observation.proprio.shape != (len(names),):
            got = None if observation.proprio is None else observation.proprio.shape
            raise PolicyError(f"proprioception: expected {len(names)} numbers {list(names)}, got {got}")
        if not np.isfinite(observation.proprio).all():
            raise PolicyError(f"proprioception is not finite: {observation.proprio.tolist()}")
        normalised = self._proprio.normalize(observation.proprio)
        if not np.isfinite(normalised).all():
            raise PolicyError(f"proprioception is out of any range: {observation.proprio.tolist()}")
        return normalised
