"""Where an INSERT ends and its data begin."""

import pytest

from infra.local.statement import Insert, named_format, returns_rows, split_insert


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            b"INSERT INTO t (a) FORMAT Native\n\x01\n\nFORMAT",
            (b"INSERT INTO t (a) ", "Native", b"\x01\n\nFORMAT"),
        ),
        (b"insert into t format CSV\r\n1,2", (b"insert into t ", "CSV", b"1,2")),
        (b'INSERT INTO t FORMAT JSONEachRow {"a": 1}', (b"INSERT INTO t ", "JSONEachRow", b'{"a": 1}')),
        (b"INSERT INTO t FORMAT Native", (b"INSERT INTO t ", "Native", b"")),
        (b"INSERT INTO t VALUES (1, ';')", (b"INSERT INTO t ", "Values", b" (1, ';')")),
        (
            b'-- FORMAT x\n/* VALUES */ INSERT INTO `values` ("format", v) SETTINGS a=1 FORMAT TSV\n1\t2',
            (
                b'-- FORMAT x\n/* VALUES */ INSERT INTO `values` ("format", v) ',
                "TSV",
                b"1\t2",
                b"SETTINGS a=1 ",
            ),
        ),
        (b"INSERT INTO t (values) VALUES (1)", (b"INSERT INTO t (values) ", "Values", b" (1)")),
    ],
)
def test_data_begin_behind_the_format(sql: bytes, expected: tuple[bytes, str, bytes]) -> None:
    assert split_insert(sql) == Insert(*expected)


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t SELECT 'VALUES' FORMAT",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"INSERT INTO t FROM INFILE 'f' FORMAT Native",
        b"",
        b"CREATE TABLE t (a String DEFAULT 'INSERT VALUES') ENGINE = Memory",
    ],
)
def test_other_statements_have_no_data(sql: bytes) -> None:
    assert split_insert(sql) is None


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        (b" /* c */ select 1", True),
        (b"(SELECT 1) UNION ALL (SELECT 2)", True),
        (b"WITH 1 AS x SELECT x", True),
        (b"-- c\nSHOW TABLES", True),
        (b"CREATE TABLE t AS SELECT 1", False),
        (b"INSERT INTO t SELECT 1", False),
        (b"'SELECT'", False),
    ],
)
def test_a_statement_asks_for_rows_by_its_first_word(sql: bytes, rows: bool) -> None:
    assert returns_rows(sql) is rows


def test_the_format_is_the_last_clause() -> None:
    assert named_format(b"SELECT 'FORMAT CSV' format JSON ;\n") == "JSON"
    assert named_format(b"SELECT 'FORMAT CSV'") is None
