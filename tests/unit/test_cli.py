"""The command line without a stack: its help, its exit statuses, and how it speaks of mistakes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra import cli
from infra.commands import kafka
from infra.commands.output import ago, duration, instant
from schemas import topics
from schemas.records import TYPES
from tests.certificates import PEM

COMMANDS = (
    *("up", "demo", "streams", "model", "serve", "policy", "release", "silence"),
    *("profile", "replay", "check", "topics", "schema", "dashboards"),
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without settings, and endpoints at which nobody listens, nor is waited for long."""
    monkeypatch.setattr(kafka, "PATIENCE", 1.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_KAFKA", "127.0.0.1:9")
    monkeypatch.setenv("HEADGATE_CLICKHOUSE", "http://127.0.0.1:9")


def test_asking_whether_all_is_well_loads_no_stage() -> None:
    heavy = "{'faust', 'numba', 'onnxruntime'}"
    code = f"import sys, infra.commands.check; print(*({heavy} & sys.modules.keys()))"
    root = Path(cli.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def usage(*arguments: str) -> object:
    """The exit status of an argparse that ends by itself."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage("--help") == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(name, "--help") == 0
    assert f"usage: headgate {name}" in capsys.readouterr().out


def test_without_a_command_the_help_is_shown_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense", "check"],
        ["up", "--kafka-port", "80000"],
        ["up", "--kafka-port", "http"],
        ["streams", "joiner"],
        ["serve"],
        ["serve", "--models", "m", "--threads", "0"],
        ["policy"],
        ["policy", "apply"],
        ["policy", "burn", "x"],
        ["release", "start", "ranker"],
        ["release", "promote"],
        ["release", "start", "ranker", "v2", "--timeout", "60"],
        ["release", "promote", "ranker", "--shadow"],
        ["check", "everything"],
        ["schema", "export"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage(*arguments) == 2
    assert "error: " in capsys.readouterr().err


def test_a_mistake_in_the_settings_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("headgate.toml").write_text("[kafka]\nbroker = 'x:1'\n")
    assert cli.main(["schema", "export", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headgate.toml: ")
    assert "broker" in line


def test_settings_from_another_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text("[topics]\nprefix = 5\n")
    assert cli.main(["--config", "mine.toml", "schema", "export", "out"]) == 1
    assert capsys.readouterr().err.startswith("mine.toml: ")


def test_settings_that_are_not_there_are_not_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "mine.toml", "schema", "export", "out"]) == 1
    assert capsys.readouterr().err.startswith("mine.toml: found no such file")


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy", "show"],
        ["policy", "apply", "p.yaml"],
        ["release", "status", "ranker"],
        ["release", "start", "ranker", "v2"],
        ["release", "rollback", "ranker", "--force"],
    ],
    ids=" ".join,
)
def test_kafka_out_of_reach_is_one_line_that_says_what_to_do(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("p.yaml").write_text("model: ranker\n")
    assert cli.main(arguments) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("Kafka at 127.0.0.1:9 does not answer")
    assert "headgate up" in line
    assert "HEADGATE_KAFKA" in line


WHOEVER = pytest.mark.parametrize(
    "arguments",
    [["serve", "--models", "."], ["streams", "sink"], ["policy", "show"], ["check"]],
    ids=" ".join,
)
"""Commands that open the files of TLS with one library or the other."""


@WHOEVER
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "[kafka]\nsecurity_protocol = 'SSL'\nssl_ca = 'broken.pem'\n",
            "[kafka] ssl_ca in headgate.toml: broken.pem: OpenSSL cannot read it; expected certificates of ",
        ),
        (
            "[kafka]\nsecurity_protocol = 'SSL'\nssl_ca = 'empty.pem'\n",
            "[kafka] ssl_ca in headgate.toml: empty.pem: no certificate or crl found; expected certificates ",
        ),
        (
            "[kafka]\nsecurity_protocol = 'SSL'\nssl_certificate = 'good.pem'\nssl_key = 'broken.pem'\n",
            "[kafka] ssl_certificate, ssl_key in headgate.toml: good.pem, broken.pem: OpenSSL cannot read it",
        ),
        (
            "[clickhouse]\nca = 'broken.pem'\n",
            "[clickhouse] ca in headgate.toml: broken.pem: OpenSSL cannot read it; expected certificates of ",
        ),
    ],
    ids=["broken", "empty", "key", "clickhouse"],
)
def test_a_certificate_that_is_none_is_one_line_whoever_asks_for_it(
    arguments: list[str], settings: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty.pem").touch()
    Path("good.pem").write_text(PEM)
    Path("broken.pem").write_text(PEM.replace("MII", "XXX", 1))
    Path("headgate.toml").write_text(settings)
    assert cli.main(arguments) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(said)


@WHOEVER
def test_a_certificate_that_is_not_there_is_one_line_whoever_asks_for_it(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("headgate.toml").write_text("[kafka]\nsecurity_protocol = 'SSL'\nssl_ca = 'nowhere.pem'\n")
    assert cli.main(arguments) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "[kafka] ssl_ca in headgate.toml: found no file 'nowhere.pem', expected one in PEM format"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", "stage notify: no receiver of alerts is configured: name one under [notify] in headgate.toml"),
        ("[notify]\nalertmanager = 'a:9093'\n", "[notify] alertmanager: found 'a:9093', expected http[s]://"),
        (
            "[notify]\nreceiver = 'x'\n",
            "headgate.toml: Object contains unknown field `receiver` - at `$.notify`",
        ),
        (
            "[notify]\nwebhook = 'https://a'\nca = 'x.pem'\n",
            "[notify] ca in headgate.toml: found no file 'x.pem'",
        ),
    ],
)
def test_receivers_that_cannot_be_are_one_line(
    toml: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("headgate.toml").write_text(toml)
    assert cli.main(["streams", "notify"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(said)


def test_check_goes_on_with_clickhouse_when_kafka_is_out_of_reach(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--json"]) == 1
    out, err = capfd.readouterr()
    assert err == ""
    broker, clickhouse, receivers = json.loads(out)
    assert (broker["subject"], broker["state"]) == ("Kafka 127.0.0.1:9", "wrong")
    assert "HEADGATE_KAFKA" in broker["remedy"]
    assert (clickhouse["subject"], clickhouse["state"]) == ("ClickHouse http://127.0.0.1:9", "wrong")
    assert "Connection refused" in clickhouse["text"]
    assert "HEADGATE_CLICKHOUSE" in clickhouse["remedy"]
    assert (receivers["subject"], receivers["state"]) == ("receivers", "note")


@pytest.mark.parametrize("action", ["check", "apply"])
def test_mistakes_in_a_policy_are_a_line_each_and_found_without_kafka(
    action: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("p.yaml").write_text("model: ranker\nk: [0]\nrules:\n- {name: a, metric: ctr, below: x}\n")
    assert cli.main(["policy", action, "p.yaml"]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "p.yaml:2: found `0`, expected a whole number >= 1 (k[0])",
        "p.yaml:4: found `x`, expected a number (rules[0].below)",
    ]


def test_a_misspelt_metric_is_found_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("model: ranker\nrules:\n- name: a\n  metric: eror_rate\n  below: 1\n")
    assert cli.main(["policy", "check", "p.yaml"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("p.yaml:4: found `eror_rate`, expected `error_rate`, or `samples.eror_rate` for ")


def test_a_custom_metric_is_noted_for_it_may_be_meant_otherwise(capfd: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("model: ranker\nrules:\n- name: a\n  metric: gpu_use\n  above: 1\n")
    assert cli.main(["policy", "check", "p.yaml"]) == 0
    said = capfd.readouterr()
    assert said.out == "p.yaml: a sound policy for ranker\n"
    assert said.err.startswith("p.yaml: note: rule a: gpu_use is no metric of the catalogue; it is the mean")


def test_a_sound_policy_is_said_to_be_sound(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("model: ranker\n")
    assert cli.main(["policy", "check", "p.yaml"]) == 0
    assert capsys.readouterr().out == "p.yaml: a sound policy for ranker\n"


def test_schema_export_writes_a_schema_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", "export", "out/schemas"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"out/schemas/{topic.name}.schema.json" for topic in TYPES
    ]
    document = json.loads(Path("out/schemas/inference.requests.schema.json").read_bytes())
    assert document["title"] == topics.REQUESTS.name


def test_schema_export_to_where_we_may_not_write_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert cli.main(["schema", "export", "file"]) == 1
    assert capsys.readouterr().err.startswith("file: ")


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    reader = "import sys; sys.stdin.readline()"
    writer = "import sys; from infra import cli; sys.exit(cli.main(['schema', 'export', 'out']))"
    with subprocess.Popen([sys.executable, "-c", reader], stdin=subprocess.PIPE) as pipe:
        assert pipe.stdin is not None
        pipe.terminate()
        pipe.wait()
        done = subprocess.run(
            [sys.executable, "-c", writer], stdout=pipe.stdin, stderr=subprocess.PIPE, timeout=30, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


@contextmanager
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield f"127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_says_so_in_one_line(number: signal.Signals) -> None:
    with silent_server() as (endpoint, server):
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "policy", "show"],
            env=os.environ | {"HEADGATE_KAFKA": endpoint},
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            server.accept()
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "stopped before it was done\n")


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (-5, "0 ms"), (0, "0 ms"), (850, "850 ms"), (12_345, "12 s"), (60_000, "1 m"), (185_000, "3 m 5 s"),
        (7_800_000, "2 h 10 m"), (3_600_001, "1 h"), (356_400_000, "4 d 3 h"),
    ],
)  # fmt: skip
def test_spans_are_told_in_their_two_largest_units(milliseconds: int, words: str) -> None:
    assert ago(milliseconds) == words


def test_times_are_told_in_utc() -> None:
    assert instant(1_735_689_600_123) == "2025-01-01 00:00:00 UTC"


def test_a_time_on_the_command_line_is_written_as_in_a_policy() -> None:
    assert duration("1m") == 60.0
    assert duration("250ms") == 0.25
