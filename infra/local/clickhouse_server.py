"""ClickHouse's HTTP interface over the embedded engine: `python -m infra.local.clickhouse_server --data DIR
--port PORT`.

As much of https://clickhouse.com/docs/interfaces/http as clickhouse-connect, curl and Grafana's plug-in use,
which `README.md` lists. A reply is held in memory before it is sent, so an error is always a status and never
a broken body. User and password come from the environment (`HEADGATE_CLICKHOUSE_USER`,
`HEADGATE_CLICKHOUSE_PASSWORD`), for a command line is for everybody to read.
"""

import argparse
import asyncio
import hmac
import json
import os
import signal
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cramjam
from aiohttp import BasicAuth, web

from infra.local import hello
from infra.local.engine import Engine, EngineError, Query, Result
from infra.local.ports import HOST
from infra.local.statement import named_format, returns_rows

QUERIES_AT_ONCE = 16

MAX_BODY = 1 << 30
"""Bytes of a request's body."""

MAX_URI = 1 << 20
"""Bytes of a request's first line: the real server's `http_max_uri_size`."""

# fmt: off
TRANSPORT = frozenset([
    "query", "user", "password", "database", "default_format", "query_id", "quota_key", "role", "stacktrace",
    "session_id", "session_timeout", "session_check", "close_session",
    "buffer_size", "wait_end_of_query", "client_protocol_version", "compress", "decompress",
])
# fmt: on
"""Parameters that are the HTTP interface's own, or harmless here; the others are settings of the query."""

DECOMPRESS: Mapping[str, Callable[[bytes], cramjam.Buffer]] = {
    "gzip": cramjam.gzip.decompress,
    "deflate": cramjam.zlib.decompress,
    "lz4": cramjam.lz4.decompress,
    "zstd": cramjam.zstd.decompress,
    "br": cramjam.brotli.decompress,
}

STATUS = (
    dict.fromkeys(
        (6, 25, 26, 27, 36, 38, 41, 53, 62, 72, 117, 167, 456, 457), 400
    )  # cannot be parsed, wrong types
    | dict.fromkeys((192, 193, 516), 403)  # user and password
    | dict.fromkeys(
        (46, 47, 50, 56, 60, 63, 73, 81, 115), 404
    )  # no such table, column, function, type, setting, …
    | {48: 501, 159: 408}  # not implemented; too slow
)
"""HTTP status by ClickHouse's error code, as the real server has it (`exceptionCodeToHTTPStatus`); 500 for
the others."""

CONTENT_TYPE = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
}


class Account(NamedTuple):
    """The one user that may ask."""

    user: str
    password: str

    def admits(self, request: web.Request) -> bool:
        """Whether the request's credentials (headers, basic authentication or parameters; none are `default`
        without a password) are ours."""
        user = request.headers.get("X-ClickHouse-User", request.query.get("user", "default"))
        password = request.headers.get("X-ClickHouse-Key", request.query.get("password", ""))
        if request.headers.get("Authorization", "").startswith("Basic "):
            user, password, _ = BasicAuth.decode(request.headers["Authorization"], encoding="utf-8")
        return user == self.user and hmac.compare_digest(password.encode(), self.password.encode())


