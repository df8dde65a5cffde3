"""`headgate replay` as a user runs it: files, standard input, pipes that close, wrong usage, Ctrl-C. There is
no broker.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra import cli
from schemas.topics import FEEDBACK, PREDICTIONS
from tests.replaying import Line, decoded, line, of_type

TS = 1_767_225_600_000
ROOT = Path(__file__).parents[2]
SLOW = "model: m\npane: 1s\nrules:\n  - {name: slow, metric: latency_mean_ms, above: 10, window: 1s}\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "infra.cli", "replay", *arguments]


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("HEADGATE_")} | {
        "PYTHONPATH": str(ROOT)
    }


def run(folder: Path, *arguments: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), input=stdin, capture_output=True, check=False,
        timeout=120,
    )  # fmt: skip


def recording(seconds: int = 20) -> bytes:
    """Ten predictions a second, a click on each second one, and a record that is none."""
    lines = []
    for number in range(seconds * 10):
        ts = TS + number * 100
        value: Line = {
            "request_id": f"r{number}", "ts": ts, "model": "m", "version": "v1", "arm": "stable",
            "status": "ok", "latency_ms": 20, "items": [1],
        }  # fmt: skip
        lines.append(line(PREDICTIONS, value))
        if number % 2:
            lines.append(line(FEEDBACK, {"request_id": f"r{number}", "ts": ts, "kind": "click", "item": 1}))
    return b"".join([*lines, line(FEEDBACK, {"ts": 1})])


def test_a_file_and_standard_input_give_the_same_and_say_at_the_end_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(recording())
    (tmp_path / "slow.yaml").write_text(SLOW)
    from_file = run(tmp_path, "--events", "events.jsonl", "--policy", "slow.yaml")
    assert from_file.returncode == 0
    piped = run(tmp_path, "--events", "-", "--policy", "slow.yaml", stdin=recording())
    assert piped.stdout == from_file.stdout
    found = decoded(from_file.stdout)
    clicks = [each for each in of_type(found, "pane") if each["metric"] == "clicks"]
    assert sum(float(str(each["value"])) for each in clicks) == 100
    assert [each["rule"] for each in of_type(found, "alert")] == ["slow"]
    [letter] = of_type(found, "dead_letter")
    assert letter["offset"] == 100
    assert b"301 records up to 2026-01-01 00:00:19 UTC" in from_file.stderr
    only = run(tmp_path, "--events", "events.jsonl", "--policy", "slow.yaml", "--only", "alert,dead_letter")
    assert only.stdout.splitlines() == [
        text for text in from_file.stdout.splitlines() if b'{"type":"pane"' not in text
    ]


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(recording(600))
    with subprocess.Popen(
        command("--events", "events.jsonl", "--all"), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"type":"pane"')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_while_it_waits_for_input(tmp_path: Path, word: signal.Signals) -> None:
    with subprocess.Popen(
        command("--events", "-"), cwd=tmp_path, env=environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(recording(2_500))
        process.stdin.flush()
        assert process.stdout.readline().startswith(b'{"type":"pane"')
        process.send_signal(word)
        assert process.wait(30) == 1
        assert process.stderr.read() == b"stopped before it was done\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--events", "a", "--from-kafka"),
        ("--events", "a", "--since", "2h"),
        ("--from-kafka", "--from", "noon"),
        ("--events", "a", "--only", "panes"),
        ("--events", "a", "--partitions", "0"),
        ("--from-kafka", "--partitions", "3"),
    ],
)
def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", *arguments])
    assert ended.value.code == 2
    assert "usage: headgate replay" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--events", "nothing.jsonl"), "nothing.jsonl: No such file"),
        (("--events", "events.jsonl", "--policy", "one.yaml", "two.yaml"), "a second policy for m"),
        (("--events", "events.jsonl", "--policy", "bad.yaml"), "bad.yaml:2: "),
        (("--events", "-", "-"), "found - twice"),
        (("--from-kafka",), "Kafka at "),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_status_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_KAFKA", "127.0.0.1:1")
    for name, text in (("one", SLOW), ("two", SLOW), ("bad", "model: m\npane: 7s\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "events.jsonl").write_bytes(recording(1))
    assert cli.main(["replay", *arguments]) == 1
    told = capsys.readouterr().err
    assert expected in told
    assert len(told.splitlines()) == 1


def test_what_came_before_a_line_that_is_none_is_printed_and_then_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(recording(700) + b"nonsense\n")
    done = run(tmp_path, "--events", "events.jsonl")
    assert done.returncode == 1
    assert done.stderr.startswith(b"events.jsonl:10502: ")
    assert len(done.stderr.splitlines()) == 1
