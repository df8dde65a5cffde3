"""The local stack as a whole: it comes up, it is found busy where it is, and nothing of it is left behind."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from infra.local import ports
from infra.local.stack import LOCK, PREFIX, LocalStack, remove_left
from schemas import settings
from schemas.errors import HeadgateError
from schemas.settings import Settings

HOLDER = """
import signal, sys, threading
from pathlib import Path
from infra.local.stack import LocalStack

with LocalStack(Path(sys.argv[1])):
    print("up", flush=True)
    threading.Event().wait()
"""

UP = """
import sys
from pathlib import Path
from infra.local import ports
from infra.local.up import up
from schemas.settings import Settings

up(Settings(), Path(sys.argv[1]), ports.free(), ports.free())
"""


def held(script: str, data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(data)], stdout=subprocess.PIPE, text=True)


def read_until(output: IO[str] | None, word: str) -> str:
    assert output is not None
    read = ""
    for line in output:
        read += line
        if word in line:
            return read
    raise AssertionError(f"ended without {word!r}: {read}")


def processes_of(data: Path) -> list[psutil.Process]:
    """All processes that have the folder in their command line, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        holder = HOLDER in line or UP in line
        if str(data) in line and not holder and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def eventually(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


def test_both_answer_on_loopback_only(stack: LocalStack) -> None:
    listening = {
        connection.laddr.ip
        for process in processes_of(stack.logs.parent)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_settings_reach_the_stack_whatever_security_production_has(tmp_path: Path) -> None:
    production = Settings(
        kafka=settings.Kafka(brokers="kafka.example:9093", security_protocol="SASL_SSL", sasl_username="u"),
        clickhouse=settings.ClickHouse(url="https://ch.example:8443", user="gate", password="secret"),
        topics=settings.Topics(prefix="mine.", replication=3),
    )
    local = LocalStack(tmp_path, base=production).settings
    assert local.kafka == settings.Kafka(brokers=local.kafka.brokers)
    assert (local.clickhouse.user, local.clickhouse.password) == ("gate", "secret")
    assert local.topics == settings.Topics(prefix="mine.", replication=1)


@pytest.mark.parametrize(("what", "option"), [("Kafka", "--kafka-port"), ("ClickHouse", "--clickhouse-port")])
def test_a_busy_port_is_one_line_that_names_it(tmp_path: Path, what: str, option: str) -> None:
    with socket.create_server((ports.HOST, ports.free())) as busy:
        port = busy.getsockname()[1]
        wanted = {"kafka_port": port} if what == "Kafka" else {"clickhouse_port": port}
        with pytest.raises(HeadgateError) as caught, LocalStack(tmp_path, **wanted):
            pass
    message = str(caught.value)
    assert message.startswith(f"{what}: port {port} on 127.0.0.1 is in use")
    assert option in message
    assert "\n" not in message
    assert processes_of(tmp_path) == []


def test_a_data_folder_in_use_is_refused(stack: LocalStack) -> None:
    data = stack.logs.parent
    running = processes_of(data)
    with pytest.raises(HeadgateError, match="another local stack is using this folder"), LocalStack(data):
        pass
    assert processes_of(data) == running


def test_a_data_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        HeadgateError, match=r"^\S+/file/data: Not a directory; expected a folder .* --data DIR$"
    ):
        LocalStack(tmp_path / "file" / "data").__enter__()


def test_no_process_outlives_kill_9_of_the_parent(tmp_path: Path) -> None:
    holder = held(HOLDER, tmp_path)
    read_until(holder.stdout, "up")
    running = processes_of(tmp_path)
    assert any("kafka.Kafka" in process.cmdline() for process in running)
    assert any("infra.local.clickhouse_server" in process.cmdline() for process in running)
    holder.kill()
    holder.wait()
    assert eventually(lambda: processes_of(tmp_path) == [], 15), processes_of(tmp_path)


def test_no_process_outlives_kill_9_of_its_guard(tmp_path: Path) -> None:
    with LocalStack(tmp_path) as stack:
        guards = [process for process in processes_of(tmp_path) if "guard.py" in " ".join(process.cmdline())]
        assert len(guards) == 2
        assert stack.ended() is None
        for guard in guards:
            guard.kill()
        assert eventually(lambda: processes_of(tmp_path) == [], 5), processes_of(tmp_path)
        assert stack.ended() == "Kafka"


def test_kill_9_of_the_parent_while_starting_leaves_nothing(tmp_path: Path) -> None:
    holder = held(HOLDER, tmp_path)
    assert eventually(lambda: len(processes_of(tmp_path)) >= 2, 30)
    holder.kill()
    holder.wait()
    assert eventually(lambda: processes_of(tmp_path) == [], 15), processes_of(tmp_path)


def left(where: Path, name: str, age: float) -> Path:
    """A folder as a stack leaves it behind that was started `age` seconds ago, and then killed."""
    folder = where / f"{PREFIX}{name}"
    (folder / "kafka").mkdir(parents=True)
    (folder / LOCK).touch()
    os.utime(folder / LOCK, (1e9 - age, 1e9 - age))
    return folder


def test_the_folder_of_a_stack_that_was_killed_is_removed_and_no_other(tmp_path: Path) -> None:
    dead, young = left(tmp_path, "dead", 3_600), left(tmp_path, "young", 1)
    running, others = left(tmp_path, "running", 3_600), tmp_path / f"{PREFIX}others"
    others.mkdir()
    with (running / LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_left(tmp_path, now=1e9) == [dead]
    assert sorted(tmp_path.iterdir()) == sorted([young, running, others])
    assert remove_left(tmp_path, now=1e9) == [running]


def test_an_exception_ends_everything_and_removes_a_temporary_folder() -> None:
    with pytest.raises(RuntimeError, match="as it happens"), LocalStack() as stack:
        data = stack.logs.parent
        assert processes_of(data) != []
        raise RuntimeError("as it happens")
    assert processes_of(data) == []
    assert not data.exists()


def test_sigterm_stops_up_cleanly(tmp_path: Path) -> None:
    holder = held(UP, tmp_path)
    endpoints = read_until(holder.stdout, "Ctrl-C")
    assert "export HEADGATE_KAFKA=127.0.0.1:" in endpoints
    holder.terminate()
    assert holder.wait(60) == 0
    assert processes_of(tmp_path) == []


def test_ctrl_c_in_a_terminal_stops_up_cleanly(tmp_path: Path) -> None:
    """A terminal's Ctrl-C goes to the whole process group at once."""
    holder = subprocess.Popen(
        [sys.executable, "-c", UP, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    read_until(holder.stdout, "Ctrl-C")
    os.killpg(holder.pid, signal.SIGINT)
    assert holder.wait(60) == 0
    assert processes_of(tmp_path) == []
    assert "ERROR" not in (tmp_path / "logs" / "kafka.log").read_text()
