"""What only a long life brings: slots that grow, positions that run out, a band that forgets."""

import pytest
import torch

from robovlms.errors import ConfigError, PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.history.interleaved import InterleavedStream
from robovlms.testing.policies import tiny_policy


def episode(length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, length, 1, 3, 32, 32), dtype=torch.uint8, generator=generator)


def step(policy: BaseRoboVLM, stream: InterleavedStream, frame: torch.Tensor, text: list[list[int]]) -> torch.Tensor:
    rows = len(text)
    ids = torch.tensor([row + [0] * (max(map(len, text)) - len(row)) for row in text])
    mask = torch.tensor([[True] * len(row) + [False] * (ids.shape[1] - len(row)) for row in text])
    seen = torch.ones(rows, 1, 1, dtype=torch.bool)
    with torch.inference_mode():
        frames = policy.encode(
            frame.expand(rows, -1, -1, -1, -1, -1), seen, ids, mask, torch.zeros(rows, 1, 0), seen[:, :, 0]
        )
        return policy.predict(*stream.step(frames, range(rows))).action_predictions[:, -1]


def whole(policy: BaseRoboVLM, images: torch.Tensor, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return policy(images, torch.tensor([ids]), mode="inference").action_predictions[0]


@pytest.mark.parametrize("repeat_text", [False, True])
def test_a_robot_with_a_longer_instruction_makes_room_and_disturbs_nobody(repeat_text: bool) -> None:
    policy = tiny_policy(history="interleaved", window_size=3, proprio_dim=0, repeat_text=repeat_text)
    stream, images = policy.stream(2), episode(8)
    short, long = [1, 20, 30], [1, *range(40, 60)]
    for now in range(4):
        step_one = step(policy, stream, images[:, now : now + 1], [short])
    torch.testing.assert_close(step_one[0], whole(policy, images[:, :4], short)[-1], atol=1e-5, rtol=0)
    for now in range(4, 8):
        both = step(policy, stream, images[:, now : now + 1], [short, long])
        torch.testing.assert_close(both[0], whole(policy, images[:, : now + 1], short)[-1], atol=1e-5, rtol=0)
        torch.testing.assert_close(both[1], whole(policy, images[:, 4 : now + 1], long)[-1], atol=1e-5, rtol=0)


def test_the_cost_of_a_step_does_not_grow_with_the_episode() -> None:
    policy = tiny_policy(history="interleaved", window_size=3, proprio_dim=0)
    stream, images = policy.stream(), episode(12)
    sizes = set()
    for now in range(12):
        step(policy, stream, images[:, now : now + 1], [[1, 20, 30]])
        sizes.add(stream._cache.kv.num_slots)
    assert len(sizes) == 1


def test_frames_out_of_the_band_are_forgotten_by_one_layer() -> None:
    policy = tiny_policy(
        history="interleaved", window_size=2, proprio_dim=0, hide_action_tokens=True
    )  # two layers reach two frames back, and no further
    images, ids = episode(5), [1, 20, 30]
    changed = images.clone()
    changed[:, 0] = 255 - changed[:, 0]
    before, after = whole(policy, images, ids), whole(policy, changed, ids)
    assert (before[2] - after[2]).abs().max() > 1e-6
    torch.testing.assert_close(before[3:], after[3:], atol=0, rtol=0)


@pytest.mark.parametrize(("head", "limit"), [("fc", 48), ("discrete", 70)])
def test_a_decoder_that_runs_out_of_positions_starts_again_from_the_last_frames(head: str, limit: int) -> None:
    policy = tiny_policy(history="interleaved", window_size=3, proprio_dim=0, head=head)
    policy.backbone.max_positions = limit
    stream, images, ids = policy.stream(), episode(20), [1, 20, 30]
    used = []
    for now in range(20):
        got = step(policy, stream, images[:, now : now + 1], [ids])[0]
        used.append(stream._used[0])
        if stream._seen[0] <= 3 and now >= 2:  # just started again: exactly the last window
            expected = whole(policy, images[:, now - stream._seen[0] + 1 : now + 1], ids)[-1]
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert max(used) <= limit
    assert any(later < earlier for earlier, later in zip(used, used[1:], strict=False))


def test_a_window_that_never_fits_is_refused() -> None:
    policy = tiny_policy(history="interleaved", window_size=8, proprio_dim=0)
    policy.backbone.max_positions = 20
    stream, images = policy.stream(), episode(8)
    last = 3
    for now in range(last):
        step(policy, stream, images[:, now : now + 1], [[1, 20, 30]])
    with pytest.raises(PolicyError, match="more than the decoder's 20 positions"):
        step(policy, stream, images[:, last : last + 1], [[1, 20, 30]])


def test_the_text_in_every_frame_is_for_this_history_only() -> None:
    with pytest.raises(ConfigError, match="repeat_text is for history: interleaved"):
        tiny_policy(history="policy_head", window_size=2, repeat_text=True)
