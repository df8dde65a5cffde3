"""The local ClickHouse, asked by the clients that will ask it: clickhouse-connect, curl, Go clients."""

import gzip
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import clickhouse_connect
import cramjam
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.local.clickhouse import ClickHouse
from infra.local.stack import LocalStack
from schemas.settings import ClickHouse as Account
from schemas.settings import Settings

COLUMNS = ["id", "name", "at", "labels", "score"]
ROWS = [
    [1, "first\n\nwith a blank line; and more", datetime(2024, 5, 1, 12, tzinfo=UTC), {"a": "b"}, 0.5],
    [2, "zweite Zeile, é\t\\", datetime(2025, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC), {}, None],
]


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[str]:
    with clickhouse_connect.get_client(**settings.clickhouse.connect()) as client:
        client.command(f"CREATE DATABASE {settings.clickhouse.database}")
    yield settings.clickhouse.database


@pytest.fixture
def client(settings: Settings, database: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(**settings.clickhouse.connect(), database=database) as connected:
        yield connected


@pytest.fixture
def table(client: Client) -> str:
    name = f"t_{uuid4().hex[:8]}"
    client.command(
        f"CREATE TABLE {name} (id UInt64, name String, at DateTime64(3, 'UTC'), labels Map(String, String), "
        "score Nullable(Float64)) ENGINE = MergeTree ORDER BY id"
    )
    return name


def curl(*arguments: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout


def ask(url: str, body: str | bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes, Message]:
    """Status, body and headers of the reply to a POST."""
    request = urllib.request.Request(url, body.encode() if isinstance(body, str) else body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


@pytest.mark.parametrize("compression", [False, "gzip", "lz4", "zstd"])
def test_a_native_insert_comes_back_as_it_was(
    settings: Settings, database: str, table: str, compression: str | bool
) -> None:
    with clickhouse_connect.get_client(
        **settings.clickhouse.connect(), database=database, compress=compression
    ) as client:
        summary = client.insert(table, ROWS, COLUMNS, settings={"async_insert": 0})
        rows = client.query(f"SELECT * FROM {table} ORDER BY id", column_formats={"at": "string"}).result_rows
        times = client.query(f"SELECT toUnixTimestamp64Milli(at) FROM {table} ORDER BY id").result_columns[0]
    assert summary.written_rows == 2
    assert [list(row[:2]) + list(row[3:]) for row in rows] == [row[:2] + row[3:] for row in ROWS]
    assert list(times) == [1714564800000, 1746100800250]


def test_an_insert_of_many_blocks_arrives_whole(client: Client, table: str) -> None:
    ids = list(range(300_000))
    client.insert(table, [ids, [str(number) for number in ids]], ["id", "name"], column_oriented=True)
    assert client.query(f"SELECT count(), sum(id), uniqExact(name) FROM {table}").result_rows == [
        (300_000, sum(ids), 300_000)
    ]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("deflate", zlib.compress), ("gzip", gzip.compress), ("br", cramjam.brotli.compress)],
)
def test_bodies_are_read_in_every_encoding(
    settings: Settings, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = bytes(compress(b"SELECT 'compressed'"))
    reply = ask(settings.clickhouse.url, body, {"Content-Encoding": encoding})
    assert reply[:2] == (200, b"compressed\n")


def test_insert_settings_that_the_sink_sends_are_accepted(client: Client, table: str) -> None:
    explicit = {"async_insert": 0, "wait_for_async_insert": 1, "insert_deduplicate": 0}
    client.insert(table, ROWS, COLUMNS, settings=explicit)
    assert client.command(f"SELECT count() FROM {table}") == 2


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("INSERT INTO {table} (id, name) VALUES (1, 'a'), (1 + 1, 'b;\n\n)')", 2),
        ("INSERT INTO {table} (id, name) SELECT number, 'format values' FROM numbers(7)", 7),
        ('INSERT INTO {table} (id, name) FORMAT JSONEachRow {{"id": 1, "name": "x"}}\n\n{{"id": 2}}', 2),
        ("INSERT INTO {table} (id, name) FORMAT TabSeparated\n1\ta\n2\tb\n", 2),
    ],
)
def test_inserts_as_text_are_taken_whole(client: Client, table: str, sql: str, rows: int) -> None:
    client.command(sql.format(table=table))
    assert client.command(f"SELECT count() FROM {table}") == rows


def test_parameters_are_typed_and_never_part_of_the_sql(client: Client) -> None:
    sql = "SELECT {n:UInt32} + 1, {s:String}, {a:Array(String)}, {t:DateTime64(3, 'UTC')}"
    values = {"n": 41, "s": "it's\ta \\ 'quote'\n", "a": ["x'", "y"], "t": datetime(2024, 1, 1, tzinfo=UTC)}
    assert client.query(sql, parameters=values).result_rows[0][:3] == (42, values["s"], values["a"])


def test_many_parameters_go_as_a_form(client: Client) -> None:
    names = [f"p{number}" for number in range(500)]
    sql = f"SELECT arraySum([{', '.join(f'{{{name}:UInt32}}' for name in names)}])"
    assert client.query(sql, parameters=dict.fromkeys(names, 1000)).result_rows == [(500_000,)]


def test_a_setting_holds_for_its_query_alone(client: Client) -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    assert client.query(sql, settings={"max_block_size": 7}).result_rows == [("7",)]
    assert client.query(sql).result_rows != [("7",)]


