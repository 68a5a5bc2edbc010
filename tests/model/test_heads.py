"""What every head keeps, and the numbers of the original."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from robovlms.errors import CheckpointError, ConfigError, PolicyError
from robovlms.model.head import HEADS, BasePolicyHead, FCDecoder, GPTDecoder, L1ChunkDecoder, LSTMDecoder

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
FLOW = {"decoder": "flow_matching"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fc": ("fc", {"latent": 2}),
    "fc-pooling": ("fc", {"latent": 2, "down_sample": "pooling"}),
    "fc-flow": ("fc", FLOW),
    "lstm": ("lstm", {"latent": 2}),
    "lstm-flow": ("lstm", FLOW),
    "gpt": ("gpt", {"latent": 2}),
    "gpt-flow": ("gpt", FLOW),
    "discrete": ("discrete", {"n_bin": 8}),
    "l1_chunk": ("l1_chunk", {}),
}
D, A, N, WINDOW = 8, 4, 3, 5


def build(case: str, **changes: Any) -> BasePolicyHead:
    torch.manual_seed(0)
    name, settings = CASES[case]
    common = {"fwd_pred_next_n": N, "window_size": WINDOW, "num_layers": 2}
    return HEADS[name](D, 8, A, **{**common, **settings, **changes}).eval()


def features_of(head: BasePolicyHead, b: int = 2, t: int = WINDOW) -> torch.Tensor:
    tokens = 6 if head.down_sample == "pooling" else head.num_queries
    return torch.randn(b, t, tokens, D, generator=torch.Generator().manual_seed(1))


def targets(b: int = 2, t: int = WINDOW) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    actions = torch.rand(b, t, N, A, generator=generator)
    return actions.round(decimals=2), torch.ones(b, t, N, dtype=torch.bool)


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_head_is_among_the_cases() -> None:
    assert {name for name, _ in CASES.values()} == set(HEADS)


def test_what_the_model_reads() -> None:
    heads = {name: build(name) for name in HEADS}
    assert {name for name, head in heads.items() if head.needs_history} == {"lstm", "gpt"}
    assert {name for name, head in heads.items() if head.is_discrete} == {"discrete"}
    assert {name for name, head in heads.items() if head.has_parallel_queries} == {"l1_chunk"}
    queries = {name: head.num_queries for name, head in heads.items()}
    assert queries == {"fc": 2, "lstm": 2, "gpt": 2, "discrete": N * A, "l1_chunk": N}


@pytest.mark.parametrize("name", ["lstm", "gpt"])
def test_a_missing_frame_in_the_middle_is_left_out(name: str) -> None:
    head = build(name)
    features = features_of(head)[:, :3]
    mask = torch.tensor([[True, False, True]] * 2)
    with torch.no_grad():
        holed, without = head.predict(features, mask), head.predict(features[:, [0, 2]])
    torch.testing.assert_close(holed[:, [0, 2]], without, atol=1e-6, rtol=0)


def test_padding_before_the_episode_changes_nothing(case: str) -> None:
    head = build(case)
    features = features_of(head)
    mask = torch.tensor([[True] * 5, [False, False, True, True, True]])
    other_padding = features.clone()
    other_padding[1, :2] = 9.0
    with torch.no_grad():
        padded, alone = head.predict(features, mask), head.predict(features[1:, 2:])
        torch.testing.assert_close(head.predict(other_padding, mask)[1, 2:], padded[1, 2:], atol=1e-6, rtol=0)
    torch.testing.assert_close(padded[1:, 2:], alone, atol=1e-6, rtol=0)


def test_a_batch_gives_what_its_samples_give_alone(case: str) -> None:
    head = build(case)
    features = features_of(head, b=3)
    with torch.no_grad():
        together = head.predict(features)
        for row in range(3):
            torch.testing.assert_close(
                together[row : row + 1], head.predict(features[row : row + 1]), atol=1e-6, rtol=0
            )
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("case", ["lstm", "gpt", "gpt-flow"])
def test_frames_after_a_frame_change_nothing_and_frames_before_do(case: str) -> None:
    head = build(case)
    features = features_of(head)
    changed = features.clone()
    changed[:, 2] += 1.0
    with torch.no_grad():
        before, after = head.predict(features), head.predict(changed)
    torch.testing.assert_close(after[:, :2], before[:, :2], atol=1e-6, rtol=0)
    assert all((after[:, step] - before[:, step]).abs().max() > 1e-6 for step in range(2, WINDOW))


@pytest.mark.parametrize("gripper_dims", [(), (0,), (1, 3), None])
def test_any_set_of_gripper_dimensions(case: str, gripper_dims: tuple[int, ...] | None) -> None:
    head = build(case, gripper_dims=gripper_dims)
    features, (actions, mask) = features_of(head), targets()
    grippers = [3] if gripper_dims is None else list(gripper_dims)
    with torch.no_grad():
        chunk = head.predict(features)
    assert chunk.shape == (2, WINDOW, N, A)
    assert chunk.abs().max() <= 1
    assert (chunk[..., grippers] >= 0).all()
    loss = head.loss(features, actions, mask)
    assert {"loss_arm", "loss_gripper", "total_loss"} <= set(loss)
    assert (loss["loss_gripper"] == 0) == (not grippers)
    assert all(value.shape == () and value.isfinite() for value in loss.values())


@pytest.mark.parametrize("case", ["fc", "lstm", "gpt", "l1_chunk"])
@pytest.mark.parametrize("gripper_dims", [(), (0,), (1, 3)])
def test_regression_outputs_land_in_their_dimensions(case: str, gripper_dims: tuple[int, ...]) -> None:
    head = build(case, gripper_dims=gripper_dims, gripper_loss_weight=0.3)
    features, (actions, mask) = features_of(head), targets()
    arm, logits = head(features)
    chunk = head.predict(features)
    assert torch.equal(chunk[..., [i for i in range(A) if i not in gripper_dims]], arm)
    assert torch.equal(chunk[..., list(gripper_dims)], torch.sigmoid(logits))
    loss = head.loss(features, actions, mask)
    torch.testing.assert_close(loss["total_loss"], loss["loss_arm"] + 0.3 * loss["loss_gripper"])


def test_each_loss_sees_its_own_dimensions_only(case: str) -> None:
    head = build(case, gripper_dims=(1,))
    features, (actions, mask) = features_of(head), targets()

    def losses(changed: int | None) -> dict[str, torch.Tensor]:
        other = actions.clone()
        if changed is not None:
            other[..., changed] = 1 - other[..., changed]
        torch.manual_seed(5)
        return {name: value.detach() for name, value in head.loss(features, other, mask).items()}

    plain, arm, gripper = losses(None), losses(0), losses(1)
    assert plain["loss_arm"] != arm["loss_arm"]
    assert plain["loss_gripper"] != gripper["loss_gripper"]
    if "flow" not in case:  # there the network sees both
        assert plain["loss_gripper"] == arm["loss_gripper"]
        assert plain["loss_arm"] == gripper["loss_arm"]


def test_the_gradient_reaches_every_parameter(case: str) -> None:
    head = build(case).train()
    features, (actions, mask) = features_of(head), targets()
    if head.is_discrete:
        features = features + head.embed_tokens(head.encode(actions))
    head.loss(features, actions, mask)["total_loss"].backward()
    unreached = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []


def test_nothing_supervised_is_zero_loss_with_zero_gradient(case: str) -> None:
    head = build(case)
    features = features_of(head).requires_grad_()
    actions, mask = targets()
    loss = head.loss(features, torch.full_like(actions, torch.nan), torch.zeros_like(mask))
    loss["total_loss"].backward()
    assert all(value == 0 for value in loss.values())
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_unsupervised_steps_do_not_count(case: str) -> None:
    head = build(case)
    features, (actions, mask) = features_of(head), targets()
    mask[0, :, 1:] = False
    other = actions.clone()
    other[0, :, 1:] = torch.nan
    torch.manual_seed(3)
    expected = head.loss(features, actions, mask)
    torch.manual_seed(3)
    found = head.loss(features, other, mask)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    torch.manual_seed(3)
    everything = head.loss(features, actions, torch.ones_like(mask))
    assert found["total_loss"] != everything["total_loss"]


@pytest.mark.parametrize("name", ["fc", "lstm", "gpt"])
@pytest.mark.parametrize("latent", [1, 2, 3])
def test_padding_tokens_change_nothing(name: str, latent: int) -> None:
    head = build(name, latent=latent, down_sample="pooling", **({"num_heads": 4} if name == "gpt" else {}))
    features = features_of(head)
    token_mask = torch.ones(2, WINDOW, 6, dtype=torch.bool)
    token_mask[1, :, 4:] = False
    features[1, :, 4:] = 99.0
    actions, mask = targets()
    mask[0] = False
    with torch.no_grad():
        padded, alone = head.predict(features, None, token_mask), head.predict(features[1:, :, :4])
        torch.testing.assert_close(padded[1:], alone, atol=1e-6, rtol=0)
        assert not torch.allclose(head.predict(features)[1:], alone)
        losses = (
            head.loss(features, actions, mask, None, token_mask),
            head.loss(features[1:, :, :4], actions[1:], mask[1:]),
        )
        torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("case", ["gpt", "gpt-flow"])
def test_gpt_beyond_its_window_runs_every_window_from_zero(case: str) -> None:
    head = build(case, window_size=3)
    features = features_of(head, t=7)
    step_mask = torch.ones(2, 7, dtype=torch.bool)
    step_mask[1, :2] = False
    with torch.no_grad():
        long = head.predict(features, step_mask)
        for row, step in [(0, 0), (0, 2), (0, 3), (0, 6), (1, 2), (1, 4), (1, 5), (1, 6)]:
            first = max(step - 2, 2 if row else 0)
            alone = head.predict(features[row : row + 1, first : step + 1])[0, -1]
            torch.testing.assert_close(long[row, step], alone, atol=1e-6, rtol=0)


def test_gpt_dropout_acts_in_training_only() -> None:
    head = build("gpt", dropout=0.5)
    features = features_of(head)
    assert torch.equal(head.predict(features), head.predict(features))
    head.train()
    assert not torch.equal(head.predict(features), head.predict(features))
    head = build("gpt").train()
    assert torch.equal(head.predict(features), head.predict(features))


@pytest.mark.parametrize("case", ["fc", "lstm", "gpt"])
def test_the_arm_loss_grows_linearly_above_huber_delta(case: str) -> None:
    head = build(case, huber_delta=0.1)
    features, (actions, mask) = features_of(head), targets()
    error = (head(features)[0] - actions[..., :3]).abs()
    expected = torch.where(error < 0.1, error**2 / 2, 0.1 * (error - 0.05)).mean()
    assert (error > 0.1).any()
    torch.testing.assert_close(head.loss(features, actions, mask)["loss_arm"], expected)


def test_l1_chunk_by_hand() -> None:
    head = build("l1_chunk")
    head.mlp = torch.nn.Identity()
    head.actions.weight.data = 3 * torch.eye(3, D)
    head.gripper.weight.data = torch.eye(D)[3:4]
    torch.nn.init.zeros_(head.actions.bias)
    torch.nn.init.zeros_(head.gripper.bias)
    features, (actions, mask) = features_of(head), targets()
    chunk = head.predict(features)
    torch.testing.assert_close(chunk[..., :3], torch.tanh(3 * features[..., :3]))
    torch.testing.assert_close(chunk[..., 3], torch.sigmoid(features[..., 3]))
    loss = head.loss(features, actions, mask)
    torch.testing.assert_close(loss["loss_arm"], (chunk - actions)[..., :3].abs().mean())


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="gripper dimensions"):
        FCDecoder(8, 8, 2, gripper_dims=(0, 1))
    with pytest.raises(ConfigError, match="down_sample"):
        FCDecoder(8, 8, 2, down_sample="mean")
    with pytest.raises(ConfigError, match="did you mean 'flow_matching'"):
        FCDecoder(8, 8, 2, decoder="flow_match")
    with pytest.raises(ConfigError, match="num_flow_steps must be at least 1"):
        FCDecoder(8, 8, 2, decoder="flow_matching", num_flow_steps=0)
    with pytest.raises(ConfigError, match="width of 12 .* split into 8"):
        GPTDecoder(8, 12, 2)
    with pytest.raises(ConfigError, match="set latent: 1 and down_sample: none, not 3 and none"):
        L1ChunkDecoder(8, 8, 2, latent=3, fwd_pred_next_n=3)
    with pytest.raises(ConfigError, match="not 1 and pooling"):
        L1ChunkDecoder(8, 8, 2, down_sample="pooling")
    with pytest.raises(PolicyError, match="one token per chunk step: expected 3, got 2"):
        L1ChunkDecoder(8, 8, 2, fwd_pred_next_n=3).predict(torch.zeros(1, 1, 2, 8))


# --- the original's weights and numbers


def _entry(name: str) -> dict[str, Any]:
    return next(entry for entry in json.loads((GOLDENS / "f_heads.json").read_text()) if entry["name"] == name)


def _golden(name: str, head_class: type[BasePolicyHead]) -> tuple[BasePolicyHead, dict[str, torch.Tensor]]:
    weights = load_file(GOLDENS / f"f_{name}.safetensors")
    head = head_class.from_original(weights, **_entry(name)["config"]).eval()
    return head, {key: torch.from_numpy(value).float() for key, value in np.load(GOLDENS / f"f_{name}.npz").items()}


@needs_goldens
@pytest.mark.parametrize(
    ("name", "head_class", "x", "outputs"),
    [
        ("fc_pooling_l1", FCDecoder, "x4", ("arm4", "grip4")),
        ("fc_pooling_l1", FCDecoder, "x3", ("arm3", "grip3")),
        ("fc_pooling_l1", FCDecoder, "x2", ("arm2", "grip2")),
        ("lstm_none_l1", LSTMDecoder, "x", ("arm", "grip")),
        ("lstm_none_l1", LSTMDecoder, "x7", ("long_arm", "long_grip")),
        ("gpt_none_l1", GPTDecoder, "x", ("arm", "grip")),
        ("gpt_none_l1", GPTDecoder, "x2", ("short_arm", "short_grip")),
    ],
)
def test_equals_the_original(name: str, head_class: type[BasePolicyHead], x: str, outputs: tuple[str, str]) -> None:
    head, golden = _golden(name, head_class)
    with torch.no_grad():
        predicted = head(golden[x])
    for got, key in zip(predicted, outputs, strict=True):
        torch.testing.assert_close(got, golden[key], atol=2e-6, rtol=0)


@needs_goldens
@pytest.mark.parametrize(("name", "head_class"), [("lstm_none_l1", LSTMDecoder), ("gpt_none_l1", GPTDecoder)])
def test_streaming_equals_the_original(name: str, head_class: type[BasePolicyHead]) -> None:
    head, golden = _golden(name, head_class)
    frames = golden["xs"]
    with torch.no_grad():
        for step in range(frames.shape[1]):
            arm, gripper = head(frames[:, max(0, step - head.window_size + 1) : step + 1])
            torch.testing.assert_close(arm[:, -1], golden["stream_arm"][:, step], atol=2e-6, rtol=0)
            torch.testing.assert_close(gripper[:, -1], golden["stream_grip"][:, step], atol=2e-6, rtol=0)


@needs_goldens
def test_gpt_streams_as_the_original_also_in_one_call() -> None:
    head, golden = _golden("gpt_none_l1", GPTDecoder)
    with torch.no_grad():
        arm, gripper = head(golden["xs"])
    torch.testing.assert_close(arm, golden["stream_arm"], atol=2e-6, rtol=0)
    torch.testing.assert_close(gripper, golden["stream_grip"], atol=2e-6, rtol=0)


@needs_goldens
@pytest.mark.parametrize(
    ("name", "head_class"),
    [("fc_none_l2", FCDecoder), ("lstm_pooling_l2", LSTMDecoder)],
)
def test_names_and_shapes_are_those_of_the_original(name: str, head_class: type[BasePolicyHead]) -> None:
    entry = _entry(name)
    weights = {key: torch.zeros(shape) for key, shape in entry["state_dict_keys"].items()}
    head = head_class.from_original(weights, **entry["config"])
    assert not any(parameter.any() for parameter in head.parameters())


@needs_goldens
def test_the_head_is_found_in_a_whole_checkpoint() -> None:
    weights = load_file(GOLDENS / "g_kosmos_lstm_post.safetensors")
    config = json.loads((GOLDENS / "g_kosmos_lstm_post.config.json").read_text())
    settings = {**config["act_head"], **{key: config[key] for key in ("window_size", "fwd_pred_next_n")}}
    in_features = weights["model.act_head.rnn.weight_ih_l0"].shape[1]
    head = LSTMDecoder.from_original(weights, in_features=in_features, **settings)
    assert torch.equal(head.rnn.weight_ih_l0, weights["model.act_head.rnn.weight_ih_l0"].float())
    assert len(head.state_dict()) == sum(key.startswith("model.act_head.") for key in weights)


# --- the same without the reference numbers


@pytest.mark.parametrize("prefix", ["", "module.", "act_head.", "model.act_head.", "module.model.act_head."])
def test_weights_load_under_every_prefix(prefix: str) -> None:
    source = build("gpt", latent=1)
    weights = {prefix + key: value.half() for key, value in source.state_dict().items()}
    weights |= {f"{prefix}gpt.h.{i}.attn.bias": torch.ones(1, 1, 5, 5, dtype=torch.uint8) for i in range(2)}
    weights |= {f"{prefix}gpt.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
    if "act_head" in prefix:
        weights |= {"model.backbone.weight": torch.zeros(3), "model.lm_head.fc.bias": torch.zeros(8)}
    settings = {"in_features": D, "hidden_size": 8, "action_dim": A, "fwd_pred_next_n": N, "window_size": WINDOW}
    head = GPTDecoder.from_original(weights, num_layers=2, policy_rnn_dropout_p=0.1, type="GPTDecoder", **settings)
    for name, value in head.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source.state_dict()[name].half().float()), name


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = dict(build("fc", latent=1).state_dict())
    settings = {"in_features": D, "hidden_size": 8, "action_dim": A, "fwd_pred_next_n": N}
    missing = {key: value for key, value in weights.items() if key != "mlp.2.bias"}
    with pytest.raises(CheckpointError, match=r"FCDecoder: mlp.2.bias: .* expects \(8,\), the file has no such key"):
        FCDecoder.from_original(missing, **settings)
    with pytest.raises(CheckpointError, match=r"mlp.4.bias: .* expects no such key, the file has \(3,\)"):
        FCDecoder.from_original({**weights, "mlp.4.bias": torch.zeros(3)}, **settings)
    with pytest.raises(CheckpointError, match=r"mlp.2.bias: .* expects \(8,\), the file has \(1,\)"):
        FCDecoder.from_original({**weights, "mlp.2.bias": torch.zeros(1)}, **settings)
    with pytest.raises(TypeError, match="hiden_size"):
        FCDecoder.from_original(weights, hiden_size=3, **settings)


def test_fc_takes_frames_without_a_window_and_single_vectors() -> None:
    head = build("fc", down_sample="pooling")
    features = features_of(head, t=1)
    mask = torch.ones(2, 1, 6, dtype=torch.bool)
    mask[0, :, 3:] = False
    arm, gripper = head(features, None, mask)
    arm3, gripper3 = head(features[:, 0], None, mask[:, 0])
    torch.testing.assert_close((arm3, gripper3), (arm[:, 0], gripper[:, 0]))
    vectors = head._pool(features, mask).flatten(2)[:, 0]
    arm2, gripper2 = head(vectors)
    torch.testing.assert_close((arm2, gripper2), (arm3.flatten(1), gripper3.flatten(1)))
