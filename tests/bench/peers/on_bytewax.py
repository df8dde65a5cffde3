"""The job in Bytewax: predictions and clicks meet in a keyed join; what both say is folded into tumbling
windows of the prediction's time.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.run import cli_main

PANE = timedelta(seconds=10)
WAIT = timedelta(seconds=25)
"""How long windows wait for what is out of order: attribution window and lateness."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fact(NamedTuple):
    """What a prediction or a click adds to a series at the prediction's time."""

    ts: datetime
    predictions: int
    impressions: int
    clicks: int
    latency_ms: float


def decoded(message: Any) -> tuple[str, dict[str, Any]]:
    """Keyed by request."""
    record = json.loads(message.value)
    return record["request_id"], record


def predicted(entry: tuple[str, dict[str, Any]]) -> tuple[str, Fact]:
    """What a prediction adds, by series."""
    prediction = entry[1]
    return series(prediction), Fact(
        time(prediction), 1, len(prediction["items"]), 0, prediction["latency_ms"]
    )


def clicked(entry: tuple[str, tuple[dict[str, Any], dict[str, Any]]]) -> tuple[str, Fact]:
    """What a prediction's click adds, by series."""
    prediction = entry[1][0]
    return series(prediction), Fact(time(prediction), 0, 0, 1, 0.0)


def series(prediction: dict[str, Any]) -> str:
    """The key of a prediction's series."""
    return f"{prediction['model']}|{prediction['version']}|{prediction['arm']}"


def time(prediction: dict[str, Any]) -> datetime:
    """The prediction's time, UTC."""
    return datetime.fromtimestamp(prediction["ts"] / 1000, UTC)


def add(sums: list[float], fact: Fact) -> list[float]:
    """Folds a fact into a window's sums."""
    for i in range(4):
        sums[i] += fact[i + 1]  # type: ignore[operator]
    return sums


def merge(one: list[float], other: list[float]) -> list[float]:
    """Two windows' sums."""
    return [a + b for a, b in zip(one, other, strict=True)]


def message(entry: tuple[str, tuple[int, list[float]]]) -> Any:
    """A closed window as it is sent; its number counts panes since 1970."""
    key, (window, (predictions, impressions, clicks, latency)) = entry
    model, version, arm = key.split("|")
    row = {
        "model": model, "version": version, "arm": arm, "start": window * 10_000, "predictions": predictions,
        "impressions": impressions, "clicks": clicks, "latency_ms": latency,
    }  # fmt: skip
    return KafkaSinkMessage(key.encode(), json.dumps(row).encode())


def dataflow(job: dict[str, str]) -> Any:
    """The graph."""
    flow, brokers = Dataflow("panes"), [job["brokers"]]
    predictions = kop.input("predictions", flow, brokers=brokers, topics=[job["predictions"]])
    clicks = kop.input("clicks", flow, brokers=brokers, topics=[job["feedback"]])
    of_predictions = op.map("decode_predictions", predictions.oks, decoded)
    of_clicks = op.map("decode_clicks", clicks.oks, decoded)
    joined = op.join("join", of_predictions, of_clicks, emit_mode="complete")
    facts = op.merge(
        "facts", op.map("predicted", of_predictions, predicted), op.map("clicked", joined, clicked)
    )
    clock: Any = EventClock(lambda fact: fact.ts, wait_for_system_duration=WAIT)
    windows = win.fold_window(
        "panes",
        facts,
        clock,
        TumblingWindower(length=PANE, align_to=EPOCH),
        lambda: [0, 0, 0, 0.0],
        add,
        merge,
    )
    kop.output("output", op.map("message", windows.down, message), brokers=brokers, topic=job["output"])
    return flow


if __name__ == "__main__":
    cli_main(dataflow(json.loads(sys.argv[1])))
