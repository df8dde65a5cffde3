"""Headgate itself: what comes in, how far it is read, and what could not be counted as hoped."""

from infra.grafana.elements import Dashboard, Query, Row
from infra.grafana.panels import NUMBER, RATE, bars, lines, table
from infra.grafana.sql import METRICS_OF_ALL, WITHIN
from streams.metrics.catalogue import COUNTS


def _summed(metric: str) -> Query:
    return Query(
        f"""\
SELECT pane AS time, if(model = '', 'not known', model) AS of_model, sum(value) AS `{metric}`
FROM ${{metrics}}
WHERE {WITHIN} AND metric = '{metric}'
GROUP BY time, of_model
ORDER BY time""",
        ("time", "of_model", metric),
    )


THROUGHPUT = Query(
    f"""\
SELECT pane AS time, sum(value) AS predictions, sum(numerator) AS total
FROM ${{metrics}}
WHERE {WITHIN} AND metric = 'throughput_rps'
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
SELECT metric, if(model = '', 'not known', model) AS of_model, sum(numerator) AS records
FROM ${{metrics}}
WHERE {WITHIN} AND metric IN ({", ".join(f"'{name}'" for name in COUNTS)})
GROUP BY metric, of_model
HAVING records > 0
ORDER BY records DESC""",
    ("metric", "of_model", "records"),
)

COUNTED = Query(
    f"""\
SELECT pane AS time, metric, sum(value) AS records
FROM ${{metrics}}
WHERE {WITHIN} AND metric IN ({", ".join(f"'{name}'" for name in COUNTS)})
GROUP BY time, metric
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

DASHBOARD = Dashboard(
    uid="headgate-pipeline",
    title="Headgate Pipeline",
    about="What comes in, how far it is read, and what could not be counted.",
    variables=(METRICS_OF_ALL,),
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
                bars("Dead letters", LETTERS_OVER_TIME, NUMBER, width=8),
                table("Why", LETTERS, "The newest 200.", width=16),
            ),
        ),
    ),
)
