"""A model in its own process: answers, and what happens when it does not."""

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.worker import Answer, ModelWorker, Question
from robovlms.robot.messages import decode, read_message, write_message
from robovlms.robot.worker.models import make_model

HERE = Path(__file__).parent
IMAGES = {"front": np.full((2, 3, 3), 7, np.uint8)}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelWorker]]:
    """Start workers that find the models beside this file."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    started: list[ModelWorker] = []

    def start(model: str = "thinkers:Echo", timeout_s: float = 20.0, **options: object) -> ModelWorker:
        started.append(ModelWorker(model, options, timeout_s=timeout_s))
        return started[-1]

    yield start
    for one in started:
        one.close()


def answer_of(worker: ModelWorker, question: Question, within_s: float = 20.0) -> Answer:
    end = time.monotonic() + within_s
    while not worker.ask(question):
        assert time.monotonic() < end, "the worker takes no question"
        worker.poll()
        time.sleep(0.01)
    while (answer := worker.poll()) is None:
        assert time.monotonic() < end, "no answer"
        time.sleep(0.005)
    return answer


def test_text(worker) -> None:
    model = worker(prefix=">")
    model.wait_ready(20)
    assert model.kind == "text"
    answer = answer_of(model, Question(prompt="앞으로", images=IMAGES, observed_at=1.5))
    assert (answer.text, answer.error, answer.question.observed_at) == (">앞으로 7", None, 1.5)


def test_chunks(worker) -> None:
    model = worker("thinkers:Drive")
    answer = answer_of(model, Question(images=IMAGES, instruction="go", observed_at=2.0))
    assert (model.kind, model.contract_json) == ("chunk", "{}")
    np.testing.assert_array_equal(answer.chunk, np.full((3, 2), 3.0, np.float32))


def test_a_model_that_raises_goes_on(worker) -> None:
    model = worker()
    assert answer_of(model, Question(prompt="raise", images=IMAGES)).error == "ValueError: two lines"
    assert answer_of(model, Question(prompt="well", images=IMAGES)).text == "well 7"
    assert model.restarts == 0


@pytest.mark.parametrize(("prompt", "why"), [("hang", "no answer within 0.5 s"), ("die", "process ended")])
def test_a_model_that_hangs_or_dies_is_replaced(worker, prompt, why) -> None:
    model = worker(timeout_s=0.5)
    model.wait_ready(20)
    assert why in (answer_of(model, Question(prompt=prompt, images=IMAGES)).error or "")
    assert answer_of(model, Question(prompt="well", images=IMAGES)).text == "well 7"
    assert model.restarts == 1


def test_a_stopped_process_blocks_nobody(worker) -> None:
    model = worker(timeout_s=0.3)
    model.wait_ready(20)
    os.kill(model._link._process.pid, signal.SIGSTOP)
    large = {"front": np.zeros((1000, 1000, 3), np.uint8)}  # more than a pipe holds
    start = time.monotonic()
    assert model.ask(Question(prompt="well", images=large))
    assert time.monotonic() - start < 0.2
    assert not model.ask(Question(prompt="well", images=large))
    while (answer := model.poll()) is None:
        time.sleep(0.01)
    assert answer.error == "no answer within 0.3 s"
    assert time.monotonic() - start < 5


def test_a_model_that_cannot_be_loaded_says_why(worker) -> None:
    with pytest.raises(SafetyError, match="there is no module 'nowhere'"):
        worker("nowhere:Model").wait_ready(20)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("polcy", {}, "did you mean 'policy'"),
        ("thinkers:Ecko", {}, "has no 'Ecko'"),
        ("thinkers:Echo", {"sufix": 1}, "does not take the options"),
        ("thinkers:Nothing", {}, "neither generate"),
    ],
)
def test_wrong_models(monkeypatch, name, options, message) -> None:
    monkeypatch.syspath_prepend(HERE)
    with pytest.raises(ConfigError, match=message):
        make_model(name, options)


def test_messages_round_trip() -> None:
    stream = io.BytesIO()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_message(stream, {"a": array, "b": [1, None, "ü", 0.1], "c": np.float64(0.5)})
    stream.write(b"\x00\x00\x00\x09cut")
    stream.seek(0)
    message = read_message(stream)
    assert message is not None
    np.testing.assert_array_equal(message["a"], array)
    assert (message["b"], message["c"]) == ([1, None, "ü", 0.1], 0.5)
    assert read_message(stream) is None


@pytest.mark.parametrize(
    "body",
    [
        b"\x93\x01\x02\x03",
        b"\xc1",
        b"\x81\xa1a",
        b"\x81\xa1a\xc7\x01\x05x",
        b"\x81\x01\x02",
        b"\x81\xa9__array__\xa6object",
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(SafetyError):
        decode(body)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [("uint8", [2**40], 1), ("uint8", [-1], 1), ("object", [1], 8), ("float32", [2], 7)]
)
def test_wrong_arrays_take_no_memory(dtype, shape, size) -> None:
    import msgpack

    body = msgpack.packb({"a": {"__array__": dtype, "shape": shape, "data": bytes(size)}})
    with pytest.raises(SafetyError, match="array"):
        decode(body)


def test_too_large_is_not_read() -> None:
    with pytest.raises(SafetyError, match="announced"):
        read_message(io.BytesIO(b"\xff\xff\xff\xff"))
