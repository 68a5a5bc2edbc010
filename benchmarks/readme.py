"""Puts the result of `robovlms demo` into README: table, machine, date, and the picture.

bash scripts/demo.sh
.venv/bin/python -m benchmarks.readme --demo runs/demo --json benchmarks/results/demo.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from machine import describe
from PIL import Image

from robovlms.evaluate.report import percent
from robovlms.evaluate.rollout import read_episodes
from robovlms.evaluate.statistics import SuccessRate, success_rates

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- demo table -->", "<!-- end of demo table -->"
SIDE_PX, PAUSE_FRAMES = 192, 12


def result_of(demo: Path) -> dict[str, Any]:
    """Success rates, timings and machine of a finished demo."""
    episodes = sorted(read_episodes(demo / "episodes.jsonl"), key=lambda line: line["task"])
    rates = success_rates((line["task"], line["success"], line["steps"]) for line in episodes)
    rows = [
        {"task": r.name, "successes": r.successes, "trials": r.trials, "mean_steps": round(r.mean_steps, 1)}
        for r in rates
    ]
    timings = json.loads((demo / "timings.json").read_text())
    filmed = {line["task"]: line["success"] for line in episodes if line["seed"] == min(e["seed"] for e in episodes)}
    instructions = {line["task"]: line["instruction"] for line in episodes}
    return {"rates": rows, "instructions": instructions, "filmed": filmed, "seconds": timings, **describe(ROOT)}


def table_of(result: dict[str, Any]) -> str:
    """Markdown of the result."""
    lines = ["| task | told | solved | 95 % interval | mean steps |", "|---|---|---|---|---|"]
    for row in result["rates"]:
        rate = SuccessRate(name=row["task"], **{key: row[key] for key in ("successes", "trials", "mean_steps")})
        low, high = (percent(bound) for bound in rate.interval)
        told = result["instructions"].get(rate.name)
        solved = f"{rate.successes}/{rate.trials} = {percent(rate.rate)}"
        lines.append(
            f"| {rate.name} | {f'“{told}”' if told else ''} | {solved} | {low} – {high} | {rate.mean_steps:.0f} |"
        )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in result["seconds"].items())
    machine = f"{result['cores']} cores of {result['processor']}, no GPU" if not result["gpu"] else result["gpu"]
    return "\n".join(
        [
            *lines,
            "",
            "The picture shows the first episode of each task: "
            + ", ".join(f"{task} {'solved' if ok else 'not solved'}" for task, ok in result["filmed"].items())
            + ".",
            "",
            f"Measured on {result['date']} with `bash scripts/demo.sh` (seed 0) on {machine}, "
            f"PyTorch {result['torch']}; {seconds}. Intervals: Wilson.",
        ]
    )


def fill(readme: Path, table: str) -> None:
    """Replace what stands between the two markers."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def write_picture(films: list[Path], path: Path) -> None:
    """Four films side by side as one GIF; each waits in its last frame until all are over."""
    clips = []
    for film in films:
        with av.open(str(film)) as container:
            clips.append(
                [f.to_ndarray(format="rgb24", width=SIDE_PX, height=SIDE_PX) for f in container.decode(video=0)]
            )
    length = max(len(clip) for clip in clips) + PAUSE_FRAMES
    rows = [np.concatenate([clip[min(i, len(clip) - 1)] for clip in clips], axis=1) for i in range(0, length, 2)]
    pictures = [Image.fromarray(row).quantize(255, dither=Image.Dither.NONE) for row in rows]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0, optimize=True)


def main() -> None:
    """Fill README and write the result."""
    parser = argparse.ArgumentParser(description="Put the demo's result into README.")
    parser.add_argument("--demo", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args()
    result = result_of(arguments.demo)
    fill(ROOT / "README.md", table_of(result))
    write_picture(sorted((arguments.demo / "videos").glob("*.mp4")), ROOT / "docs" / "rollout.gif")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
