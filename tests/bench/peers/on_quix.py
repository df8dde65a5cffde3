"""The job in Quix Streams: predictions and clicks meet in an interval join, and what both say goes to a
topic keyed by series, over which the panes are tumbling windows.
"""

import json
import sys
from typing import Any

import quixstreams.dataframe.windows.aggregations as agg
from quixstreams import Application

PANE, WINDOW, GRACE = 10_000, 20_000, 90_000
"""Panes, attribution window, and how long windows wait for what is out of order (ms)."""


def by_ts(value: dict[str, Any], *_message: Any) -> int:
    """Event time is the record's own."""
    return int(value["ts"])


def predicted(prediction: dict[str, Any]) -> dict[str, Any]:
    """What a prediction adds to its pane."""
    return fact(prediction) | {
        "predictions": 1,
        "impressions": len(prediction["items"]),
        "latency_ms": prediction["latency_ms"],
    }


def clicked(prediction: dict[str, Any], _click: dict[str, Any]) -> dict[str, Any]:
    """What a click adds to its prediction's pane."""
    return fact(prediction) | {"clicks": 1}


def fact(prediction: dict[str, Any]) -> dict[str, Any]:
    """Nothing yet, of a prediction's series at its time."""
    return {
        "series": f"{prediction['model']}|{prediction['version']}|{prediction['arm']}",
        "ts": prediction["ts"],
        "predictions": 0,
        "impressions": 0,
        "clicks": 0,
        "latency_ms": 0.0,
    }


def row(window: dict[str, Any], key: Any, *_metadata: Any) -> dict[str, Any]:
    """A closed window as it is sent."""
    model, version, arm = (key.decode() if isinstance(key, bytes) else key).split("|")
    sums = {name: window[name] for name in ("predictions", "impressions", "clicks", "latency_ms")}
    return {"model": model, "version": version, "arm": arm, "start": window["start"]} | sums


def main(job: dict[str, str]) -> None:
    """Runs for ever."""
    app = Application(
        job["brokers"], consumer_group=job["group"], auto_offset_reset="earliest", state_dir=job["folder"],
        loglevel="ERROR",
    )  # fmt: skip
    predictions = app.dataframe(app.topic(job["predictions"], timestamp_extractor=by_ts))
    clicks = app.dataframe(app.topic(job["feedback"], timestamp_extractor=by_ts))
    facts = app.topic(
        f"{job['output']}.facts", key_serializer="str", key_deserializer="str", timestamp_extractor=by_ts
    )
    output = app.topic(job["output"], key_serializer="str")

    predictions.apply(predicted).to_topic(facts, key=lambda value: value["series"])
    joined = predictions.join_interval(
        clicks, on_merge=clicked, grace_ms=GRACE, backward_ms=0, forward_ms=WINDOW
    )
    joined.to_topic(facts, key=lambda value: value["series"])
    windows = app.dataframe(facts).tumbling_window(PANE, grace_ms=GRACE)
    sums = {name: agg.Sum(name) for name in ("predictions", "impressions", "clicks", "latency_ms")}
    windows.agg(**sums).final().apply(row, metadata=True).to_topic(output)
    app.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
