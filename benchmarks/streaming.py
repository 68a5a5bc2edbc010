"""What history costs, and what the policy adds to the VLM.

    python benchmarks/streaming.py --json OUT --docs docs/choosing_a_policy.md

1. Streaming: the time of one control step at window 16 over that at window 1, once the window is full. Targets: policy
   head at most 1.15, interleaved at most 1.3.
2. Heads and histories: the time of one control step at window 8, and the trained parameters of each.
3. Training: forward and backward of the policy over forward and backward of the bare transformers modules on the same
   pictures and on as many tokens. Target: at most 1.1.

A mid-size random Kosmos-2, so that computing dominates; what is compared runs in turn, step by step, so that a drifting
machine slows both alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import Tensor, nn

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import ModelConfig, VLMConfig
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import build_policy

ROOT = Path(__file__).parents[1]
SIZE_PX, TEXT_TOKENS, WINDOW, CHUNK = 112, 16, 16, 10
VLM = VLMConfig(
    name="kosmos",
    overrides={
        "text_config": {
            "vocab_size": 8192, "embed_dim": 512, "layers": 10, "ffn_dim": 2048, "attention_heads": 8,
        },
        "vision_config": {
            "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 6,
            "image_size": SIZE_PX, "patch_size": 14,
        },
    },
)  # fmt: skip
CASES = {
    "policy_head": {"history": "policy_head", "head": "lstm"},
    "interleaved": {"history": "interleaved", "head": "fc"},
}
STEP_CASES = {
    "one_step, fc": {"history": "one_step", "head": "fc"},
    "one_step, fc, flow_matching": {"history": "one_step", "head": "fc", "decoder": "flow_matching"},
    "one_step, l1_chunk": {"history": "one_step", "head": "l1_chunk"},
    "one_step, discrete": {"history": "one_step", "head": "discrete"},
    "policy_head, lstm": {"history": "policy_head", "head": "lstm"},
    "policy_head, gpt": {"history": "policy_head", "head": "gpt"},
    "interleaved, fc": {"history": "interleaved", "head": "fc"},
    "interleaved, fc, repeat_text": {"history": "interleaved", "head": "fc", "repeat_text": True},
    "video, fc": {"history": "video", "head": "fc"},
}
STEP_WINDOW = 8
BEGIN, END = "<!-- costs -->", "<!-- end of costs -->"
TARGETS = {"policy_head": 1.15, "interleaved": 1.3}
TRAINING_TARGET = 1.1


def build(model: dict[str, Any], window: int) -> BaseRoboVLM:
    """A policy with these values of `ModelConfig`."""
    dimensions = [ActionDimension(name=name, unit="1", low=-1.0, high=1.0) for name in "abcdef"]
    gripper = ActionDimension(name="gripper", unit="1", low=0.0, high=1.0, kind="gripper")
    space = ActionSpace(
        dimensions=(*dimensions, gripper), frame="tcp", is_delta=True, gripper_opens="positive", control_hz=30.0
    )
    torch.manual_seed(0)
    config = ModelConfig(
        vlm=VLM, window_size=window, fwd_pred_next_n=CHUNK, head_hidden_size=256, use_proprio=False, **model
    )
    return build_policy(config, space, 0)


def control_step(policy: BaseRoboVLM) -> Callable[[], None]:
    """One control step of a stream whose window is full."""
    stream = policy.eval().stream()
    frame = torch.randint(0, 256, (1, 1, 1, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    ids, seen = torch.randint(3, 250, (1, TEXT_TOKENS)), torch.ones(1, 1, 1, dtype=torch.bool)

    def step() -> None:
        with torch.inference_mode():
            text = torch.ones_like(ids, dtype=torch.bool)
            frames = policy.encode(frame, seen, ids, text, torch.zeros(1, 1, 0), seen[0])
            policy.predict(*stream.step(frames, [0]))

    for _ in range(policy.config.window_size + 1):
        step()
    return step


def policy_step(policy: BaseRoboVLM, images: Tensor, ids: Tensor) -> Callable[[], None]:
    """Forward and backward of a policy."""
    actions = torch.rand(*images.shape[:2], CHUNK, 7)

    def step() -> None:
        policy.zero_grad(set_to_none=True)
        policy(images, ids, actions=actions).loss["total_loss"].backward()

    return step


def bare_step(policy: BaseRoboVLM, images: Tensor, num_rows: int, length: int) -> Callable[[], None]:
    """Forward and backward of vision tower and decoder as transformers offers them."""
    backbone = policy.backbone
    pixels, decoder = backbone.preprocess(images.flatten(0, 1)), backbone.text_tower
    headless: nn.Module = backbone.model
    features = backbone._inputs.features

    def step() -> None:
        headless.zero_grad(set_to_none=True)
        tokens = features(pixel_values=pixels).pooler_output
        filler = torch.zeros(num_rows, length - tokens.numel() // num_rows // tokens.shape[-1], tokens.shape[-1])
        embeds = torch.cat([tokens.reshape(num_rows, -1, tokens.shape[-1]), filler], dim=1)
        mask = torch.ones(num_rows, length, dtype=torch.int64)
        decoder(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state.sum().backward()

    return step


def seconds(step: Callable[[], None], count: int) -> float:
    """Mean wall time."""
    begin_s = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin_s) / count


def compare(one: Callable[[], None], other: Callable[[], None], pairs: int) -> tuple[float, float, float]:
    """Median times of both, one step each in turn, and the median of the ratios one ÷ other of neighbouring steps."""
    for step in (one, other):
        seconds(step, 2)
    times = [(seconds(one, 1), seconds(other, 1)) for _ in range(pairs)]
    ones, others = zip(*times, strict=True)
    return statistics.median(ones), statistics.median(others), statistics.median(a / b for a, b in times)


def measure_streaming(case: str, rounds: int) -> dict[str, float]:
    """Control step at the full window against window 1."""
    steps = [control_step(build(CASES[case], window)) for window in (WINDOW, 1)]
    full_s, single_s, ratio = compare(*steps, 10 * rounds)
    return {"step_ms": full_s * 1e3, "single_frame_step_ms": single_s * 1e3, "ratio": ratio}


def measure_steps(rounds: int) -> dict[str, float]:
    """Milliseconds of one control step of each case, all in turn."""
    steps = {
        name: control_step(build(model, 1 if model["history"] == "one_step" else STEP_WINDOW))
        for name, model in STEP_CASES.items()
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, 3) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_training(case: str, rounds: int, batch_size: int = 2) -> dict[str, float]:
    """Training step of the policy against the bare modules."""
    policy = build(CASES[case], 8).train()
    images = torch.randint(0, 256, (batch_size, 8, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    ids = torch.randint(3, 250, (batch_size, TEXT_TOKENS))
    with torch.inference_mode():
        k = policy.encode_images(images).shape[2]
    if case == "interleaved":
        rows, length = batch_size, TEXT_TOKENS + 8 * (k + 1)
    else:
        rows, length = batch_size * 8, k + TEXT_TOKENS + 1
    steps = policy_step(policy, images, ids), bare_step(build(CASES[case], 8).train(), images, rows, length)
    full_s, bare_s, ratio = compare(*steps, rounds)
    return {"step_ms": full_s * 1e3, "bare_step_ms": bare_s * 1e3, "ratio": ratio}


def costs_of(result: dict[str, Any]) -> str:
    """Markdown of the result."""
    machine = result["gpu"] or f"{result['cores']} cores of {result['processor']}, no GPU"
    ratios = {name: result[name]["ratio"] for name in result if name.startswith(("streaming_", "training_"))}
    rows = [f"| `{name}` | {ms:.0f} |" for name, ms in result["control_step_ms"].items()]
    lines = [
        f"One control step: a picture in, a chunk of {CHUNK} actions of 7 numbers out, with a random Kosmos-2 of "
        f"{result['parameters'] / 1e6:.0f} M parameters at {SIZE_PX} px and a window of {STEP_WINDOW} frames that is "
        f"full. Measured on {result['date']} with `python benchmarks/streaming.py` on {machine}, "
        f"PyTorch {result['torch']}.",
        "",
        "| history, head | ms per control step |",
        "|---|---|",
        *rows,
        "",
        f"A step does not become more expensive as the history grows: window {WINDOW} over window 1 takes "
        f"{ratios['streaming_policy_head']:.2f} × the time for the policy head and "
        f"{ratios['streaming_interleaved']:.2f} × for interleaved. In training, the policy takes "
        f"{ratios['training_policy_head']:.2f} × (policy head) and "
        f"{ratios['training_interleaved']:.2f} × (interleaved) "
        "the time of forward and backward of the bare transformers modules on as many tokens.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print; write JSON if asked."""
    parser = argparse.ArgumentParser(description="Cost of history and of the policy around the VLM.")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--docs", type=Path, help="Markdown file to put the result into, between its markers")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    parameters = sum(parameter.numel() for parameter in build(CASES["policy_head"], 1).parameters())
    result: dict[str, Any] = {"parameters": parameters, "window": WINDOW}
    for case in CASES:
        result[f"streaming_{case}"] = {**measure_streaming(case, arguments.rounds), "target": TARGETS[case]}
        result[f"training_{case}"] = {**measure_training(case, arguments.rounds), "target": TRAINING_TARGET}
    result["control_step_ms"] = measure_steps(arguments.rounds)
    result |= describe(ROOT)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.docs:
        before, _, rest = arguments.docs.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        arguments.docs.write_text(f"{before}{BEGIN}\n{costs_of(result)}\n{END}{after}")


if __name__ == "__main__":
    main()
