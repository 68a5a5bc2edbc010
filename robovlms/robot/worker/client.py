"""The robot's end of a model: asks one question at a time, never waits, and replaces a model that hangs or dies.

::

    start ──▶ loading ──▶ idle ──ask──▶ thinking ──answer──▶ idle
                 │                         │ longer than timeout_s, or the process ended
                 └── error: ModelError     └──▶ killed, counted, loading again
"""

import contextlib
import json
import queue
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
    """A model in a process of its own.

    Args:
        model: name, as in `robovlms.robot.worker.models`.
        options: of the model.
        timeout_s: a question that takes longer is given up and the process replaced.
        clock: monotonic, s.

    Attributes:
        restarts: how often the process was replaced.
        kind: "text" or "chunk"; None while the model is loading.
        contract_json: the policy's contract; None for a text model or while loading.
    """

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigError(f"the model's timeout_s must be positive, got {timeout_s}")
        self._command = [sys.executable, "-m", "robovlms.robot.worker", model, json.dumps(dict(options or {}))]
        self._timeout_s, self._clock = timeout_s, clock
        self.restarts = 0
        self.kind: str | None = None
        self.contract_json: str | None = None
        self._number, self._start_again_at = 0, 0.0
        self._asked: tuple[int, Question, float] | None = None
        self._start()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the model is loaded.

        Raises:
            SafetyError: if it is not loaded in time, or cannot be; says why.
        """
        self._link.has_spoken.wait(timeout_s)
        if self._link.error is not None:
            raise SafetyError(f"the model cannot be loaded: {self._link.error}")
        if not self._link.has_spoken.is_set():
            raise SafetyError(f"the model was not loaded within {timeout_s:g} s")
        self._greet()

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
            self._asked = None
            return _answer_of(question, reply)
        if seconds <= self._timeout_s and self._link.is_alive:
            return None
        why = f"no answer within {self._timeout_s:g} s" if self._link.is_alive else "the model's process ended"
        self._asked = None
        self._take_down()
        return Answer(question=question, error=why, seconds=seconds)

    def close(self) -> None:
        """End the process, thinking or not."""
        self._link.close()

    def _start(self) -> None:
        self.kind, self._is_down = None, False
        self._link = _Link(self._command)

    def _greet(self) -> bool:
        hello = None if self._is_down else self._link.greeting
        if hello is None:
            return False
        self.kind, self.contract_json = hello.get("kind"), hello.get("contract")
        return True

    def _take_down(self) -> None:
        self._link.close()
        self.restarts += 1
        self._is_down, self.kind = True, None
        self._start_again_at = self._clock() + min(_LONGEST_PAUSE_S, 0.05 * 2 ** min(self.restarts, 10))

    def _revive(self) -> None:
        """Start a process again that ended, at a growing distance."""
        if self._is_down:
            if self._clock() >= self._start_again_at:
                self._start()
        elif not self._link.is_alive:
            self._take_down()

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

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        try:
            while (message := self._outbox.get()) is not None:
                write_message(stream, message)
        except OSError:
            self._process.kill()  # it reads no more; `poll` says so
        except SafetyError as error:
            self._reply = {"id": message and message["id"], "error": str(error)}
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
            self._process.kill()
        finally:
            self.has_spoken.set()


def _answer_of(question: Question, reply: dict[str, Any]) -> Answer:
    text, chunk, error = reply.get("text"), reply.get("chunk"), reply.get("error")
    is_fit = isinstance(text, str) or isinstance(chunk, np.ndarray)
    if error is None and not is_fit:
        error = f"neither text nor chunk in an answer with {sorted(reply)}"
    seconds = reply.get("seconds")
    return Answer(
        question=question,
        text=text if isinstance(text, str) else None,
        chunk=chunk if isinstance(chunk, np.ndarray) else None,
        error=None if error is None else str(error),
        seconds=float(seconds) if isinstance(seconds, float) else 0.0,
    )
