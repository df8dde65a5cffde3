"""`headgate schema apply` and `show`, and what `headgate check` says of the schema."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import msgspec
import pytest

from infra import cli
from infra.commands import check_clickhouse
from infra.commands.finding import Finding, State
from schemas.settings import Settings
from streams.storage.migration import migrations


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


def test_apply_makes_the_database_show_lists_what_was_applied_and_check_is_content(
    own: Settings, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(own).state is State.WRONG
    assert "migration 0001 tables" in found(own).text
    assert "headgate schema apply" in found(own).remedy

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
