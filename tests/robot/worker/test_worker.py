"""A model in its own process: answers, and what happens when it does not."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.messages import decode, read_message, write_message
from robovlms.robot.worker import Answer, ModelWorker, Question
from robovlms.robot.worker.models import make_model

HERE = Path(__file__).parent
IMAGES = {"front": np.full((2, 3, 3), 7, np.uint8)}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelWorker]]:
    """Start workers that find the models beside this file."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    started: list[ModelWorker] = []

    def start(
        model: str = "thinkers:Echo", timeout_s: float = 20.0, load_s: float = 20.0, **options: object
    ) -> ModelWorker:
        started.append(ModelWorker(model, options, timeout_s=timeout_s, load_timeout_s=load_s))
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
    model.wait_ready()
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
    model.wait_ready()
    assert why in (answer_of(model, Question(prompt=prompt, images=IMAGES)).error or "")
    assert answer_of(model, Question(prompt="well", images=IMAGES)).text == "well 7"
    assert model.restarts == 1


def test_a_stopped_process_blocks_nobody(worker) -> None:
    model = worker(timeout_s=0.3)
    model.wait_ready()
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


def test_a_child_of_a_model_keeps_nobody_waiting(worker) -> None:
    model = worker()
    assert answer_of(model, Question(prompt="fork", images=IMAGES)).text == "fork 7"
    start = time.monotonic()
    model.close()
    assert time.monotonic() - start < 1.0


def until_given_up(model: ModelWorker, within_s: float = 30.0) -> str:
    end = time.monotonic() + within_s
    while model.failure is None:
        assert time.monotonic() < end, "it is never given up"
        before = time.monotonic()
        model.ask(Question(prompt="die", images=IMAGES))
        model.poll()
        assert time.monotonic() - before < 0.3  # never waits
        time.sleep(0.005)
    assert model.poll() is None
    assert not model.ask(Question(images=IMAGES))
    return model.failure


@pytest.mark.parametrize("name", ["Dies", "NotLoadedTwice"])
def test_a_model_that_never_comes_back_is_given_up(worker, tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.setattr("robovlms.robot.worker.client._LONGEST_PAUSE_S", 0.05)
    model = worker(f"thinkers:{name}", mark=str(tmp_path / "mark"))
    model.wait_ready()
    model._load_timeout_s = 1.0
    assert "the model failed 5 times in a row, the last time: it" in until_given_up(model)
    assert model.restarts == 5


def test_another_policy_after_a_restart_is_not_asked(worker, tmp_path: Path) -> None:
    model = worker("thinkers:Changes", mark=str(tmp_path / "mark"))
    model.wait_ready()
    assert until_given_up(model) == "after a restart the model is another one: its contract has changed"
    assert model.contract_json == "{...}"


@pytest.mark.parametrize(
    ("model", "question", "why"),
    [
        ("thinkers:Echo", Question(prompt="read", images=IMAGES), "EOFError"),
        ("thinkers:Echo", Question(prompt="long", images=IMAGES), "an answer of 300000 characters"),
        ("thinkers:Drive", Question(instruction="half", images=IMAGES), "no plain value"),
        ("thinkers:Drive", Question(instruction="endless", images=IMAGES), "a chunk of 200000 numbers"),
        ("thinkers:Echo", Question(prompt="x", images={"a": np.zeros((5000, 5000, 3), np.uint8)}), "may have"),
    ],
)
def test_what_cannot_be_an_answer_is_an_error_and_no_restart(worker, model: str, question: Question, why: str) -> None:
    started = worker(model)
    bad = answer_of(started, question)
    assert why in (bad.error or "")
    assert (bad.text, bad.chunk) == (None, None)
    assert answer_of(started, Question(prompt="well", instruction="go", images=IMAGES)).error is None
    assert started.restarts == 0


def test_the_process_ends_with_who_started_it() -> None:
    """A brain that is killed while its model hangs leaves no model behind."""
    code = (
        "import os, numpy as np; from robovlms.robot.worker import ModelWorker, Question\n"
        "worker = ModelWorker('thinkers:Echo'); worker.wait_ready()\n"
        "worker.ask(Question(prompt='hang', images={'a': np.zeros((2, 2, 3), np.uint8)}))\n"
        "print(worker._link._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=30)
    pid, end = int(run.stdout), time.monotonic() + 10
    while _is_running(pid):
        assert time.monotonic() < end, "the model's process lives on"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()  # a zombie is only not yet collected
    except OSError:
        return False


@pytest.mark.parametrize("options", [{"day": object()}, {"day": {1, 2}}])
def test_options_that_cannot_be_handed_over(options) -> None:
    with pytest.raises(ConfigError, match="cannot be handed over"):
        ModelWorker("thinkers:Echo", options)


@pytest.mark.parametrize("seconds", [0.0, float("nan"), float("inf")])
def test_wrong_times(seconds: float) -> None:
    with pytest.raises(ConfigError, match="load_timeout_s must be positive and finite"):
        ModelWorker("thinkers:Echo", load_timeout_s=seconds)


def test_a_model_that_cannot_be_loaded_says_why(worker) -> None:
    with pytest.raises(SafetyError, match="there is no module 'nowhere'"):
        worker("nowhere:Model").wait_ready()


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
