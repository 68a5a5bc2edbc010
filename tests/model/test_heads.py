import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from robovlms.errors import ConfigError
from robovlms.model.head import HEADS, BasePolicyHead, FCDecoder, LSTMDecoder

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)


def _golden(name: str, head_class: type[BasePolicyHead]) -> tuple[BasePolicyHead, dict[str, torch.Tensor]]:
    entry = next(entry for entry in json.loads((GOLDENS / "f_heads.json").read_text()) if entry["name"] == name)
    config = {key: value for key, value in entry["config"].items() if key != "policy_rnn_dropout_p"}
    head = head_class(**config).eval()
    head.load_state_dict({key: value.float() for key, value in load_file(GOLDENS / f"f_{name}.safetensors").items()})
    return head, {key: torch.from_numpy(value).float() for key, value in np.load(GOLDENS / f"f_{name}.npz").items()}


@needs_goldens
@pytest.mark.parametrize(
    ("name", "head_class", "x", "outputs"),
    [
        ("fc_pooling_l1", FCDecoder, "x4", ("arm4", "grip4")),
        ("lstm_none_l1", LSTMDecoder, "x", ("arm", "grip")),
        ("lstm_none_l1", LSTMDecoder, "x7", ("long_arm", "long_grip")),
    ],
)
def test_equals_the_original(name: str, head_class: type[BasePolicyHead], x: str, outputs: tuple[str, str]) -> None:
    head, golden = _golden(name, head_class)
    with torch.no_grad():
        predicted = head(golden[x])
    for got, key in zip(predicted, outputs, strict=True):
        torch.testing.assert_close(got, golden[key], atol=2e-6, rtol=0)


@needs_goldens
def test_lstm_streaming_equals_the_original() -> None:
    head, golden = _golden("lstm_none_l1", LSTMDecoder)
    frames = golden["xs"]
    with torch.no_grad():
        for step in range(frames.shape[1]):
            arm, gripper = head(frames[:, max(0, step - head.window_size + 1) : step + 1])
            torch.testing.assert_close(arm[:, -1], golden["stream_arm"][:, step], atol=2e-6, rtol=0)
            torch.testing.assert_close(gripper[:, -1], golden["stream_grip"][:, step], atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_padding_before_the_episode_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](8, 12, 4, latent=2, fwd_pred_next_n=3, num_layers=2, window_size=5).eval()
    features = torch.randn(2, 5, 2, 8)
    mask = torch.tensor([[True] * 5, [False, False, True, True, True]])
    with torch.no_grad():
        padded, alone = head.predict(features, mask), head.predict(features[1:, 2:])
    torch.testing.assert_close(padded[1:, 2:], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gripper_dims", [(), (0,), (1, 3), None])
def test_any_set_of_gripper_dimensions(gripper_dims: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    head = FCDecoder(8, 8, 4, fwd_pred_next_n=3, gripper_dims=gripper_dims)
    features, actions = torch.randn(2, 1, 1, 8), torch.rand(2, 1, 3, 4)
    chunk = head.predict(features)
    expected = (3,) if gripper_dims is None else gripper_dims
    arm = [i for i in range(4) if i not in expected]
    predicted_arm, logits = head(features)
    assert torch.equal(chunk[..., arm], predicted_arm)
    assert torch.equal(chunk[..., list(expected)], torch.sigmoid(logits))
    loss = head.loss(features, actions, torch.ones(2, 1, 3, dtype=torch.bool))
    assert torch.allclose(loss["total_loss"], loss["loss_arm"] + 0.01 * loss["loss_gripper"])
    assert (loss["loss_gripper"] == 0) == (not expected)


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="gripper dimensions"):
        FCDecoder(8, 8, 2, gripper_dims=(0, 1))
    with pytest.raises(ConfigError, match="down_sample"):
        FCDecoder(8, 8, 2, down_sample="mean")
