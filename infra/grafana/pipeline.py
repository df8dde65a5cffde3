"""Headgate itself: what comes in, how far it is read, and what could not be counted as hoped."""

from infra.grafana.elements import Dashboard, Query, Row
from infra.grafana.panels import NUMBER, RATE, bars, lines, or_else, table
from infra.grafana.sql import SERIES_OF_ALL, WITHIN, listed
from streams.metrics.catalogue import COUNTS

OF_MODEL = "if(model = '', 'not known', model) AS of_model"
SUMS = f"[{', '.join(f'sum(series.{name})' for name in COUNTS)}]"
"""Of what could not be counted, by kind."""


def _summed(count: str) -> Query:
    return Query(
        f"""\
SELECT pane AS time, {OF_MODEL}, sum(series.{count}) AS `{count}`
FROM ${{series}} AS series
WHERE {WITHIN}
GROUP BY time, of_model
ORDER BY time""",
        ("time", "of_model", count),
    )


THROUGHPUT = Query(
    f"""\
SELECT pane AS time, sum(series.throughput_rps) AS predictions, sum(series.predictions) AS total
FROM ${{series}} AS series
WHERE {WITHIN}
GROUP BY time
ORDER BY time""",
    ("time", "predictions"),
)

SOURCES = Query(
    """\
SELECT
    partition, clock, passed,
    dateDiff('millisecond', clock, now64(3)) / 1000 AS behind_now,
    dateDiff('millisecond', clock, max(clock) OVER ()) / 1000 AS behind_others
FROM sources
ORDER BY clock""",
    ("partition", "clock", "passed", "behind_now", "behind_others"),
)

TOTALS = Query(
    f"""\
SELECT metric, of_model, records
FROM (SELECT {OF_MODEL}, {SUMS} AS found FROM ${{series}} AS series WHERE {WITHIN} GROUP BY of_model)
ARRAY JOIN {listed(COUNTS)} AS metric, found AS records
ORDER BY records DESC, metric, of_model
LIMIT 200""",
    ("metric", "of_model", "records"),
)

COUNTED = Query(
    f"""\
SELECT time, metric, records
FROM (SELECT pane AS time, {SUMS} AS found FROM ${{series}} AS series WHERE {WITHIN} GROUP BY time)
ARRAY JOIN {listed(COUNTS)} AS metric, found AS records
ORDER BY time, metric""",
    ("time", "metric", "records"),
)

LETTERS_OVER_TIME = Query(
    """\
SELECT $__timeInterval(ts) AS time, concat(stage, ' ', topic) AS place, count() AS letters
FROM dead_letters
WHERE $__timeFilter_ms(ts)
GROUP BY time, place
ORDER BY time""",
    ("time", "place", "letters"),
)

LETTERS = Query(
    """\
SELECT ts, stage, topic, partition, offset, key, reason
FROM dead_letters
WHERE $__timeFilter_ms(ts)
ORDER BY ts DESC
LIMIT 200""",
    ("ts", "stage", "topic", "partition", "offset", "key", "reason"),
)

NO_LETTERS = "no dead letters"

DASHBOARD = Dashboard(
    uid="headgate-pipeline",
    title="Headgate Pipeline",
    about="What comes in, how far it is read, and what could not be counted.",
    variables=(SERIES_OF_ALL,),
    rows=(
        Row(
            "Flow",
            (
                lines("Predictions", THROUGHPUT, RATE, "Of all models.", name="${__field.name}"),
                table(
                    "Partitions",
                    SOURCES,
                    "How far the join has read each partition of the event topics, in event time.",
                    width=12,
                    units={"behind_now": "s", "behind_others": "s"},
                ),
            ),
        ),
        Row(
            "Not counted as hoped",
            (
                bars(
                    "By kind",
                    COUNTED,
                    NUMBER,
                    "late: after the pane was final. unmatched: feedback without its prediction. "
                    "unanswered: requests without one. skewed: clocks that run ahead.",
                ),
                table("Totals", TOTALS, width=12),
                bars("Late", _summed("late"), NUMBER, width=8),
                bars("Unmatched", _summed("unmatched"), NUMBER, width=8),
                bars("Unanswered", _summed("unanswered"), NUMBER, width=8),
            ),
        ),
        Row(
            "Dead letters",
            (
                or_else(bars("Dead letters", LETTERS_OVER_TIME, NUMBER, width=8), NO_LETTERS),
                or_else(table("Why", LETTERS, "The newest 200.", width=16), NO_LETTERS),
            ),
        ),
    ),
)
