import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from robovlms.actions.contract import PolicyContract
from robovlms.config import RunConfig
from robovlms.data.collate import collate
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import CheckpointError, PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_policy
from robovlms.policy.session import PolicySession, SessionBatch, load_session
from robovlms.robot.worker.models import ChunkModel, TextModel, make_model
from robovlms.run_folder import checkpoints_of
from robovlms.train.contract import build_contract
from robovlms.train.run import train_from_config
from robovlms.types import Observation

Run = Callable[..., RunConfig]
HISTORIES = [
    ("one_step", "fc", 1),
    ("policy_head", "fc", 3),
    ("policy_head", "lstm", 3),
    ("policy_head", "gpt", 3),
    ("one_step", "discrete", 1),
    ("one_step", "l1_chunk", 1),
    ("interleaved", "fc", 3),
    ("interleaved", "discrete", 3),
    ("video", "fc", 3),
]


@pytest.fixture
def trained(small_run: Run, request: pytest.FixtureRequest) -> RunConfig:
    history, head, window_size = getattr(request, "param", HISTORIES[0])
    config = small_run(
        **{
            "model.history": history,
            "model.head": head,
            "model.window_size": window_size,
            "model.head_num_heads": 2,
            "train.max_steps": 2,
            "train.warmup_steps": 0,
            "train.learning_rate": 1e-2,
        }
    )
    train_from_config(config, show_progress=False)
    return config


def observations(source: LeRobotSource, episode: int) -> list[Observation]:
    steps = np.arange(source.lengths[episode])
    data = source.read(episode, steps, steps, ("static",))
    return [
        Observation(
            images={"static": data.images["static"][t]},
            proprio=data.proprio[t],
            instruction=source.instruction(episode),
            timestamp_s=t / 10,
        )
        for t in steps
    ]


@pytest.mark.parametrize("trained", HISTORIES, indirect=True, ids=lambda value: "-".join(map(str, value)))
@pytest.mark.parametrize("execute_steps", [1, 2])
def test_streaming_equals_the_batch_forward_over_the_windows(trained: RunConfig, execute_steps: int) -> None:
    model, contract, _ = load_policy(trained.train.out)
    source = LeRobotSource(trained.data.path)
    session = PolicySession(model, contract, execute_steps=execute_steps)
    for episode in (2, 3):
        chunks = chunks_of_episode(trained, model, source, episode)
        expected = contract.action_codec.decode(chunks.numpy())
        session.reset()
        for step, observation in enumerate(observations(source, episode)):
            action = session.act(observation)
            begin = step - step % execute_steps
            np.testing.assert_allclose(action, expected[begin, step - begin], atol=1e-5)


def chunks_of_episode(config: RunConfig, model: BaseRoboVLM, source: LeRobotSource, episode: int) -> torch.Tensor:
    """The chunk of every step [T, n, a]: of its window, or, where the band reaches over the episode, in one pass."""
    contract = build_contract(config, source, model.prompt_encoder)
    is_banded = model.config.history == "interleaved"
    dataset = BaseTaskDataset(
        source,
        window_size=int(source.lengths[episode]) if is_banded else contract.window_size,
        fwd_pred_next_n=contract.fwd_pred_next_n,
        cameras=("static",),
        action_codec=contract.action_codec,
        proprio_normalizer=contract.proprio_normalizer,
        prompt_encoder=model.prompt_encoder,
        episodes=[episode],
    )
    windows = [dataset[len(dataset) - 1]] if is_banded else [dataset[index] for index in range(len(dataset))]
    with torch.inference_mode():
        chunks = model.forward_batch(collate(windows), mode="inference").action_predictions
    return chunks[0] if is_banded else chunks[:, -1]


