"""`headgate up`, as a newcomer meets it: a stack in the foreground that the other commands find."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.headgate_command import PATIENCE

COMMAND = [sys.executable, "-m", "infra.cli"]
ROOT = Path(__file__).parent.parent.parent


def test_up_prints_where_everything_is_and_check_finds_it_sound() -> None:
    arguments = ["up", "--kafka-port", "0", "--clickhouse-port", "0"]
    with subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        try:
            export = next(line for line in up.stdout if "export " in line)
            endpoints = dict(re.findall(r"(HEADGATE_\w+)=(\S+)", export))
            assert endpoints.keys() == {"HEADGATE_KAFKA", "HEADGATE_CLICKHOUSE"}
            check = subprocess.run(
                [*COMMAND, "check"], cwd=ROOT, env=endpoints, capture_output=True, text=True, check=False
            )
            assert (check.returncode, check.stderr) == (0, ""), check.stdout
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(PATIENCE)
    assert up.returncode == 0
