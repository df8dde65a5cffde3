"""What the user of dashboards may do, by the engine's own access control. The local ClickHouse has one
account and makes no users; here that account is described as `headgate schema grants` would make the reader.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import clickhouse_connect
import pytest

from infra.local.clickhouse import ClickHouse
from schemas import settings
from schemas.clickhouse import PANES
from schemas.table import Stored
from streams.storage import NAMES, grants, migrate
from streams.storage.layout import Layout
from streams.storage.writer import Writer
from tests.contract.view_world import pane
from tests.integration.reading import REFUSED

CONFIG = """\
<clickhouse>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks><quota>default</quota>
    <profile>reader</profile><grants><query>{grant}</query></grants>
  </default></users>
  <profiles><default/><reader>{values}<constraints>{constraints}</constraints></reader></profiles>
  <quotas><default/></quotas>
  <user_directories><users_xml><path>{path}</path></users_xml></user_directories>
</clickhouse>
"""
READS = {view: f"SELECT count() FROM headgate.{view}" for view in NAMES}
REFUSALS = (
    "INSERT INTO headgate.panes (model) VALUES ('x')",
    "TRUNCATE TABLE headgate.panes",
    "ALTER TABLE headgate.panes DELETE WHERE 1",
    "DROP VIEW headgate.metrics",
    "CREATE TABLE headgate.mine (a Int8) ENGINE = Memory",
    "CREATE USER mine",
    "SELECT count() FROM system.users",
    "SELECT * FROM file('/etc/hostname', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
)
LIMITED = "SELECT count() FROM headgate.metrics SETTINGS {} = {}"
SHORTER = LIMITED.format("max_execution_time", grants.SECONDS - 1)
LONGER = (
    LIMITED.format("max_execution_time", grants.SECONDS + 1),
    LIMITED.format("max_memory_usage", grants.MEMORY + 1),
    LIMITED.format("readonly", 0),
    "SET readonly = 0",
)


def described(path: Path) -> str:
    """The engine's configuration with the reader's rights and limits, of the SQL that gives them."""
    profile, *_, grant = grants.statements(Layout("headgate"), "reader", "x")
    limits = re.findall(r"(\w+) = (\d+) (?:CONST|MAX (\d+))", profile)
    assert len(limits) == profile.count(" = ")
    return CONFIG.format(
        grant=grant.partition(" TO ")[0],
        values="".join(f"<{name}>{value}</{name}>" for name, value, _ in limits),
        constraints="".join(
            f"<{name}>{f'<max>{most}</max>' if most else '<const/>'}</{name}>" for name, _, most in limits
        ),
        path=path,
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the reader gets for each question, of a database with one pane."""
    folder = tmp_path_factory.mktemp("reader")
    clickhouse = ClickHouse(folder / "data", folder / "log")
    clickhouse.start()
    try:
        where = settings.ClickHouse(url=clickhouse.url)
        with clickhouse_connect.get_client(**where.connect()) as client:
            migrate(client, where.database)
        writer = Writer(where)
        writer.write({PANES: [Stored(pane(), 0, 0)]})
        writer.close()
    finally:
        clickhouse.stop()
    config = folder / "reader.xml"
    config.write_text(described(config))
    questions = [*READS.values(), *REFUSALS, SHORTER, *LONGER]
    asked = subprocess.run(
        [sys.executable, "-m", "tests.integration.reading", str(folder / "data"), str(config)],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(questions, json.loads(asked.stdout), strict=True))


@pytest.mark.parametrize("view", NAMES)
def test_the_reader_reads_every_view(answers: Mapping[str, str], view: str) -> None:
    assert answers[READS[view]].isdecimal(), answers[READS[view]]


def test_the_reader_sees_what_there_is(answers: Mapping[str, str]) -> None:
    assert int(answers[READS["metrics"]]) > 0


@pytest.mark.parametrize("question", REFUSALS)
def test_the_reader_changes_nothing_and_reads_nothing_else(answers: Mapping[str, str], question: str) -> None:
    assert answers[question].startswith(REFUSED)
    assert "Not enough privileges" in answers[question]


def test_the_reader_may_take_less_than_its_limits_as_dashboards_do(answers: Mapping[str, str]) -> None:
    assert answers[SHORTER] == answers[READS["metrics"]]


@pytest.mark.parametrize("question", LONGER)
def test_the_reader_cannot_raise_its_limits(answers: Mapping[str, str], question: str) -> None:
    assert answers[question].startswith(REFUSED)
    assert re.search("SETTING_CONSTRAINT_VIOLATION|READONLY", answers[question])
