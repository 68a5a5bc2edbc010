"""What a run was: its configuration, its limits, the software, and when it began."""

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from robovlms.errors import DataError

FORMAT = "1"  # of the log; a reader refuses another one
_PACKAGES = ("robovlms", "numpy", "mcap", "msgpack", "pillow")


def software_versions() -> dict[str, str]:
    """Version of what decides the numbers of a run."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@dataclass(frozen=True, kw_only=True)
class RunMetadata:
    """Written at the head of the file, so that a cut file still has it.

    Attributes:
        body: which shield: of a base, or of an arm.
        limits: `to_dict` of the limits of that shield; a replay rebuilds the shield from them alone.
        measured: of an arm: where its joints were when the shield was made, rad or m; None if it was not told.
        config_yaml: the robot's configuration as text, with the home folder of the user as "~".
        config_sha256: SHA-256 of the text before that, as `sha256sum` of the file gives it.
        fingerprints: what else decides the run, for example the hash of a checkpoint's contract.
        versions: of the software.
        started_unix_ns: wall clock at the start, ns since 1970.
        started_monotonic_ns: monotonic clock of the machine at the same moment, ns.
    """

    body: Literal["base", "arm"]
    limits: Mapping[str, Any]
    measured: tuple[float, ...] | None = None
    config_yaml: str = ""
    config_sha256: str = ""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=software_versions)
    started_unix_ns: int = field(default_factory=time.time_ns)
    started_monotonic_ns: int = field(default_factory=time.monotonic_ns)

    @classmethod
    def of(cls, config_yaml: str, **fields: Any) -> "RunMetadata":
        """Metadata of a run with this configuration: hashes it, and takes the user's home out of it."""
        digest = hashlib.sha256(config_yaml.encode()).hexdigest()
        return cls(config_yaml=without_home(config_yaml), config_sha256=digest, **fields)

    def log_time_ns(self, monotonic_ns: int) -> int:
        """Unix time of a moment of the monotonic clock, ns: keeps order and distances whatever the wall clock does."""
        return self.started_unix_ns + monotonic_ns - self.started_monotonic_ns

    def to_texts(self) -> dict[str, str]:
        """Texts, as an MCAP file keeps them; inverse of `from_texts`. A float keeps every bit."""
        return {
            "format": FORMAT,
            "body": self.body,
            "limits": json.dumps(dict(self.limits), allow_nan=False),
            "measured": json.dumps(self.measured, allow_nan=False),
            "config_yaml": self.config_yaml,
            "config_sha256": self.config_sha256,
            "fingerprints": json.dumps(dict(self.fingerprints)),
            "versions": json.dumps(dict(self.versions)),
            "started_unix_ns": str(self.started_unix_ns),
            "started_monotonic_ns": str(self.started_monotonic_ns),
        }

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "RunMetadata":
        """Inverse of `to_texts`.

        Raises:
            DataError: if this is another format, or a value is missing or damaged.
        """
        if texts.get("format") != FORMAT:
            raise DataError(f"log of a run: expected format {FORMAT}, got {texts.get('format')!r}")
        try:
            if texts["body"] not in ("base", "arm"):
                raise ValueError(f"body {texts['body']!r} is neither base nor arm")
            measured = json.loads(texts["measured"])
            return cls(
                body=texts["body"],
                limits=json.loads(texts["limits"]),
                measured=None if measured is None else tuple(measured),
                config_yaml=texts["config_yaml"],
                config_sha256=texts["config_sha256"],
                fingerprints=json.loads(texts["fingerprints"]),
                versions=json.loads(texts["versions"]),
                started_unix_ns=int(texts["started_unix_ns"]),
                started_monotonic_ns=int(texts["started_monotonic_ns"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"log of a run: damaged metadata: {type(error).__name__}: {error}") from None


def without_home(text: str) -> str:
    """The text with the path of the user's home folder as "~"."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
