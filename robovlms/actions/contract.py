"""Everything that must agree between where a policy was trained and where it runs.

Training writes the contract into the checkpoint. Whoever executes the policy checks it first and refuses to run on a
mismatch, naming both values.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from robovlms.actions.normalize import ActionCodec, FeatureStatistics, Normalizer, Scheme
from robovlms.actions.space import ActionSpace
from robovlms.errors import CheckpointError, ContractMismatchError


@dataclass(frozen=True, kw_only=True)
class CameraSpec:
    """One camera as the policy sees it.

    Attributes:
        name: key in `Observation.images`.
        height, width: frame size in pixels.
        source: what makes the picture, for example "metaworld/corner4/fast"; frames of another source are refused.
    """

    name: str
    height: int
    width: int
    source: str


@dataclass(frozen=True, kw_only=True)
class PolicyContract:
    """What a checkpoint was trained on and expects again.

    Attributes:
        action_space: meaning of the action numbers.
        action_scheme: normalisation of the regression dimensions, one for all or one for each dimension.
        action_statistics: statistics that the scheme uses.
        proprio_names: name of each proprioceptive number; empty if the policy takes none.
        proprio_scheme: normalisation of the proprioception, one for all or one for each number.
        proprio_statistics: None exactly when `proprio_names` is empty.
        cameras: in the order the policy takes them.
        prompt_template: text around the instruction, with the field `{instruction}`.
        tokenizer_fingerprint: SHA-256 of the tokenizer.
        window_size: t, observations the policy looks at, the current one included.
        fwd_pred_next_n: n, actions predicted per observation.
        action_mu: mu of the mu-law that spreads small normalised actions; None = none.
        image_size: height and width that frames are resized to before the policy; None = as they are.
        predicted_space: what the head predicts, where it was trained with other robots too; its first dimensions are
            those of `action_space`, perhaps under other names. None = `action_space`.

    Raises:
        CheckpointError: if the first predicted dimensions are not the robot's.
    """

    action_space: ActionSpace
    action_scheme: Scheme | tuple[Scheme, ...]
    action_statistics: FeatureStatistics
    proprio_names: tuple[str, ...]
    proprio_scheme: Scheme | tuple[Scheme, ...]
    proprio_statistics: FeatureStatistics | None
    cameras: tuple[CameraSpec, ...]
    prompt_template: str
    tokenizer_fingerprint: str
    window_size: int
    fwd_pred_next_n: int
    action_mu: float | None = None
    image_size: tuple[int, int] | None = None
    predicted_space: ActionSpace | None = None

    def __post_init__(self) -> None:
        own, predicted = self.action_space.dimensions, self.head_space.dimensions
        pairs = [((one.kind, one.unit), (other.kind, other.unit)) for one, other in zip(own, predicted, strict=False)]
        if len(predicted) < len(own) or any(one != other for one, other in pairs):
            raise CheckpointError(
                f"contract: the first predicted dimensions must be the robot's: {list(self.action_space.names)}, got "
                f"{list(self.head_space.names)}"
            )

    @property
    def head_space(self) -> ActionSpace:
        """Meaning of the numbers that the head predicts."""
        return self.predicted_space or self.action_space

    @property
    def columns(self) -> list[int]:
        """Place of each dimension of `action_space` among the predicted ones: they come first."""
        return list(range(self.action_space.size))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def action_codec(self) -> ActionCodec:
        """Physical actions <-> learned targets."""
        normalizer = Normalizer.from_statistics(self.action_scheme, self.action_statistics)
        return ActionCodec(space=self.action_space, normalizer=normalizer, mu=self.action_mu)

    @property
    def proprio_normalizer(self) -> Normalizer | None:
        """Physical proprioception -> learned space; None if the policy takes none."""
        if self.proprio_statistics is None:
            return None
        return Normalizer.from_statistics(self.proprio_scheme, self.proprio_statistics)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two-space indent."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PolicyContract":
        """Inverse of `to_json`.

        Raises:
            CheckpointError: if the text is no contract.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            statistics, predicted = values["proprio_statistics"], values.get("predicted_space")
            image_size = values.get("image_size")
            return cls(
                **{
                    **values,
                    "action_space": ActionSpace.from_dict(values["action_space"]),
                    "action_scheme": _scheme_from_json(values["action_scheme"]),
                    "proprio_scheme": _scheme_from_json(values["proprio_scheme"]),
                    "action_statistics": FeatureStatistics.from_dict(values["action_statistics"]),
                    "proprio_names": tuple(values["proprio_names"]),
                    "proprio_statistics": statistics and FeatureStatistics.from_dict(statistics),
                    "cameras": tuple(CameraSpec(**camera) for camera in values["cameras"]),
                    "image_size": image_size and tuple(image_size),
                    "predicted_space": predicted and ActionSpace.from_dict(predicted),
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"not a policy contract: {type(error).__name__}: {error}") from error

    def differences(self, other: "PolicyContract") -> list[str]:
        """One text per value that differs, this contract's and the other's."""
        return _differences("contract", dataclasses.asdict(self), dataclasses.asdict(other))

    def check_robot(
        self, *, action_space: ActionSpace, cameras: tuple[CameraSpec, ...], proprio_names: tuple[str, ...], where: str
    ) -> None:
        """Refuse to run on a robot or simulator that differs from what the policy was trained on.

        Args:
            action_space: what the robot executes.
            cameras: what the robot sees; more cameras than the policy takes are fine.
            proprio_names: what the robot feels.
            where: name of the robot or simulator, for the message.

        Raises:
            ContractMismatchError: names every differing value, the checkpoint's and the robot's.
        """
        differences = _differences(
            "action_space", dataclasses.asdict(self.action_space), dataclasses.asdict(action_space)
        )
        seen = {camera.name: camera for camera in cameras}
        for camera in self.cameras:
            if camera.name not in seen:
                differences.append(f"camera {camera.name!r}: checkpoint needs it, {where} has {sorted(seen)}")
            else:
                expected, got = dataclasses.asdict(camera), dataclasses.asdict(seen[camera.name])
                differences += _differences(f"camera {camera.name!r}", expected, got)
        if self.proprio_names:
            differences += _differences("proprio_names", self.proprio_names, proprio_names)
        if differences:
            raise ContractMismatchError(f"the checkpoint does not fit {where}: " + "; ".join(differences))


def _scheme_from_json(value: str | list[str]) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _differences(name: str, expected: Any, got: Any) -> list[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        return [line for key in expected for line in _differences(f"{name}.{key}", expected[key], got.get(key))]
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for i, (e, g) in pairs for line in _differences(f"{name}[{i}]", e, g)]
    return [] if expected == got else [f"{name}: checkpoint {expected!r}, here {got!r}"]
