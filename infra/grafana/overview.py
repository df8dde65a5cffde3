"""All models at a glance: what runs, what fires, how they do."""

from infra.grafana.elements import Dashboard, Query, Row
from infra.grafana.panels import FRACTION, MILLISECONDS, RATE, THERE, figure, lines, table
from infra.grafana.sql import SERIES_OF_ALL, WITHIN, address

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
        sum(series.predictions) AS predictions,
        sum(series.clicks) / nullIf(sum(series.impressions), 0) AS ctr,
        sum(series.errors) / nullIf(sum(series.predictions), 0) AS error_rate,
        argMaxIf(series.latency_p99_ms, series.pane, series.arm = 'stable') AS p99
    FROM ${{series}} AS series
    WHERE {WITHIN} AND series.predictions > 0 AND model != '' AND arm != 'shadow'
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


def _of_models(metric: str, value: str) -> Query:
    return Query(
        f"""\
SELECT pane AS time, model, {value} AS `{metric}`
FROM ${{series}} AS series
WHERE {WITHIN} AND series.predictions > 0 AND model != '' AND arm != 'shadow'
GROUP BY time, model
ORDER BY time""",
        ("time", "model", metric),
    )


BY_MODEL = "${__field.labels.model}"

DASHBOARD = Dashboard(
    uid="headgate-overview",
    title="Headgate Overview",
    about="All models: what is released, what fires, how they do.",
    variables=(SERIES_OF_ALL,),
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
                lines(
                    "Predictions",
                    _of_models("throughput_rps", "sum(series.throughput_rps)"),
                    RATE,
                    name=BY_MODEL,
                ),
                lines(
                    "CTR",
                    _of_models("ctr", "sum(series.clicks) / nullIf(sum(series.impressions), 0)"),
                    FRACTION,
                    name=BY_MODEL,
                ),
                lines(
                    "Error rate",
                    _of_models("error_rate", "sum(series.errors) / sum(series.predictions)"),
                    FRACTION,
                    name=BY_MODEL,
                ),
                lines(
                    "Latency p99",
                    _of_models("p99", "max(series.latency_p99_ms)"),
                    MILLISECONDS,
                    "The slowest version's.",
                    name=BY_MODEL,
                ),
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
