"""The job in Pathway: an interval join of two tables read from Kafka, and tumbling windows over it; every
change of a result is sent.
"""

import json
import sys

import pathway as pw

PANE, WINDOW = 10_000, 20_000


class Prediction(pw.Schema):  # type: ignore[misc]
    """What the job needs of a prediction."""

    request_id: str
    ts: int
    model: str
    version: str
    arm: str
    latency_ms: float
    items: pw.Json


class Click(pw.Schema):  # type: ignore[misc]
    """What the job needs of a click."""

    request_id: str
    ts: int


def main(job: dict[str, str]) -> None:
    """Runs for ever."""
    kafka = {"bootstrap.servers": job["brokers"], "group.id": job["group"], "auto.offset.reset": "earliest"}
    predictions = pw.io.kafka.read(kafka, job["predictions"], schema=Prediction, format="json")
    clicks = pw.io.kafka.read(kafka, job["feedback"], schema=Click, format="json")
    joined = predictions.interval_join_left(
        clicks,
        predictions.ts,
        clicks.ts,
        pw.temporal.interval(0, WINDOW),
        predictions.request_id == clicks.request_id,
    ).select(
        predictions.ts,
        predictions.model,
        predictions.version,
        predictions.arm,
        predictions.latency_ms,
        impressions=pw.apply_with_type(lambda items: len(items.as_list()), int, predictions.items),
        click=pw.if_else(clicks.ts.is_none(), 0, 1),
    )
    panes = joined.windowby(
        joined.ts,
        window=pw.temporal.tumbling(duration=PANE),
        instance=(joined.model, joined.version, joined.arm),
    ).reduce(
        model=pw.reducers.any(pw.this.model),
        version=pw.reducers.any(pw.this.version),
        arm=pw.reducers.any(pw.this.arm),
        start=pw.this._pw_window_start,
        predictions=pw.reducers.count(),
        impressions=pw.reducers.sum(pw.this.impressions),
        clicks=pw.reducers.sum(pw.this.click),
        latency_ms=pw.reducers.sum(pw.this.latency_ms),
    )
    pw.io.kafka.write(panes, kafka, topic_name=job["output"], format="json")
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
