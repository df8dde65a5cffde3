"""What a worker says while Kafka is away, with the real client and nobody at the other end; and what
following releases brings into a process.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from infra.local import ports
from schemas import topics
from schemas.errors import HeadgateError
from schemas.settings import Settings
from serving.follower import Follower
from serving.steering import Voice


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Voice:
    monkeypatch.setattr("streams.log.DELIVERY", 100)  # ms until a record counts as not delivered
    caplog.set_level("INFO")
    nowhere = msgspec.structs.replace(Settings().kafka, brokers=f"127.0.0.1:{ports.free()}")
    return Voice(msgspec.structs.replace(Settings(), kafka=nowhere), "w1", lambda: 1_700_000_000_000.0)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said_again(voice: Voice, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has about it, after one more try."""
    voice.mend()
    return [one.getMessage() for one in caplog.records if "said again" in one.getMessage()]


def test_what_was_not_heard_is_said_again_and_again_of_each_key_the_last_word(
    voice: Voice, caplog: pytest.LogCaptureFixture
) -> None:
    voice.publish(topics.PROFILES, "ranker/v1", b"{}")
    voice.acknowledge("ranker", 1, "loading", [])
    voice.acknowledge("ranker", 1, "applied", ["v1"])
    until(lambda: len(said_again(voice, caplog)) >= 4)
    assert Counter(said_again(voice, caplog)[:4]) == {
        "control.profiles (ranker/v1) is said again: Kafka has not taken it": 2,
        "control.acks (ranker) is said again: Kafka has not taken it": 2,
    }


def test_what_a_lost_client_has_not_delivered_is_said_again(
    voice: Voice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.log.STALLED", 0.0)
    monkeypatch.setattr("streams.log.DELIVERY", 120_000)
    monkeypatch.setattr("streams.sight.is_lost", lambda client, settings: True)
    voice = Voice(voice._output._settings, "w1", lambda: 0.0)
    voice.publish(topics.PROFILES, "ranker/v1", b"{}")
    until(lambda: said_again(voice, caplog) != [])
    assert "control.profiles (ranker/v1) is said again" in caplog.text
    assert "lost sight of all brokers" in caplog.text


def test_saying_something_and_trying_again_never_wait(voice: Voice, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    voice.acknowledge("ranker", 1, "applied", ["v1"])
    voice.beat("ranker", 1, ["v1"])
    voice.mend()
    assert time.monotonic() - started < 5


def test_a_heartbeat_that_was_not_heard_is_not_said_again(
    voice: Voice, caplog: pytest.LogCaptureFixture
) -> None:
    voice.beat("ranker", 1, ["v1"])
    voice.publish(topics.PROFILES, "ranker/v1", b"{}")
    until(lambda: len(said_again(voice, caplog)) >= 2)
    assert "control.acks" not in caplog.text


def test_serving_with_something_else_imports_neither_onnx_runtime_nor_compiled_code_nor_faust() -> None:
    heavy = "{'onnxruntime', 'numba', 'numpy', 'faust', 'prometheus_client'}"
    program = f"import sys, serving.follower, serving.responder; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout == "[]\n"


def test_one_name_in_place_of_several_is_not_taken_for_its_letters() -> None:
    with pytest.raises(HeadgateError, match=r"models: found the text 'ranker', expected a list of names"):
        Follower(Settings(), "ranker", lambda wish: [])
