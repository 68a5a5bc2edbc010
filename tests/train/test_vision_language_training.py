"""Conversations about images beside robot data: one step learns both, and a run resumes exactly."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robovlms.config import RunConfig
from robovlms.errors import DataError
from robovlms.model.vlm import build_vlm
from robovlms.train.datasets import build_data_module
from robovlms.train.metrics import read_metrics
from robovlms.train.run import train_from_config


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    """Six questions about pictures of one colour."""
    folder = tmp_path / "talk"
    folder.mkdir()
    lines = []
    for number, colour in enumerate(("red", "green", "blue") * 2):
        Image.new("RGB", (20, 10), colour).save(folder / f"{number}.png")
        turns = [{"from": "human", "value": "<image>What colour?"}, {"from": "gpt", "value": colour}]
        lines.append(json.dumps({"id": str(number), "image": f"{number}.png", "conversations": turns}))
    (folder / "talk.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "talk.jsonl"


@pytest.fixture
def talking_run(small_run: Callable[..., RunConfig], conversations: Path) -> Callable[..., RunConfig]:
    values = {"data.vision_language.path": str(conversations), "data.vision_language.batch_size": 3}
    return lambda **changes: small_run(**(values | changes))


def test_both_losses_fall(talking_run: Callable[..., RunConfig]) -> None:
    config = talking_run(**{"train.max_steps": 150, "train.save_every": 150, "data.vision_language.weight": 1.0})
    train_from_config(config, show_progress=False)
    rows = [row for row in read_metrics(config.train.out / "metrics.jsonl") if "loss_vision_language" in row]
    assert len(rows) == 150
    assert rows[-1]["loss_vision_language"] < 0.5 * rows[0]["loss_vision_language"]
    for row in rows:
        arm = row["loss_arm"] + config.model.gripper_loss_weight * row["loss_gripper"]
        assert row["loss"] == pytest.approx(arm + row["loss_vision_language"], rel=1e-4)


def test_a_resumed_run_sees_the_same_conversations(talking_run: Callable[..., RunConfig]) -> None:
    config = talking_run()
    data = build_data_module(config, build_vlm(config.model.vlm))
    whole = list(islice(data.vision_language_batches(), 6))
    resumed = list(islice(data.vision_language_batches(start_step=2), 4))
    for first, second in zip(whole[2:], resumed, strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.input_ids, second.input_ids)
    colours = {tuple(image[:, 0, 0].tolist()) for batch in whole[:2] for image in batch.images}
    assert len(colours) == 3
    workers = build_data_module(talking_run(**{"data.num_workers": 2}), build_vlm(config.model.vlm))
    for first, second in zip(whole, workers.vision_language_batches(), strict=False):
        assert torch.equal(first.images, second.images)


def test_bad_pictures_are_replaced_and_counted(talking_run: Callable[..., RunConfig], conversations: Path) -> None:
    (conversations.parent / "1.png").write_bytes(b"no picture")
    config = talking_run(**{"data.bad_budget": 0.2})
    data = build_data_module(config, build_vlm(config.model.vlm))
    batches = list(islice(data.vision_language_batches(), 4))
    assert all(len(batch) == 3 for batch in batches)
    (bad,) = data.quarantine.found.values()
    assert (bad.dataset, bad.window) == (-1, 1)
    assert "1.png" in bad.reason
    strict = build_data_module(talking_run(), build_vlm(config.model.vlm))
    with pytest.raises(DataError, match=r"cannot be read.*talk.jsonl.*1.png"):
        list(islice(strict.vision_language_batches(), 4))


def test_answers_reach_the_decoder(talking_run: Callable[..., RunConfig]) -> None:
    config = talking_run(**{"train.max_steps": 1, "train.save_every": 1, "train.warmup_steps": 0})
    with_answers = train_from_config(config, show_progress=False)
    plain = talking_run(
        **{"train.max_steps": 1, "train.save_every": 1, "train.warmup_steps": 0, "data.vision_language.path": None,
           "train.out": str(config.train.out) + "_plain"}
    )  # fmt: skip
    without = train_from_config(plain, show_progress=False)
    differing = [
        name for name, value in with_answers.state_dict().items() if not torch.equal(value, without.state_dict()[name])
    ]
    assert any(name.startswith("backbone.") for name in differing)
    assert np.isfinite(sum(value.sum().item() for value in with_answers.state_dict().values()))
