"""What it costs to understand a command: milliseconds per text, over the project's own corpora.

    python benchmarks/parse.py --json OUT

Each text is parsed once to warm up and then `REPEATS` times, all texts in turn; the whole of `parse_sequence` counts,
the search for the answer in a model's output included. Texts over `LONGEST` characters are reported apart.
"""

import json
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from machine import describe

from robovlms.robot.parser import VLAActionParser

DATA = Path(__file__).parents[1] / "tests" / "robot" / "data"
LONGEST, REPEATS = 200, 9


def texts_of(language: str) -> list[str]:
    """The texts of a corpus."""
    lines = (DATA / f"blind_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def milliseconds(parser: VLAActionParser, texts: list[str]) -> np.ndarray:
    """Time of each call, [REPEATS, texts]."""
    for text in texts:
        parser.parse_sequence(text)
    return np.array([[_time(parser, text) for text in texts] for _ in range(REPEATS)])


def _time(parser: VLAActionParser, text: str) -> float:
    start = time.perf_counter()
    parser.parse_sequence(text)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Measure and report."""
    flags = ArgumentParser(description=__doc__)
    flags.add_argument("--json", type=Path)
    out = flags.parse_args().json
    start = time.perf_counter()
    parser = VLAActionParser()
    report: dict[str, object] = {"construction_ms": round(1000 * (time.perf_counter() - start), 1)}
    for language in ("english", "korean"):
        texts = texts_of(language)
        short = milliseconds(parser, [text for text in texts if len(text) <= LONGEST])
        long = milliseconds(parser, [text for text in texts if len(text) > LONGEST])
        report[language] = {
            "texts": short.shape[1],
            "p50_ms": round(float(np.median(short)), 3),
            "p99_ms": round(float(np.quantile(short, 0.99)), 3),
            "max_of_medians_ms": round(float(np.median(short, axis=0).max()), 3),
            "longest_text_ms": round(float(np.median(long, axis=0).max()), 3) if long.size else None,
        }
    report |= describe(Path(__file__).parents[1])
    print(json.dumps(report, indent=2))
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