class Front:
    """Turns requests into queries and results into replies."""

    def __init__(self, engine: Engine, account: Account) -> None:
        self._engine = engine
        self._account = account
        self._threads = ThreadPoolExecutor(QUERIES_AT_ONCE, "query")
        answer = engine.run(Query(b"SELECT displayName(), version(), timezone()")).body.decode()
        self._identity = hello.Identity(*answer.rstrip("\n").split("\t"))

    def application(self) -> web.Application:
        """The routes: `/` for queries, `/ping` for whoever waits for us."""
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/", self._query)
        application.router.add_post("/", self._query)
        return application

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        headers = {
            "X-ClickHouse-Server-Display-Name": self._identity.name,
            "X-ClickHouse-Timezone": self._identity.timezone,
            "X-ClickHouse-Query-Id": request.query.get("query_id") or str(uuid.uuid4()),
        }
        try:
            if not self._account.admits(request):
                raise EngineError.of(
                    516,
                    "AUTHENTICATION_FAILED",
                    "Authentication failed: password is incorrect, or there is no user with such name.",
                )
            query = await _read(request)
            if query is None:
                return web.Response(text="Ok.\n", headers=headers)
            if "client_protocol_version" in request.query and hello.is_hello(query):
                body = hello.reply(self._identity, int(request.query["client_protocol_version"]))
                return web.Response(body=body, headers=headers | {"X-ClickHouse-Format": "Native"})
            result = await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.run, query)
        except EngineError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            return web.Response(status=STATUS.get(error.code, 500), text=f"{error}\n", headers=headers)
        headers["X-ClickHouse-Summary"] = _summary(result)
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        if returns_rows(query.sql):
            format_ = named_format(query.sql) or query.format
            headers["X-ClickHouse-Format"] = format_
            headers["Content-Type"] = CONTENT_TYPE.get(format_, "application/octet-stream")
        return web.Response(body=result.body, headers=headers)


async def _read(request: web.Request) -> Query | None:
    """The query that a request asks, None where it asks nothing. The SQL is the parameter `query`, then a
    newline, then the body."""
    arguments = dict(request.query)
    if request.content_type == "multipart/form-data":
        for name, value in (await request.post()).items():
            if not isinstance(value, str):
                raise _not_implemented(f"External data: found the file {name}, expected text fields only")
            arguments[name] = value
        body = b""
    else:
        body = _plain(await request.read(), request.headers.get("Content-Encoding", ""))
    if arguments.get("compress", "0") != "0" or arguments.get("decompress", "0") != "0":
        raise _not_implemented("compress, decompress: expected 0 or none; use Content-Encoding")
    sql = b"\n".join(part for part in (arguments.get("query", "").encode(), body) if part)
    if not sql.strip():
        return None
    return Query(
        sql,
        arguments.get("default_format", request.headers.get("X-ClickHouse-Format", "TabSeparated")),
        arguments.get("database", request.headers.get("X-ClickHouse-Database", "default")),
        {
            name.removeprefix("param_"): value
            for name, value in arguments.items()
            if name.startswith("param_")
        },
        {
            name: value
            for name, value in arguments.items()
            if name not in TRANSPORT and not name.startswith("param_")
        },
    )


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in DECOMPRESS:
        raise _not_implemented(f"Content-Encoding: found {encoding}, expected one of {', '.join(DECOMPRESS)}")
    try:
        return bytes(DECOMPRESS[encoding](body))
    except cramjam.DecompressionError as error:
        raise EngineError.of(354, "ZLIB_INFLATE_FAILED", f"Content-Encoding {encoding}: {error}") from error


def _not_implemented(what: str) -> EngineError:
    return EngineError.of(48, "NOT_IMPLEMENTED", f"{what} (the local stack's HTTP interface).")


def _summary(result: Result) -> str:
    return json.dumps(
        {
            "read_rows": str(result.read_rows),
            "read_bytes": str(result.read_bytes),
            "written_rows": str(result.written_rows),
            "written_bytes": str(result.written_bytes),
            "elapsed_ns": str(int(result.seconds * 1e9)),
        }
    )


async def serve(data: Path, host: str, port: int, account: Account) -> None:
    """Serves the engine over `data` at `host`:`port` until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    engine = Engine(data)
    runner = web.AppRunner(
        Front(engine, account).application(),
        access_log=None,
        auto_decompress=False,  # it does not know lz4, and would fail on br
        max_line_size=MAX_URI,
        shutdown_timeout=2.0,
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await stopped.wait()
    await runner.cleanup()
    engine.close()


def main() -> None:
    """Parses the command line and serves. Exits hard at the end: queries that still run have nobody left to
    answer."""
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface over the embedded engine.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", default=HOST, help="for containers; default: %(default)s")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    account = Account(
        os.environ.get("HEADGATE_CLICKHOUSE_USER", "default"),
        os.environ.get("HEADGATE_CLICKHOUSE_PASSWORD", ""),
    )
    asyncio.run(serve(arguments.data, arguments.host, arguments.port, account))


if __name__ == "__main__":
    main()