@pytest.mark.parametrize("trained", [HISTORIES[2], HISTORIES[6], HISTORIES[8]], indirect=True)
def test_robots_that_share_a_model_do_not_disturb_each_other(trained: RunConfig) -> None:
    model, contract, _ = load_policy(trained.train.out)
    source = LeRobotSource(trained.data.path)
    episodes = {0: observations(source, 0), 1: observations(source, 2), 2: observations(source, 1)}
    alone = {}
    for robot, frames in episodes.items():
        session = PolicySession(model, contract, execute_steps=2)
        alone[robot] = [session.act(frame) for frame in frames]
    robots = SessionBatch(model, contract, num_robots=3, execute_steps=2)
    begin = {0: 0, 1: 2, 2: 3}  # they start at different times, and stop when their episode ends
    for now in range(15):
        seen = {i: frames[now - begin[i]] for i, frames in episodes.items() if 0 <= now - begin[i] < len(frames)}
        for robot, action in robots.act(seen).items():
            np.testing.assert_allclose(action, alone[robot][now - begin[robot]], atol=1e-5)
    robots.reset([1])
    np.testing.assert_allclose(robots.act({1: episodes[1][0]})[1], alone[1][0], atol=1e-5)


@pytest.mark.parametrize("trained", [HISTORIES[2], HISTORIES[6]], indirect=True)
def test_a_new_instruction_begins_a_new_history(trained: RunConfig) -> None:
    session = load_session(trained.train.out, execute_steps=2)
    frames = observations(LeRobotSource(trained.data.path), 2)
    other = [dataclasses.replace(frame, instruction="push it over there") for frame in frames]
    for frame in frames[:3]:  # one action of a chunk is still queued
        session.act(frame)
    changed = [session.act(frame) for frame in other[3:6]]
    session.reset()
    np.testing.assert_array_equal(changed, [session.act(frame) for frame in other[3:6]])


def test_rendering_can_be_skipped_while_actions_are_queued(trained: RunConfig) -> None:
    session = load_session(trained.train.out, execute_steps=3)
    observation = observations(LeRobotSource(trained.data.path), 0)[0]
    assert session.needs_observation
    first = session.act(observation)
    assert not session.needs_observation
    assert not np.array_equal(session.act(None), first)
    session.act(None)
    assert session.needs_observation
    with pytest.raises(PolicyError, match="needs an observation"):
        session.act(None)


@pytest.mark.parametrize("trained", [HISTORIES[2]], indirect=True)
def test_a_policy_with_memory_sees_every_frame_and_forgets_on_reset(trained: RunConfig) -> None:
    session = load_session(trained.train.out, execute_steps=2)
    frames = observations(LeRobotSource(trained.data.path), 2)
    fresh = [session.act(frame) for frame in frames[:4]]
    assert session.needs_observation
    session.reset()
    again = [session.act(frame) for frame in frames[:4]]
    np.testing.assert_array_equal(fresh, again)


def test_actions_are_within_the_action_space(trained: RunConfig) -> None:
    session = load_session(trained.train.out)
    space = session.contract.action_space
    for frame in observations(LeRobotSource(trained.data.path), 2):
        action = session.act(frame)
        assert action.dtype == np.float32
        assert (action >= space.low).all()
        assert (action <= space.high).all()
        assert action[2] in (-1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {}}, "lacks camera 'static'"),
        ({"images": {"static": np.zeros((8, 8, 3), np.uint8)}}, r"expected uint8 \(32, 32, 3\), got uint8 \(8, 8, 3\)"),
        ({"proprio": None}, "expected 2 numbers"),
        ({"proprio": np.array([0.0, np.nan], np.float32)}, "not finite"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(trained: RunConfig, change: dict, message: str) -> None:
    session = load_session(trained.train.out)
    good = observations(LeRobotSource(trained.data.path), 0)[0]
    values = {"images": good.images, "proprio": good.proprio, "instruction": good.instruction, "timestamp_s": 0.0}
    with pytest.raises(PolicyError, match=message):
        session.act(Observation(**{**values, **change}))


def test_a_prediction_that_is_not_finite_is_refused(trained: RunConfig) -> None:
    model, contract, _ = load_policy(trained.train.out)
    with torch.no_grad():
        model.act_head.actions.mlp[0].bias.fill_(float("nan"))
    with pytest.raises(PolicyError, match="not finite"):
        PolicySession(model, contract).act(observations(LeRobotSource(trained.data.path), 0)[0])


@pytest.mark.parametrize("trained", [HISTORIES[0], HISTORIES[6]], indirect=True)
def test_weights_that_are_not_finite_are_never_loaded(trained: RunConfig) -> None:
    from safetensors.torch import load_file, save_file

    file = checkpoints_of(trained.train.out)[-1] / "model.safetensors"
    weights = load_file(file)
    weights["act_head.actions.mlp.0.bias"][0] = float("inf")  # a tanh would make an action of it
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=r"act_head\.actions\.mlp\.0\.bias holds numbers that are not finite"):
        load_session(trained.train.out)


