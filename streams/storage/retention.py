"""How long rows are kept: the tables' TTL, as the settings say it (`[storage]`).

Age is counted from when a row was written, not from its own time: recorded data of years ago stay as long as
any others. What a database cannot do without (policies, releases, commands, silences, profiles) stays for
ever.
"""

import re
from collections.abc import Mapping

from clickhouse_connect.driver.client import Client

from schemas.settings import Storage
from streams.storage.layout import Layout

_TTL = re.compile(r"\bTTL (.*?)(?: SETTINGS |$)", re.DOTALL)


def days(storage: Storage) -> Mapping[str, int]:
    """How many days each table keeps its rows; 0 is for ever."""
    return {
        "panes": storage.panes_days,
        "panes_1m": storage.minutes_days,
        "panes_1h": storage.hours_days,
        "drift_log": storage.drift_days,
        "samples_log": storage.samples_days,
        "acks_log": storage.acks_days,
        "evidence_log": storage.evidence_days,
        "alerts_log": storage.alerts_days,
        "dead_letters_log": storage.dead_letters_days,
        "example_requests_log": storage.examples_days,
        "example_predictions_log": storage.examples_days,
        "example_feedback_log": storage.examples_days,
    }


def apply(client: Client, layout: Layout, storage: Storage) -> None:
    """Changes the TTL of those tables that have another one."""
    query = "SELECT name, engine_full FROM system.tables WHERE database = {database:String}"
    rows = client.query(query, parameters={"database": layout.database}).result_rows
    engines = {str(name): str(engine) for name, engine in rows}
    for name, kept in days(storage).items():
        found = _TTL.search(engines[layout.stored(name)])
        wanted = f"written + toIntervalDay({kept})" if kept else None
        if (found[1] if found else None) != wanted:
            what = f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"
            for statement in layout.statements(f"ALTER TABLE {name} {what}"):
                client.command(statement)
