"""What a run writes down: which of the things that happen go into its log, and how often."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from robovlms.errors import ConfigError
from robovlms.robot.action import RobotAction
from robovlms.robot.config import RobotConfig, dump_robot_config
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.records import CommandRecord
from robovlms.robot.log.writer import LogSettings, LogSummary, RunLog
from robovlms.robot.output.record import TickRecord
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer, Question


class RunRecord:
    """Writes a run to its log.

    Args:
        log: the file.
        images_hz: pictures per second that are kept of each camera.
    """

    def __init__(self, log: RunLog, images_hz: float) -> None:
        self._log = log
        self._images_every_s = 1 / images_hz if images_hz else float("inf")
        self._last_image_at = 0.0 if not images_hz else -float("inf")
        self._last_action = ""

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._log.path

    @property
    def failure(self) -> str:
        """Why the log cannot be written; empty if it can."""
        return self._log.failure

    @property
    def must_stop(self) -> bool:
        """The log failed, and the robot is not to go on without it."""
        return self._log.must_stop

    def question(self, question: Question) -> None:
        """What the model is asked."""
        self._log.text("prompt", question.prompt or question.instruction)

    def answer(self, answer: Answer) -> None:
        """What the model said."""
        chunk = "" if answer.chunk is None else json.dumps(answer.chunk.tolist())
        self._log.text("output", answer.error or answer.text or chunk)
        self._log.timing("model", answer.seconds)

    def decision(self, asked: RobotAction, action: RobotAction, observed_at: float, now: float) -> None:
        """What was decided, before and after the validator."""
        self._log.command(
            CommandRecord(command=asked, confidence=asked.confidence, observed_at_s=observed_at, now_s=now)
        )
        text = json.dumps(action.to_dict(), ensure_ascii=False)
        if text != self._last_action:
            self._log.text("action", text)
            self._last_action = text

    def tick(self, record: TickRecord) -> None:
        """What the shield was given and what it let through."""
        self._log.tick(record)

    def view(self, view: View) -> None:
        """Pictures, as often as is wanted."""
        if abs(view.observed_at - self._last_image_at) < self._images_every_s:  # a frozen view is a day older
            return
        self._last_image_at = view.observed_at
        for name, image in view.images.items():
            self._log.image(name, image, view.observed_at)

    def event(self, level: Literal["info", "error"], message: str) -> None:
        """What happened, for people."""
        self._log.event(level, message, "run")

    def close(self) -> LogSummary:
        """Finish the file."""
        return self._log.close()


def open_record(
    config: RobotConfig, fingerprints: dict[str, str], on_failure: Callable[[str], None]
) -> RunRecord | None:
    """Begin the log of a run; None if none is wanted.

    Raises:
        ConfigError: if the file cannot be made.
    """
    if config.log.folder is None:
        return None
    try:
        config.log.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"log.folder {config.log.folder}: {error.strerror}") from error
    name = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ.mcap")
    metadata = RunMetadata.of(
        dump_robot_config(config), body="base", limits=config.shield_limits.to_dict(), fingerprints=fingerprints
    )
    settings = LogSettings(when_it_fails=config.log.when_it_fails)
    return RunRecord(RunLog(config.log.folder / name, metadata, settings, on_failure), config.log.images_hz)