def test_a_new_instruction_is_obeyed_while_actions_are_queued(trained: RunConfig) -> None:
    session = load_session(trained.train.out, execute_steps=3)
    frame = observations(LeRobotSource(trained.data.path), 2)[0]
    session.act(frame)
    other = dataclasses.replace(frame, instruction="stop and go back")
    changed = session.act(other)
    session.reset()
    np.testing.assert_array_equal(changed, session.act(other))
    queued = session.act(None)  # without an observation the queue goes on
    session.reset()
    session.act(other)
    np.testing.assert_array_equal(queued, session.act(other))


@pytest.mark.parametrize("trained", [HISTORIES[2], HISTORIES[6], HISTORIES[8]], indirect=True)
def test_after_a_failed_step_the_robots_that_looked_start_afresh(
    trained: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, contract, _ = load_policy(trained.train.out)
    frames = observations(LeRobotSource(trained.data.path), 2)
    robots = SessionBatch(model, contract, num_robots=2)
    robots.act({0: frames[0], 1: frames[0]})
    third = robots.act({1: frames[1]})[1]

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(model.backbone, "decode", fail)
        with pytest.raises(MemoryError):
            robots.act({0: frames[1]})
    fresh = PolicySession(model, contract)
    np.testing.assert_allclose(robots.act({0: frames[2]})[0], fresh.act(frames[2]), atol=1e-6)
    undisturbed = PolicySession(model, contract)
    undisturbed.act(frames[0])
    np.testing.assert_allclose(third, undisturbed.act(frames[1]), atol=1e-6)
    np.testing.assert_allclose(robots.act({1: frames[2]})[1], undisturbed.act(frames[2]), atol=1e-6)


def test_a_robot_that_is_not_there_and_a_contract_of_another_model_are_refused(trained: RunConfig) -> None:
    model, contract, _ = load_policy(trained.train.out)
    robots = SessionBatch(model, contract, num_robots=2)
    frame = observations(LeRobotSource(trained.data.path), 2)[0]
    for robot in (2, -1):
        with pytest.raises(PolicyError, match=f"no robot {robot}; their numbers are 0 to 1"):
            robots.act({robot: frame})
    with pytest.raises(PolicyError, match="the contract says fwd_pred_next_n 9, the model was built with 3"):
        PolicySession(model, dataclasses.replace(contract, fwd_pred_next_n=9))


def test_execute_steps_must_fit_the_chunk(trained: RunConfig) -> None:
    model, contract, _ = load_policy(trained.train.out)
    for steps in (0, 4):
        with pytest.raises(PolicyError, match="between 1 and the chunk's 3"):
            PolicySession(model, contract, execute_steps=steps)


def test_a_whole_chunk_is_what_act_would_queue(trained: RunConfig) -> None:
    checkpoint = str(trained.train.out)
    seen = observations(LeRobotSource(trained.data.path), 0)
    session, other = load_session(checkpoint, execute_steps=1), load_session(checkpoint, execute_steps=1)
    for one in seen[:3]:
        chunk = session.chunk(one)
        assert chunk.shape == (session.contract.fwd_pred_next_n, session.contract.action_space.size)
        np.testing.assert_array_equal(chunk[0], other.act(one))


def test_a_policy_and_a_vlm_as_the_models_of_a_robot(trained: RunConfig) -> None:
    seen = observations(LeRobotSource(trained.data.path), 0)[0]
    model = make_model("policy", {"checkpoint": str(trained.train.out)})
    assert isinstance(model, ChunkModel)
    assert PolicyContract.from_json(model.contract_json) == load_session(trained.train.out).contract
    chunk = model.chunk(seen)
    np.testing.assert_array_equal(chunk, load_session(trained.train.out).chunk(seen))
    words = make_model("vlm", {"name": "tiny", "max_new_tokens": 3})
    assert isinstance(words, TextModel)
    image = next(iter(seen.images.values()))
    assert words.generate("go", image) == words.generate("go", image)
