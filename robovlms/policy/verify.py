"""`robovlms verify`: replay a checkpoint's parity samples with the libraries and the processor of this machine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robovlms.errors import CheckpointError
from robovlms.model.checkpoint import load_policy
from robovlms.model.inference import ObservationEncoder
from robovlms.model.parity import load_parity, predict_window
from robovlms.run_folder import find_checkpoint


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """How far this machine is from the one that wrote the checkpoint.

    Attributes:
        num_samples: windows replayed.
        max_difference: largest difference of an action number, as a share of its dimension's range.
        tolerance: what is accepted, in the same measure.
    """

    num_samples: int
    max_difference: float
    tolerance: float


def verify_checkpoint(checkpoint: Path, tolerance: float = 1e-4) -> ParityResult:
    """Replay the parity samples of a checkpoint.

    Args:
        checkpoint: checkpoint or run folder.
        tolerance: largest accepted difference, as a share of each action dimension's range.

    Raises:
        CheckpointError: if an action differs by more, or a file is missing or damaged.
    """
    folder = find_checkpoint(checkpoint)
    model, contract, _ = load_policy(folder)
    windows, expected = load_parity(folder / "parity.safetensors")
    encoder = ObservationEncoder(model, contract)
    actions = np.stack([predict_window(encoder, window) for window in windows])
    span = contract.action_space.high - contract.action_space.low
    difference = float((np.abs(actions - expected) / span).max())
    if not difference <= tolerance:  # also when it is not a number
        raise CheckpointError(
            f"{folder} gives other actions here than where it was trained: they differ by {difference:.1e} of the "
            f"range, more than {tolerance:.1e}"
        )
    return ParityResult(num_samples=len(windows), max_difference=difference, tolerance=tolerance)
