"""One model: clicks and ranking by version, latency, drift by feature, data quality, calibration, segments,
examples.
"""

from infra.grafana import examples
from infra.grafana.elements import Annotation, Dashboard, Query, Row, Variable
from infra.grafana.panels import (
    FRACTION,
    MILLISECONDS,
    NUMBER,
    bars,
    columns,
    heat_map,
    lines,
    table,
)
from infra.grafana.sql import (
    A_MODEL,
    A_VERSION,
    MODEL,
    RESOLUTION,
    SERIES,
    VERSIONS,
    WITHIN,
    address,
    metric,
    plain,
    together,
    view,
)
from streams.metrics.catalogue import QUANTILES

BY_VERSION = "${__field.labels.version}"
BY_BOTH = "${__field.labels.metric} ${__field.labels.version}"
BY_FEATURE = "${__field.labels.feature} ${__field.labels.version}"

METHOD = Variable(
    "method",
    "Distance",
    values={"PSI": "psi", "Jensen-Shannon": "js", "Kolmogorov-Smirnov": "ks", "Wasserstein": "wasserstein"},
)
SEGMENT = Variable(
    "segment",
    "Segment",
    f"SELECT DISTINCT segment FROM series_by_segment_1h WHERE predictions > 0 AND {MODEL} ORDER BY segment",
)

LATENCIES = Query(
    f"""\
SELECT
    $__timeInterval(pane) AS time,
    concat(leftPad(toString(round(pow(2, half / 2))), 6, ' '), ' ms') AS bucket,
    sum(count) AS predictions
FROM
(
    SELECT pane, toInt32(ceil(2 * log2(greatest(upper_ms, 1)) - 0.001)) AS half, count
    FROM ${{latencies}}
    WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND arm != 'shadow'
)
GROUP BY time, half
ORDER BY time, half""",
    ("time", "bucket", "predictions"),
)

DISTANCES = Query(
    f"""\
SELECT pane AS time, version, feature, value AS distance
FROM ${{drift}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND method = '${{method}}' AND arm != 'shadow'
ORDER BY time, feature""",
    ("time", "version", "feature", "distance"),
)

DRIFTED = Query(
    f"""\
SELECT
    kind, feature, method, version, countIf(drifted) AS panes_drifted, count() AS panes,
    argMax(value, pane) AS last_value, max(value) AS highest, any(threshold) AS limit,
    maxIf(pane, drifted) AS last_drifted
FROM ${{drift}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND arm != 'shadow'
    AND NOT endsWith(method, '_rate') AND (threshold IS NOT NULL OR drifted)
GROUP BY kind, feature, method, version
ORDER BY panes_drifted DESC, highest DESC
LIMIT 100""",
    ("kind", "feature", "method", "version", "panes_drifted", "panes", "last_value", "highest", "limit"),
)

QUALITY = Query(
    f"""\
SELECT
    feature, version,
    avgIf(value, method = 'missing_rate') AS missing,
    avgIf(value, method = 'out_of_range_rate') AS out_of_range,
    avgIf(value, method = 'type_error_rate') AS wrong_type,
    avgIf(value, method = 'unseen_rate') AS unseen
FROM ${{drift}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND arm != 'shadow' AND endsWith(method, '_rate')
GROUP BY feature, version
ORDER BY missing + ifNull(out_of_range, 0) + wrong_type + ifNull(unseen, 0) DESC, feature""",
    ("feature", "version", "missing", "out_of_range", "wrong_type", "unseen"),
)

CALIBRATION = Query(
    f"""\
SELECT
    concat(toString(score_from), ' to ', toString(score_to)) AS score,
    sum(scores) / sum(pairs) AS predicted,
    sum(positives) / sum(pairs) AS observed
FROM ${{reliability}}
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND arm != 'shadow'
GROUP BY score_from, score_to
ORDER BY score_from""",
    ("score", "predicted", "observed"),
)

SEGMENTS = Query(
    f"""\
SELECT
    segment_value, version,
    sum(series.predictions) AS predictions,
    sum(series.clicks) / nullIf(sum(series.impressions), 0) AS ctr,
    sum(series.errors) / sum(series.predictions) AS error_rate,
    sum(series.slow) / sum(series.predictions) AS slow_rate
FROM ${{series_by_segment}} AS series
WHERE {WITHIN} AND {MODEL} AND {VERSIONS} AND segment = ${{segment:sqlstring}}
    AND series.predictions > 0 AND arm != 'shadow'
GROUP BY segment_value, version
ORDER BY predictions DESC""",
    ("segment_value", "version", "predictions", "ctr", "error_rate", "slow_rate"),
)

