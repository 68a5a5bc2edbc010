"""What a benchmark ran on: a figure means nothing without it."""

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def describe(repository: Path) -> dict[str, Any]:
    """Commit, date, processor, cores, and library versions; of torch only if it was used."""
    torch = sys.modules.get("torch")
    commit = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **({"torch": torch.__version__} if torch else {}),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
