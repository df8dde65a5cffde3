"""`headgate schema apply` and `show`, and what `headgate check` says of the schema and does about it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import msgspec
import pytest

from infra import cli
from infra.commands import check_clickhouse
from infra.commands.finding import Finding, State
from schemas.clickhouse import PANES
from schemas.settings import Settings
from schemas.table import Stored
from streams.storage.migration import migrations
from streams.storage.writer import AwayError, Writer
from tests.contract.view_world import pane
from tests.forwarding import forwarding


@pytest.fixture
def own(settings: Settings) -> Iterator[Settings]:
    """Settings with a database that is not there yet."""
    clickhouse = msgspec.structs.replace(settings.clickhouse, database=f"command_{uuid4().hex[:8]}")
    yield msgspec.structs.replace(settings, clickhouse=clickhouse)
    with clickhouse_connect.get_client(**clickhouse.connect()) as client:
        client.command(f"DROP DATABASE IF EXISTS {clickhouse.database}")


@pytest.fixture
def config(own: Settings, tmp_path: Path) -> str:
    file = tmp_path / "headgate.toml"
    file.write_text(f'[clickhouse]\nurl = "{own.clickhouse.url}"\ndatabase = "{own.clickhouse.database}"\n')
    return str(file)


def found(settings: Settings) -> Finding:
    return list(check_clickhouse.check(settings))[-1]


@pytest.fixture
def read_only(own: Settings) -> Iterator[Settings]:
    """The same ClickHouse, for a user who may only read."""
    with forwarding(own.clickhouse.url, "readonly=2") as url:
        clickhouse = msgspec.structs.replace(own.clickhouse, url=url)
        yield msgspec.structs.replace(own, clickhouse=clickhouse)


def test_apply_makes_the_database_show_lists_what_was_applied_and_check_is_content(
    own: Settings, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--config", config, "schema", "show"]) == 0
    assert all("not applied" in line for line in capsys.readouterr().out.splitlines()[: len(migrations())])

    assert cli.main(["--config", config, "schema", "apply"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == [f"applied {each.number:04d} {each.name}" for each in migrations()]
    assert said[-1].endswith("up to date")

    assert cli.main(["--config", config, "schema", "show", "--json"]) == 0
    shown = msgspec.json.decode(capsys.readouterr().out)
    assert [row["number"] for row in shown] == [each.number for each in migrations()]
    assert all(row["headgate"] for row in shown)
    assert found(own).state is State.OK

    with clickhouse_connect.get_client(**own.clickhouse.connect()) as client:
        client.command(
            f"INSERT INTO {own.clickhouse.database}.schema_migrations"
            " SELECT 900, 'later', 'x', now64(3), '9.1'"
        )
    assert (found(own).state, found(own).remedy) == (State.WRONG, "run the newer Headgate")
    assert cli.main(["--config", config, "schema", "apply"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_check_applies_what_is_missing_says_so_and_then_has_nothing_to_do(own: Settings) -> None:
    first = found(own)
    assert first.state is State.OK
    applied = ", ".join(f"{each.number:04d} {each.name}" for each in migrations())
    assert first.text.startswith(f"applied {applied}; {len(migrations())} migrations, ")
    assert found(own).text.startswith(f"{len(migrations())} migrations, ")
    with clickhouse_connect.get_client(
        **own.clickhouse.connect(), database=own.clickhouse.database
    ) as client:
        client.command("DROP VIEW drift")
        assert found(own).text.startswith("replaced the view drift; ")
        client.command("DROP TABLE rolled")
        assert found(own).text.startswith("made rolled again; ")


def test_what_check_may_not_apply_it_names_with_the_reason_and_what_to_do(read_only: Settings) -> None:
    finding = found(read_only)
    assert finding.state is State.WRONG
    assert "lacks migration 0001 tables, migration 0002 written, " in finding.text
    assert "Code: 164. DB::Exception" in finding.text
    assert "give this user the right to write" in finding.remedy
    assert "\n" not in finding.text + finding.remedy


def test_a_wrong_password_is_one_line_that_does_not_repeat_it(own: Settings) -> None:
    clickhouse = msgspec.structs.replace(own.clickhouse, password="s3cret")
    [finding] = check_clickhouse.check(msgspec.structs.replace(own, clickhouse=clickhouse))
    assert finding.state is State.WRONG
    assert "Authentication failed" in finding.text
    assert "user and password" in finding.remedy
    assert not {"s3cret", "\n"} & {*finding.text.split(), *finding.text}


def test_a_clickhouse_that_may_only_be_read_makes_the_sink_wait_and_loses_nothing(
    own: Settings, read_only: Settings
) -> None:
    """The same rows, once it may be written to."""
    found(own)
    assert found(read_only).state is State.OK  # it has nothing to do
    rows = {PANES: [Stored(pane(), 0, 0)]}
    with pytest.raises(AwayError, match="give this user the right to write"):
        Writer(read_only.clickhouse).write(rows)
    Writer(own.clickhouse).write(rows)
    with clickhouse_connect.get_client(
        **own.clickhouse.connect(), database=own.clickhouse.database
    ) as client:
        assert client.query("SELECT count() FROM panes").result_rows == [(1,)]


def test_without_the_right_to_make_users_grants_say_so_in_one_line_without_the_password(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the local ClickHouse, which has one account."""
    monkeypatch.setenv("HEADGATE_READER_PASSWORD", "s3cret")
    assert cli.main(["--config", config, "schema", "grants"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Not enough privileges" in said
    assert "s3cret" not in said