def test_the_database_is_the_requests(client: Client, table: str, database: str) -> None:
    assert client.command("SELECT currentDatabase()") == database
    assert client.command(f"SELECT count() FROM {database}.{table}", use_database=False) == 0


def test_no_rows_are_no_rows(client: Client, table: str) -> None:
    assert client.query(f"SELECT id FROM {table}").result_rows == []


def test_a_query_error_has_clickhouses_code_and_the_server_lives_on(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT nowhere FROM system.one")
    assert (caught.value.code, caught.value.name) == (47, "UNKNOWN_IDENTIFIER")
    assert client.command("SELECT 1") == 1


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT", 62), ("SELECT * FROM nowhere", 60), ("SELECT throwIf(1)", 395), ("SELECT {x:UInt8}", 456)],
)
def test_errors_are_clickhouses(client: Client, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.command(sql)
    assert caught.value.code == code


def test_a_broken_block_inserts_nothing(
    settings: Settings, client: Client, table: str, database: str
) -> None:
    insert = f"{settings.clickhouse.url}/?database={database}&query=INSERT+INTO+{table}+FORMAT+JSONEachRow"
    status, reply, headers = ask(insert, '{"id": "not a number"}')
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "27")
    assert reply.startswith(b"Code: 27. DB::Exception: ")
    assert client.command(f"SELECT count() FROM {table}") == 0


def test_an_unknown_database_is_an_error(settings: Settings) -> None:
    with pytest.raises(DatabaseError) as caught:
        clickhouse_connect.get_client(**settings.clickhouse.connect(), database="nowhere").query("SELECT 1")
    assert caught.value.code == 81


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path / "data", tmp_path / "log", user="gate", password="päss word")
    server.start()
    try:
        right = Account(url=server.url, user="gate", password="päss word")
        assert clickhouse_connect.get_client(**right.connect()).command("SELECT 1") == 1
        for user, password in (("gate", ""), ("gate", "other"), ("default", ""), ("other", "päss word")):
            wrong = Account(url=server.url, user=user, password=password)
            with pytest.raises(DatabaseError) as caught:
                clickhouse_connect.get_client(**wrong.connect())
            assert caught.value.code == 516
        key = "päss word".encode().decode("latin-1")  # header bytes are UTF-8, which urllib does not offer
        for given, status in ((key, 200), ("wrong", 403)):
            headers = {"X-ClickHouse-User": "gate", "X-ClickHouse-Key": given}
            assert ask(server.url, "SELECT 1", headers)[0] == status
        assert ask(f"{server.url}/?user=gate&password={quote('päss word')}", "SELECT 1")[0] == 200
    finally:
        server.stop()


def test_curl_asks_with_a_body_a_parameter_and_a_format(settings: Settings) -> None:
    url = settings.clickhouse.url
    assert curl(url, "-d", "SELECT 1, 'a'") == "1\ta\n"
    assert curl(f"{url}/?query=SELECT+2+AS+x+FORMAT+JSONEachRow") == '{"x":2}\n'
    assert curl(f"{url}/?param_x=3&default_format=CSV", "-d", "SELECT {x:UInt8}, 'b'") == '3,"b"\n'
    assert curl(f"{url}/ping") == "Ok.\n"


def test_replies_carry_clickhouses_headers(settings: Settings) -> None:
    _, _, headers = ask(f"{settings.clickhouse.url}/?query_id=mine", "SELECT 1")
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert '"read_rows": "1"' in headers["X-ClickHouse-Summary"]
    assert {"X-ClickHouse-Server-Display-Name", "X-ClickHouse-Timezone"} <= set(headers.keys())


def test_a_long_query_holds_up_nobody(settings: Settings, client: Client) -> None:
    slow = threading.Thread(target=ask, args=(settings.clickhouse.url, "SELECT sleep(3)"))
    slow.start()
    running = (
        "SELECT count() FROM system.processes WHERE query LIKE '%sleep(3)%' AND query NOT LIKE '%system%'"
    )
    while client.command(running) == 0:
        pass
    with urllib.request.urlopen(f"{settings.clickhouse.url}/ping", timeout=1) as reply:
        assert reply.read() == b"Ok.\n"
    assert client.command("SELECT 1") == 1
    assert slow.is_alive()
    slow.join()


def test_a_go_clients_hello_is_answered_in_its_own_revision(settings: Settings) -> None:
    _, body, _ = ask(
        f"{settings.clickhouse.url}/?default_format=Native&client_protocol_version=54460&max_execution_time=60",
        "SELECT displayName(), version(), revision(), timezone()",
    )
    assert body.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00" + b"\x04\x01")  # block info, 4 columns, 1 row
    assert b"\x0arevision()\x06UInt32\x00" + bytes(4) in body  # not custom, and 0


def test_data_outlive_stop_and_kill(own_stack: LocalStack) -> None:
    with clickhouse_connect.get_client(**own_stack.settings.clickhouse.connect()) as client:
        client.command("CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a")
        client.insert("kept", [[1]], ["a"])
        own_stack.clickhouse.restart()
        client.insert("kept", [[2]], ["a"])
        own_stack.clickhouse.kill()
        assert not own_stack.clickhouse.running
        own_stack.clickhouse.start()
        assert client.query("SELECT a FROM kept ORDER BY a").result_columns[0] == [1, 2]
