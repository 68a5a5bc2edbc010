"""The robot's end of a model: asks one question at a time, never waits, and replaces a model that hangs or dies.

::

    start ──▶ loading ──▶ idle ──ask──▶ thinking ──answer──▶ idle
                 │                         │
                 └─────────────────────────┴──▶ too long, or its process ended: killed, counted, loading again
                                                five times without an answer between: given up, see `failure`

Replies come from the pipe of one process and carry the number of their question, so what a process says that was
replaced, or says late, is never taken for the answer to another question.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.messages import read_message, write_message

_LONGEST_PAUSE_S = 5.0
_MOST_FAILURES = 5  # in a row; then it is not a mishap
_END_S = 2.0  # a process that the system does not end, as one whose GPU hangs, is left behind
_MOST_CHARACTERS = 100_000  # of an answer
_MOST_NUMBERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a model is asked; a text model reads the prompt and the only image, a policy all the rest.

    Attributes:
        prompt: for a text model.
        images: camera -> uint8 [h, w, 3].
        instruction: for a policy.
        proprio: float32 [p]; None if there is none.
        observed_at: capture time of the images, s on the monotonic clock.
    """

    prompt: str = ""
    images: dict[str, np.ndarray] = field(default_factory=dict)
    instruction: str = ""
    proprio: np.ndarray | None = None
    observed_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        question: what was asked.
        text: of a text model.
        chunk: of a policy, [n, a].
        error: why there is neither; None if all went well.
        seconds: that the model thought.
    """

    question: Question
    text: str | None = None
    chunk: np.ndarray | None = None
    error: str | None = None
    seconds: float = 0.0


class ModelWorker:
    """A model in a process of its own. `ask`, `poll` and `is_idle` return at once.

    Args:
        model: name, as in `robovlms.robot.worker.models`.
        options: of the model; what JSON can hold.
        timeout_s: a question that takes longer is given up and the process replaced.
        load_timeout_s: longest time to load the model, also after a restart.
        clock: monotonic, s.

    Attributes:
        restarts: how often the process was taken down.
        failure: why there will be no more answers; None while there may be.
        kind: "text" or "chunk"; None before the model is loaded for the first time.
        contract_json: the policy's contract; None for a text model.

    Raises:
        ConfigError: if a time is not positive or an option is nothing that JSON can hold.
    """

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
        load_timeout_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("timeout_s", timeout_s), ("load_timeout_s", load_timeout_s)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"the model's {name} must be positive and finite, got {value}")
        self._command = [sys.executable, "-m", "robovlms.robot.worker", model, _json(options or {})]
        self._timeout_s, self._load_timeout_s, self._clock = timeout_s, load_timeout_s, clock
        self.restarts, self._failures = 0, 0
        self.failure: str | None = None
        self.kind: str | None = None
        self.contract_json: str | None = None
        self._number, self._start_again_at = 0, 0.0
        self._asked: tuple[int, Question, float] | None = None
        self._start()

    def wait_ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            SafetyError: if it is not loaded in time, or cannot be; says why.
        """
        self._link.has_spoken.wait(self._load_timeout_s)
        if self._link.error is not None:
            raise SafetyError(f"the model cannot be loaded: {self._link.error}")
        if not self._greet():
            raise SafetyError(f"the model was not loaded within {self._load_timeout_s:g} s")

    @property
    def is_idle(self) -> bool:
        """Whether the model is loaded and has nothing to do."""
        return self._asked is None and self._greet()

    def ask(self, question: Question) -> bool:
        """Ask; False if the model is busy or not there."""
        if not self.is_idle:
            return False
        self._number += 1
        self._link.send(self._plain(question))
        self._asked = (self._number, question, self._clock())
        return True

    def poll(self) -> Answer | None:
        """The answer, if there is one by now; also the news that there will be none."""
        if self._asked is None:
            self._revive()
            return None
        number, question, since = self._asked
        reply, seconds = self._link.reply_to(number), self._clock() - since
        if reply is not None:
            self._asked, self._failures = None, 0
            return _answer_of(question, reply)
        if seconds <= self._timeout_s and self._link.is_alive:
            return None
        why = f"no answer within {self._timeout_s:g} s" if self._link.is_alive else "the model's process ended"
        self._asked = None
        self._take_down(why)
        return Answer(question=question, error=why, seconds=seconds)

    def close(self) -> None:
        """End the process, thinking or not."""
        self._link.close()

    def _start(self) -> None:
        self._is_down, self._loading_since = False, self._clock()
        self._link = _Link(self._command)

    def _greet(self) -> bool:
        """Whether the model is loaded, and is the one that it was before a restart."""
        hello = None if self._is_down or self.failure is not None else self._link.greeting
        if hello is None:
            return False
        kind, contract_json = hello.get("kind"), hello.get("contract")
        if self.kind is not None and (kind, contract_json) != (self.kind, self.contract_json):
            self.failure = "after a restart the model is another one: its contract has changed"
            return False
        self.kind, self.contract_json = kind, contract_json
        return True

    def _take_down(self, why: str) -> None:
        self._link.kill()
        self.restarts += 1
        self._failures += 1
        self._is_down = True
        self._start_again_at = self._clock() + min(_LONGEST_PAUSE_S, 0.05 * 2**self._failures)
        if self._failures >= _MOST_FAILURES:
            self.failure = f"the model failed {self._failures} times in a row, the last time: {why}"

    def _revive(self) -> None:
        """Start a process again that ended, at a growing distance; never two at a time, a GPU has room for one."""
        if self.failure is not None:
            return
        if self._is_down:
            if self._clock() >= self._start_again_at and not self._link.is_alive:
                self._start()
        elif not self._link.is_alive:
            self._take_down(self._link.error or "its process ended")
        elif self._link.greeting is None and self._clock() - self._loading_since > self._load_timeout_s:
            self._take_down(f"it was not loaded within {self._load_timeout_s:g} s")

    def _plain(self, question: Question) -> dict[str, Any]:
        return {
            "id": self._number,
            "prompt": question.prompt,
            "images": question.images,
            "instruction": question.instruction,
            "proprio": question.proprio,
            "timestamp_s": question.observed_at,
        }


