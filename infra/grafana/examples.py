"""The raw records that a policy has kept, to be looked at: requests, what they were answered, and what came
of it. A request's id leads to all that is known of it.
"""

from infra.grafana.elements import Query, Row, Variable
from infra.grafana.panels import MILLISECONDS, THERE, table
from infra.grafana.sql import MODEL, VERSIONS, address

REQUEST = Variable("request", "Request")
"""The id of the one request to be shown; empty for any."""

_MODEL_THEN = address("'headgate-model'", "ts", "ts")
_LINK = f"concat({_MODEL_THEN}, '&var-request=', encodeURLComponent(request_id))"
_CHOSEN = f"$__timeFilter_ms(ts) AND {MODEL} AND ${{request:sqlstring}} IN ('', request_id)"
_LATEST = "ORDER BY ts DESC\nLIMIT 100"

REQUESTS = Query(
    f"""\
SELECT
    ts, request_id, user, surface, toString(segments) AS in_segments, features, inputs,
    arrayStringConcat(items, ', ') AS candidates, k, deadline_ms, {_LINK} AS link
FROM example_requests
WHERE {_CHOSEN}
{_LATEST}""",
    ("ts", "request_id", "user", "surface", "in_segments", "features", "inputs", "candidates", "k"),
)

PREDICTIONS = Query(
    f"""\
SELECT
    ts, request_id, version, arm, status, error, latency_ms, infer_ms, queue_ms, batch, worker, shown,
    arrayStringConcat(items, ', ') AS ranking,
    arrayStringConcat(arrayMap(score -> toString(round(score, 4)), scores), ', ') AS their_scores,
    {_LINK} AS link
FROM example_predictions
WHERE {_CHOSEN} AND {VERSIONS}
{_LATEST}""",
    ("ts", "request_id", "version", "arm", "status", "latency_ms", "shown", "ranking", "their_scores"),
)

FEEDBACK = Query(
    f"""\
SELECT ts, request_id, kind, item, value, event_id, {_LINK} AS link
FROM example_feedback
WHERE {_CHOSEN}
{_LATEST}""",
    ("ts", "request_id", "kind", "item"),
)

_LEADS = {"request_id": THERE}

ROW = Row(
    "Examples",
    (
        table(
            "Requests",
            REQUESTS,
            "The last hundred of the share that the policy keeps (`examples`); of features and inputs what "
            "it names. The user is a keyed hash. An id leads to all records of its request.",
            links=_LEADS,
            hidden=("link",),
        ),
        table(
            "Predictions of these",
            PREDICTIONS,
            "Of any arm, shadows too; the first `shown` of the ranking were displayed.",
            units=dict.fromkeys(("latency_ms", "infer_ms", "queue_ms"), MILLISECONDS),
            links=_LEADS,
            hidden=("link",),
        ),
        table("Feedback to these", FEEDBACK, links=_LEADS, hidden=("link",)),
    ),
)
