"""The views of the contract's section 4, as SQL over the tables of `schemas/clickhouse.py`. The metrics' SQL
is `metrics.py`'s."""

from collections.abc import Callable, Mapping

from schemas.clickhouse import (
    ACKS,
    ALERTS,
    COMMANDS,
    DEAD_LETTERS,
    EXAMPLE_FEEDBACK,
    EXAMPLE_PREDICTIONS,
    EXAMPLE_REQUESTS,
    POLICIES,
    RELEASES,
    SAMPLES,
    SILENCES,
)
from schemas.table import COUNT, NUMBER, TEXT, TIME, TOPIC_OFFSET, TOPIC_PARTITION, WORD, Table, quoted
from streams.storage import samples, series
from streams.storage.distributions import latencies, reliability, sources
from streams.storage.drift import drift
from streams.storage.evidence import evidence
from streams.storage.metrics import metrics
from streams.storage.windows import SEGMENTS, SUFFIX

RECORDS = {
    "alerts": ALERTS,
    "releases": RELEASES,
    "acks": ACKS,
    "commands": COMMANDS,
    "policies": POLICIES,
    "samples": SAMPLES,
    "silences": SILENCES,
    "dead_letters": DEAD_LETTERS,
    "example_requests": EXAMPLE_REQUESTS,
    "example_predictions": EXAMPLE_PREDICTIONS,
}
"""The views that show a topic's records as they are."""


def _metrics(database: str, window: int, segments: tuple[str, ...] = ()) -> str:
    """The catalogue's metrics and, beneath them, the custom ones."""
    return f"{metrics(database, window, segments)}\nUNION ALL\n{samples.series(database, window, segments)}"


WINDOWS: dict[str, Callable[[str, int], str]] = {
    "metrics": _metrics,
    "metrics_by_segment": lambda database, window: _metrics(database, window, SEGMENTS),
    "series": series.series,
    "series_by_segment": lambda database, window: series.series(database, window, SEGMENTS),
    "drift": drift,
    "latencies": latencies,
    "reliability": reliability,
}
"""The views of panes; of each there is one of minutes and one of hours beside it (`SUFFIX`)."""

FEEDBACK = "example_feedback"

NAMES = (
    *(name + suffix for suffix in SUFFIX.values() for name in WINDOWS),
    *("sources", "evidence", FEEDBACK),
    *RECORDS,
)
"""All views."""


_SERIES = {"pane": TIME, "seconds": NUMBER, "model": WORD, "version": WORD, "arm": WORD}
_SEGMENTS = {"segment": WORD, "segment_value": TEXT}
_METRICS = _SERIES | {
    "metric": TEXT,
    **dict.fromkeys(("value", "numerator", "denominator", "lower", "upper"), f"Nullable({NUMBER})"),
    "final": "Bool",
}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    name + suffix: columns
    for suffix in SUFFIX.values()
    for name, columns in {
        "metrics": _METRICS,
        "metrics_by_segment": _METRICS | _SEGMENTS,
        "series": _SERIES | series.columns(),
        "series_by_segment": _SERIES | _SEGMENTS | series.columns(),
        "drift": _SERIES
        | {"feature": TEXT, "method": TEXT}
        | dict.fromkeys(("value", "threshold"), f"Nullable({NUMBER})")
        | {"drifted": "Bool", "kind": TEXT},
        "latencies": _SERIES | {"lower_ms": NUMBER, "upper_ms": NUMBER, "count": COUNT},
        "reliability": _SERIES
        | dict.fromkeys(("score_from", "score_to", "pairs", "scores", "positives"), NUMBER),
    }.items()
}
"""The columns of the views of panes. Those of others follow from their queries; to find out these would take
ClickHouse a second more, whenever it makes the views."""


def definitions(database: str) -> dict[str, str]:
    """The query of each view by its name, over the tables in `database`."""
    return {
        **{
            name + suffix: query(database, window)
            for window, suffix in SUFFIX.items()
            for name, query in WINDOWS.items()
        },
        "sources": sources(database),
        "evidence": evidence(database),
        FEEDBACK: _feedback(database),
        **{name: _records(database, table) for name, table in RECORDS.items()},
    }


def _records(database: str, table: Table) -> str:
    columns = [column.name for column in table.columns if column not in (TOPIC_PARTITION, TOPIC_OFFSET)]
    return f"SELECT {', '.join(map(quoted, columns))}\nFROM {table.full_name(database)} FINAL"


def _feedback(database: str) -> str:
    """Feedback of the examples: a record names no model, those that it answers do. What was kept for a policy
    with a larger share than its own model's answers none.
    """
    kept = " UNION ALL ".join(
        f"SELECT model, request_id FROM {table.full_name(database)}"
        for table in (EXAMPLE_REQUESTS, EXAMPLE_PREDICTIONS)
    )
    columns = [
        column.name for column in EXAMPLE_FEEDBACK.columns if column not in (TOPIC_PARTITION, TOPIC_OFFSET)
    ]
    return (
        f"SELECT model, {', '.join(map(quoted, columns))}\n"
        f"FROM (SELECT * FROM {EXAMPLE_FEEDBACK.full_name(database)} FINAL) AS given\n"
        f"INNER JOIN (SELECT DISTINCT model, request_id FROM ({kept})) AS kept USING (request_id)"
    )
