"""`headgate silence` refuses what cannot be before it asks Kafka for anything."""

from pathlib import Path

import pytest

from infra import cli


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_KAFKA", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--for", "31d", "--reason", "x"), "--for: found 31d, expected more than 0s and at most 30d"),
        (("--for", "0s", "--reason", "x"), "--for: found 0s, expected more than 0s"),
        (("--for", "1h", "--reason", " "), "--reason: found nothing, expected some words"),
        (("--for", "1h", "--reason", "x", "--actor", ""), "--actor: found nothing, expected some words"),
        (
            ("--for", "1h", "--reason", "x", "--label", "a=1", "--label", "a=2"),
            "--label a: found 1 and 2, expected one value",
        ),
    ],
)
def test_a_silence_that_cannot_be_is_refused_in_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["silence", "add", "m", *arguments]) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert (out, line[: len(said)]) == ("", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "m", "--reason", "x"), "--for"),
        (("add", "m", "--for", "1h"), "--reason"),
        (("add", "m", "--for", "for ever", "--reason", "x"), "found 'for ever', expected a time such as 30m"),
        (("add", "m", "--for=-1h", "--reason", "x"), "found '-1h', expected a time such as 30m"),
        (("add", "m", "--for", "1h", "--reason", "x", "--label", "arm"), "found 'arm', expected NAME=VALUE"),
        (("end",), "ID"),
        ((), "ACTION"),
    ],
)
def test_a_silence_without_end_reason_or_sense_is_wrong_usage(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["silence", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
