"""One release: both arms side by side, what was decided and from what, who follows."""

from infra.grafana.elements import Dashboard, Query, Row, Variable
from infra.grafana.model import ALERTS, DECISIONS
from infra.grafana.panels import (
    FRACTION,
    MILLISECONDS,
    NUMBER,
    THERE,
    against,
    bars,
    figure,
    lines,
    steps,
    table,
)
from infra.grafana.sql import A_MODEL, MODEL, RESOLUTION, SERIES, WITHIN, address

BY_ARM = "${__field.labels.arm} ${__field.labels.version}"


def _latest(column: str) -> Query:
    return Query(
        f"SELECT argMax(ifNull(toString({column}), '-'), generation) AS {column} FROM releases WHERE {MODEL}",
        (column,),
    )


def _arms(metric: str) -> Query:
    return Query(
        f"""\
SELECT pane AS time, arm, version, {metric}
FROM ${{series}}
WHERE {WITHIN} AND {MODEL} AND predictions > 0
ORDER BY time""",
        ("time", "arm", "version", metric),
    )


WEIGHT = Query(
    f"""\
SELECT ts AS time, weight FROM releases WHERE $__timeFilter_ms(ts) AND {MODEL}
ORDER BY time""",
    ("time", "weight"),
)

DECIDED = Query(
    f"""\
SELECT
    ts, generation, phase, stable, candidate, weight, reason,
    JSONExtractString(evidence, 'test') AS test,
    JSONExtract(evidence, 'statistic', 'Nullable(Float64)') AS statistic,
    JSONExtract(evidence, 'boundary', 'Nullable(Float64)') AS boundary,
    JSONExtract(evidence, 'effect', 'Nullable(Float64)') AS effect,
    JSONExtract(evidence, 'lower', 'Nullable(Float64)') AS lower,
    JSONExtract(evidence, 'upper', 'Nullable(Float64)') AS upper,
    decision_id, {address("'headgate-release'", "ts", "ts")} AS link
FROM releases
WHERE {MODEL} AND $__timeFilter_ms(ts)
ORDER BY generation DESC""",
    (
        *("ts", "generation", "phase", "stable", "candidate", "weight", "reason"),
        *("test", "statistic", "boundary", "link"),
    ),
)

TEST = Variable(
    "test",
    "Test",
    f"SELECT DISTINCT test FROM evidence WHERE {MODEL} AND $__timeFilter_ms(ts) AND proof != ''"
    " ORDER BY test",
)
"""A guardrail, or the success criterion."""

EVIDENCE = Query(
    f"""\
SELECT
    $__timeInterval(ts) AS time,
    argMax(effect, ts) AS effect, argMax(lower, ts) AS lower, argMax(upper, ts) AS upper,
    argMax(threshold, ts) AS bound
FROM evidence
WHERE $__timeFilter_ms(ts) AND {MODEL} AND test = ${{test:sqlstring}}
GROUP BY time
ORDER BY time""",
    ("time", "effect", "lower", "upper", "bound"),
)

SAMPLES = Query(
    f"""\
SELECT
    $__timeInterval(ts) AS time,
    argMax(samples, ts) AS judged, argMax(reference_samples, ts) AS reference, argMax(needed, ts) AS bound
FROM evidence
WHERE $__timeFilter_ms(ts) AND {MODEL} AND test = ${{test:sqlstring}}
GROUP BY time
ORDER BY time""",
    ("time", "judged", "reference", "bound"),
)

TESTS = Query(
    f"""\
SELECT
    test, state, effect, lower, upper, threshold, proof, side, judged, value, samples,
    reference, reference_value, reference_samples, needed, alpha, ts AS as_of
FROM evidence
WHERE $__timeFilter_ms(ts) AND {MODEL}
ORDER BY as_of DESC, proof DESC, test
LIMIT 1 BY test""",
    (
        *("test", "state", "effect", "lower", "upper", "threshold", "proof", "side"),
        *("judged", "value", "samples", "reference", "reference_value", "reference_samples"),
        *("needed", "as_of"),
    ),
)

