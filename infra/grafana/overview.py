"""All models at a glance: what runs, what fires, how they do."""

from infra.grafana.elements import Dashboard, Query, Row
from infra.grafana.panels import FRACTION, MILLISECONDS, RATE, THERE, figure, lines, table
from infra.grafana.sql import METRICS_OF_ALL, WITHIN, address

OF_MODEL = "/d/headgate-model?var-model=${__data.fields.model}&${__url_time_range}"
OF_RELEASE = "/d/headgate-release?var-model=${__data.fields.model}&${__url_time_range}"

MODELS = Query(
    f"""\
SELECT
    model, phase, stable, candidate, weight, firing, predictions, ctr, error_rate, p99
FROM
(
    SELECT
        model,
        sumIf(numerator, metric = 'predictions') AS predictions,
        sumIf(numerator, metric = 'ctr') / nullIf(sumIf(denominator, metric = 'ctr'), 0) AS ctr,
        sumIf(numerator, metric = 'error_rate')
            / nullIf(sumIf(denominator, metric = 'error_rate'), 0) AS error_rate,
        argMaxIf(value, pane, metric = 'latency_p99_ms' AND arm = 'stable') AS p99
    FROM ${{metrics}}
    WHERE {WITHIN} AND model != '' AND arm != 'shadow'
        AND metric IN ('predictions', 'ctr', 'error_rate', 'latency_p99_ms')
    GROUP BY model
) AS measured
LEFT JOIN
(
    SELECT
        model,
        argMax(phase, generation) AS phase,
        argMax(stable, generation) AS stable,
        argMax(ifNull(candidate, ''), generation) AS candidate,
        argMax(weight, generation) AS weight
    FROM releases
    GROUP BY model
) AS released USING (model)
LEFT JOIN
(
    SELECT model, count() AS firing FROM alerts WHERE status = 'firing' GROUP BY model
) AS alarmed USING (model)
ORDER BY firing DESC, predictions DESC""",
    (
        *("model", "phase", "stable", "candidate", "weight", "firing"),
        *("predictions", "ctr", "error_rate", "p99"),
    ),
)

OF_WHAT = "if(startsWith(rule, 'release_') OR rule = 'ack_missing', 'headgate-release', 'headgate-model')"
"""The dashboard that shows what an alert is about, as SQL."""

ALERTS = Query(
    f"""\
SELECT
    starts_at, ends_at, model, rule, severity, status, value, threshold,
    annotations['summary'] AS summary,
    {address(OF_WHAT, "starts_at", "ifNull(ends_at, starts_at)")} AS link
FROM alerts
WHERE status = 'firing' OR $__timeFilter_ms(starts_at)
ORDER BY status = 'firing' DESC, starts_at DESC
LIMIT 200""",
    (
        *("starts_at", "ends_at", "model", "rule", "severity", "status", "value", "threshold"),
        *("summary", "link"),
    ),
)


def _count(sql: str, name: str) -> Query:
    return Query(f"SELECT count() AS {name} FROM {sql}", (name,))


def _of_models(metric: str) -> Query:
    return Query(
        f"""\
SELECT pane AS time, model, sum(numerator) / nullIf(sum(denominator), 0) AS `{metric}`
FROM ${{metrics}}
WHERE {WITHIN} AND metric = '{metric}' AND model != '' AND arm != 'shadow'
GROUP BY time, model
ORDER BY time""",
        ("time", "model", metric),
    )


SLOWEST = Query(
    f"""\
SELECT pane AS time, model, max(value) AS p99
FROM ${{metrics}}
WHERE {WITHIN} AND metric = 'latency_p99_ms' AND model != '' AND arm != 'shadow'
GROUP BY time, model
ORDER BY time""",
    ("time", "model", "p99"),
)

BY_MODEL = "${__field.labels.model}"

DASHBOARD = Dashboard(
    uid="headgate-overview",
    title="Headgate Overview",
    about="All models: what is released, what fires, how they do.",
    variables=(METRICS_OF_ALL,),
    rows=(
        Row(
            "Now",
            (
                figure(
                    "Alerts firing", _count("alerts WHERE status = 'firing'", "firing"), "short", text=False
                ),
                figure(
                    "Releases under way",
                    _count(
                        "(SELECT argMax(phase, generation) AS phase FROM releases GROUP BY model)"
                        " WHERE phase IN ('canary', 'paused', 'watching')",
                        "running",
                    ),
                    "short",
                    text=False,
                ),
                figure(
                    "Rolled back",
                    _count("releases WHERE phase = 'rolled_back' AND $__timeFilter_ms(ts)", "rolled_back"),
                    "short",
                    "In the time that is looked at.",
                    text=False,
                ),
                table(
                    "Models",
                    MODELS,
                    "CTR, errors and predictions over the time that is looked at; p99 is stable's of the "
                    "last minute.",
                    units={"ctr": FRACTION, "error_rate": FRACTION, "weight": FRACTION, "p99": MILLISECONDS},
                    links={"model": OF_MODEL, "phase": OF_RELEASE},
                ),
            ),
        ),
        Row(
            "Over time",
            (
                lines("Predictions", _of_models("throughput_rps"), RATE, name=BY_MODEL),
                lines("CTR", _of_models("ctr"), FRACTION, name=BY_MODEL),
                lines("Error rate", _of_models("error_rate"), FRACTION, name=BY_MODEL),
                lines("Latency p99", SLOWEST, MILLISECONDS, "The slowest version's.", name=BY_MODEL),
            ),
        ),
        Row(
            "Alerts",
            (
                table(
                    "Alerts",
                    ALERTS,
                    "Those that fire, and those that began in the time that is looked at.",
                    height=10,
                    links={"model": OF_MODEL, "rule": THERE, "starts_at": THERE},
                    hidden=("link",),
                ),
            ),
        ),
    ),
)
