"""Asks the local ClickHouse's engine as another user: `python -m tests.integration.reading DATA CONFIG`,
queries as JSON on standard input, their answers on standard output. The engine signs in as `default`, whom
CONFIG describes, and one process only may have the folder DATA.
"""

import json
import sys

from chdb.state.sqlitelike import Connection

REFUSED = "refused: "
"""Before what the engine says to what it does not do."""


def main(data: str, config: str) -> None:
    connection = Connection(f"{data}?config-file={config}")

    def answer(query: str) -> str:
        try:
            return bytes(connection.query(query, "TabSeparated").bytes() or b"").decode().strip()
        except RuntimeError as error:
            return REFUSED + str(error)

    json.dump([answer(query) for query in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
