"""The process in which a model thinks, so that whatever it does, the robot's own processes go on.

::

    stdin   {"id", "prompt", "images", "instruction", "proprio", "timestamp_s"}
    stdout  first {"kind": "text" | "chunk", "contract": JSON | null}, then per question
            {"id", "text" | "chunk", "seconds"}  or  {"id", "error"}

What a library prints goes to stderr, and what it reads from stdin is empty. The process ends when its stdin does, or
when who started it is gone.
"""

import json
import os
import threading
import time
from io import BufferedIOBase
from typing import Any

from robovlms.errors import SafetyError, one_line
from robovlms.robot.messages import read_message, write_message
from robovlms.robot.worker.models import ChunkModel, TextModel, make_model
from robovlms.types import Observation

_STDIN, _STDOUT, _STDERR = 0, 1, 2  # file descriptors


def main(arguments: list[str]) -> int:
    """Load a model and serve it: MODEL OPTIONS, the options as JSON."""
    threading.Thread(target=_end_without, args=(os.getppid(),), daemon=True).start()
    questions, replies = os.fdopen(os.dup(_STDIN), "rb"), os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)  # whatever reads, reads nothing
    os.dup2(_STDERR, _STDOUT)  # whatever prints, prints there
    name, options = arguments
    try:
        model = make_model(name, json.loads(options))
    except Exception as error:  # the robot's process must hear why, in one line
        write_message(replies, {"error": one_line(error)})
        return 1
    serve(model, questions, replies)
    return 0


def serve(model: TextModel | ChunkModel, questions: BufferedIOBase, replies: BufferedIOBase) -> None:
    """Answer until the questions end."""
    is_policy = isinstance(model, ChunkModel)
    contract = model.contract_json if is_policy else None
    write_message(replies, {"kind": "chunk" if is_policy else "text", "contract": contract})
    while (question := read_message(questions)) is not None:
        start = time.perf_counter()
        try:
            answer = _answer(model, question)
        except Exception as error:  # one bad answer is no reason to stop thinking; the robot holds meanwhile
            answer = {"error": one_line(error)}
        reply = {"id": question.get("id"), "seconds": time.perf_counter() - start}
        try:
            write_message(replies, {**reply, **answer})
        except SafetyError as error:  # what the model gave is too large or no plain value; nothing of it was written
            write_message(replies, {**reply, "error": str(error)})


def _answer(model: TextModel | ChunkModel, question: dict[str, Any]) -> dict[str, Any]:
    if isinstance(model, ChunkModel):
        keys = ("images", "proprio", "instruction", "timestamp_s")
        return {"chunk": model.chunk(Observation(**{key: question[key] for key in keys}))}
    (image,) = question["images"].values()
    return {"text": str(model.generate(question["prompt"], image))}


def _end_without(parent: int) -> None:
    """End this process, thinking or not, when another one is its parent."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