DECISIONS = Annotation(
    "Decisions",
    "orange",
    Query(
        f"""\
SELECT
    ts AS time,
    concat(
        'generation ', toString(generation), ': ', encodeXMLComponent(reason),
        ' <a href="', {address("'headgate-release'", "ts", "ts")}, '">release</a>'
    ) AS text,
    phase AS tags
FROM releases
WHERE $__timeFilter_ms(ts) AND {MODEL}
ORDER BY time""",
        ("time", "text", "tags"),
    ),
)
ALERTS = Annotation(
    "Alerts",
    "red",
    Query(
        f"""\
SELECT starts_at AS time, concat(rule, ': ', annotations['summary']) AS text, severity AS tags
FROM alerts
WHERE $__timeFilter_ms(starts_at) AND {MODEL}
ORDER BY time""",
        ("time", "text", "tags"),
    ),
)

_SHARES = {"missing": FRACTION, "out_of_range": FRACTION, "wrong_type": FRACTION, "unseen": FRACTION}

DASHBOARD = Dashboard(
    uid="headgate-model",
    title="Headgate Model",
    about="One model's quality, speed and data, by version.",
    variables=(
        *(A_MODEL, A_VERSION, RESOLUTION, METHOD, SEGMENT, examples.REQUEST),
        *(
            SERIES,
            view("series_by_segment"),
            view("latencies"),
            view("drift"),
            view("reliability"),
        ),
    ),
    annotations=(DECISIONS, ALERTS),
    rows=(
        Row(
            "Traffic",
            (
                bars("Predictions", plain("predictions", "version"), NUMBER),
                lines("Error rate", metric("error_rate", "version"), FRACTION),
            ),
        ),
        Row(
            "Clicks and ranking",
            (
                lines("CTR", metric("ctr", "version"), FRACTION, "With its 95 % interval."),
                lines("CVR", plain("cvr", "version"), FRACTION, "Purchases per click.", name=BY_VERSION),
                lines(
                    "Recall",
                    together(at_cut_offs="recall"),
                    FRACTION,
                    "At the policy's cut-offs. From clicks alone it is 1 wherever the cut-off is not below "
                    "what was shown.",
                    name=BY_BOTH,
                ),
                lines(
                    "NDCG and MRR",
                    together("mrr", at_cut_offs="ndcg"),
                    FRACTION,
                    name=BY_BOTH,
                ),
            ),
        ),
        Row(
            "Latency",
            (
                lines(
                    "Percentiles",
                    together(*(quantile.name for quantile in QUANTILES)),
                    MILLISECONDS,
                    name=BY_BOTH,
                ),
                heat_map("Latencies", LATENCIES, "Predictions by latency; rows are half powers of two."),
            ),
        ),
        Row(
            "Drift",
            (
                lines(
                    "Distance from the reference profile",
                    DISTANCES,
                    NUMBER,
                    "By feature, and of the score. Thresholds are in the table.",
                    name=BY_FEATURE,
                ),
                table(
                    "What has drifted",
                    DRIFTED,
                    "data: what comes in; prediction: what goes out; concept: how the one belongs to the "
                    "other.",
                    width=12,
                ),
            ),
        ),
        Row("Data quality", (table("Features", QUALITY, units=_SHARES, width=24),)),
        Row(
            "Calibration",
            (
                columns(
                    "Predicted and observed",
                    CALIBRATION,
                    FRACTION,
                    "By tenth of the score, from final panes: equal bars are a calibrated model.",
                    axis="score",
                ),
                lines(
                    "ROC-AUC, log loss, ECE",
                    together("roc_auc", "log_loss", "ece"),
                    NUMBER,
                    "Of final panes.",
                    name=BY_BOTH,
                ),
            ),
        ),
        Row(
            "Segments",
            (
                table(
                    "By segment",
                    SEGMENTS,
                    units={"ctr": FRACTION, "error_rate": FRACTION, "slow_rate": FRACTION},
                ),
            ),
        ),
        examples.ROW,
    ),
)