class _Link:
    """One process and the two threads that talk with it, so that nobody waits for it; the newest reply is kept."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.has_spoken = threading.Event()
        self.greeting: dict[str, Any] | None = None
        self.error: str | None = None
        self._is_killed = False
        self._reply: dict[str, Any] | None = None
        self._outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> None:
        self._outbox.put(message)

    def reply_to(self, number: int) -> dict[str, Any] | None:
        """The reply to a question, if it is the newest."""
        reply = self._reply
        return reply if reply is not None and reply.get("id") == number else None

    def kill(self) -> None:
        """End the process and those that it started; they hold the same pipes. Waits for nothing."""
        if self._is_killed:
            return  # its number may be another's by now
        self._is_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._outbox.put(None)

    def close(self) -> None:
        """Kill, and wait for the end, not forever."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        for thread in self._threads:
            thread.join(_END_S)

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        try:
            while (message := self._outbox.get()) is not None:
                try:
                    write_message(stream, message)
                except SafetyError as error:  # nothing of it was written
                    self._reply = {"id": message["id"], "error": str(error)}
        except OSError:
            self.kill()  # it reads no more; `poll` says so
        finally:
            with contextlib.suppress(OSError):  # what was left to flush has no reader
                stream.close()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            with stream:
                first = read_message(stream)
                if first is None or "error" in first:
                    self.error = "its process ended" if first is None else str(first["error"])
                    return
                self.greeting = first
                self.has_spoken.set()
                while (reply := read_message(stream)) is not None:
                    self._reply = reply
        except (SafetyError, OSError) as error:
            self.error = str(error)
            self.kill()
        finally:
            self.has_spoken.set()


def _json(options: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(options))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the model's options {dict(options)} cannot be handed over: {error}") from None


def _answer_of(question: Question, reply: dict[str, Any]) -> Answer:
    text, chunk, error = reply.get("text"), reply.get("chunk"), reply.get("error")
    is_fit = isinstance(text, str) or isinstance(chunk, np.ndarray)
    if error is None and not is_fit:
        error = f"neither text nor chunk in an answer with {sorted(reply)}"
    if isinstance(text, str) and len(text) > _MOST_CHARACTERS:
        error = f"an answer of {len(text)} characters; {_MOST_CHARACTERS} are read"
    if isinstance(chunk, np.ndarray) and chunk.size > _MOST_NUMBERS:
        error = f"a chunk of {chunk.size} numbers; {_MOST_NUMBERS} are read"
    seconds = reply.get("seconds")
    return Answer(
        question=question,
        text=text if error is None and isinstance(text, str) else None,
        chunk=chunk if error is None and isinstance(chunk, np.ndarray) else None,
        error=None if error is None else str(error),
        seconds=float(seconds) if isinstance(seconds, float) else 0.0,
    )