WORKERS = Query(
    f"""\
SELECT
    worker,
    max(acks.generation) AS applied,
    argMax(ifNull(acks.status, 'applied'), ts) AS status,
    argMax(loaded, ts) AS loaded,
    max(ts) AS last_heard,
    argMaxIf(error, ts, acks.status = 'failed') AS last_error
FROM acks
WHERE {MODEL} AND $__timeFilter_ms(ts) AND ifNull(acks.status, 'applied') != 'loading'
GROUP BY worker
ORDER BY applied, worker""",
    ("worker", "applied", "status", "loaded", "last_heard", "last_error"),
)

DELAYS = Query(
    f"""\
SELECT
    released.ts AS time, worker,
    dateDiff('millisecond', released.ts, min(acks.ts)) AS acknowledged_after
FROM acks
INNER JOIN (SELECT ts, model, generation FROM releases WHERE {MODEL} AND $__timeFilter_ms(ts)) AS released
    USING (model, generation)
WHERE {MODEL} AND kind = 'ack' AND status = 'applied'
GROUP BY time, worker
ORDER BY time""",
    ("time", "worker", "acknowledged_after"),
)

COMMANDS = Query(
    f"""\
SELECT ts, command, version, mode, actor, reason, command_id
FROM commands
WHERE {MODEL} AND $__timeFilter_ms(ts)
ORDER BY ts DESC""",
    ("ts", "command", "version", "mode", "actor", "reason"),
)

DASHBOARD = Dashboard(
    uid="headgate-release",
    title="Headgate Release",
    about="One model's release: arms side by side, evidence, decisions, workers.",
    variables=(A_MODEL, TEST, RESOLUTION, SERIES),
    annotations=(DECISIONS, ALERTS),
    rows=(
        Row(
            "Now",
            (
                figure("Phase", _latest("phase")),
                figure("Stable", _latest("stable")),
                figure("Candidate", _latest("candidate")),
                figure("Candidate's share", _latest("weight")),
                figure("Generation", _latest("generation")),
                figure("Shadow", _latest("shadow")),
            ),
        ),
        Row(
            "Arms side by side",
            (
                lines("CTR", _arms("ctr"), FRACTION, name=BY_ARM),
                lines("Error rate", _arms("error_rate"), FRACTION, name=BY_ARM),
                lines("Latency p99", _arms("latency_p99_ms"), MILLISECONDS, name=BY_ARM),
                bars("Predictions", _arms("predictions"), NUMBER),
            ),
        ),
        Row(
            "Evidence",
            (
                against(
                    "Effect and its bound",
                    EVIDENCE,
                    FRACTION,
                    "What the test knows at each look, with an interval that holds at all looks together: "
                    "all of it beyond the broken line is proof. Relative to the reference, if there is one.",
                    width=16,
                ),
                against(
                    "Samples", SAMPLES, NUMBER, "Of the test's metric; so many are needed of each.", width=8
                ),
                table(
                    "Tests",
                    TESTS,
                    "The last look of each. rollback: a guardrail, promotion: the success criterion.",
                    units=dict.fromkeys(("effect", "lower", "upper", "threshold"), FRACTION),
                ),
            ),
        ),
        Row(
            "Decisions",
            (
                steps("Candidate's share", WEIGHT, FRACTION, width=8),
                table(
                    "Decisions",
                    DECIDED,
                    "Statistic and boundary are in standard errors: the one beyond the other is proof.",
                    width=16,
                    units={"weight": FRACTION, "effect": FRACTION, "lower": FRACTION, "upper": FRACTION},
                    links={"ts": THERE, "decision_id": THERE},
                    hidden=("link",),
                ),
                table("Commands", COMMANDS),
            ),
        ),
        Row(
            "Workers",
            (
                table("Workers", WORKERS, width=12),
                lines(
                    "Acknowledged after",
                    DELAYS,
                    MILLISECONDS,
                    "From the release record to each worker's word that it has applied it.",
                    name="${__field.labels.worker}",
                    custom={"drawStyle": "points", "pointSize": 6},
                ),
            ),
        ),
    ),
)
