"""The views of the contract's section 4, as SQL over the tables of `schemas/clickhouse.py`. The metrics' SQL
is `metrics.py`'s."""

from schemas.clickhouse import (
    ACKS,
    ALERTS,
    COMMANDS,
    DEAD_LETTERS,
    POLICIES,
    RELEASES,
    SAMPLES,
    SILENCES,
    TOPIC_OFFSET,
    TOPIC_PARTITION,
    Table,
    quoted,
)
from streams.storage import samples
from streams.storage.distributions import latencies, reliability, sources
from streams.storage.drift import drift
from streams.storage.metrics import SEGMENTS, metrics

RECORDS = {
    "alerts": ALERTS,
    "releases": RELEASES,
    "acks": ACKS,
    "commands": COMMANDS,
    "policies": POLICIES,
    "samples": SAMPLES,
    "silences": SILENCES,
    "dead_letters": DEAD_LETTERS,
}
"""The views that show a topic's records as they are."""

DISTRIBUTIONS = {"latencies": latencies, "reliability": reliability, "sources": sources}
"""The views that charts draw, beside the contract's."""

NAMES = ("metrics", "metrics_by_segment", "metrics_1m", "metrics_1h", "drift", *DISTRIBUTIONS, *RECORDS)
"""All views."""


def definitions(database: str) -> dict[str, str]:
    """The query of each view by its name, over the tables in `database`."""
    return {
        "metrics": _metrics(database),
        "metrics_by_segment": _metrics(database, segments=SEGMENTS),
        "metrics_1m": _metrics(database, window=60_000),
        "metrics_1h": _metrics(database, window=3_600_000),
        "drift": drift(database),
        **{name: query(database) for name, query in DISTRIBUTIONS.items()},
        **{name: _records(database, table) for name, table in RECORDS.items()},
    }


def _metrics(database: str, window: int = 1, segments: tuple[str, ...] = ()) -> str:
    """The catalogue's metrics and, beneath them, the custom ones."""
    return f"{metrics(database, window, segments)}\nUNION ALL\n{samples.series(database, window, segments)}"


def _records(database: str, table: Table) -> str:
    columns = [column.name for column in table.columns if column not in (TOPIC_PARTITION, TOPIC_OFFSET)]
    return f"SELECT {', '.join(map(quoted, columns))}\nFROM {table.full_name(database)} FINAL"
