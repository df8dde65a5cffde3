"""The job in Faust: an agent a topic, one record at a time; what changed is sent every second.

`on_faust.py JOB tables` keeps its state in Tables, as Faust's documentation does, and every change goes
to their changelogs; `on_faust.py JOB dicts` keeps it in plain dictionaries, and nothing survives a
restart.
"""

import json
import sys
from collections.abc import MutableMapping
from typing import Any

import faust
from faust.types import StreamT

PANE = 10_000
JOB: dict[str, str] = json.loads(sys.argv[1])


class Prediction(faust.Record, serializer="json"):
    """What the job needs of a prediction; Faust leaves out other fields."""

    request_id: str
    ts: int
    model: str
    version: str
    arm: str
    latency_ms: float
    items: list[int]


class Click(faust.Record, serializer="json"):
    """What the job needs of a click."""

    request_id: str
    ts: int


app = faust.App(
    JOB["group"],
    broker=f"kafka://{JOB['brokers']}",
    store="memory://",
    topic_partitions=int(JOB["partitions"]),
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    datadir=JOB["folder"],
)
output = app.topic(JOB["output"], value_serializer="json", partitions=1)


def state(name: str) -> MutableMapping[str, Any]:
    """A table, or a dictionary."""
    return app.Table(name) if sys.argv[2] == "tables" else {}


pane_of, early, panes = state("pane_of"), state("early"), state("panes")
changed: set[str] = set()


def add(key: str, *more: float) -> None:
    """Adds predictions, impressions, clicks and latency to a pane."""
    sums = panes.get(key) or (0, 0, 0, 0.0)
    panes[key] = [a + b for a, b in zip(sums, more, strict=True)]
    changed.add(key)


async def predicted(stream: StreamT[Any]) -> None:
    """Every prediction opens its request, and takes the clicks that came before it."""
    async for prediction in stream:
        request = prediction.request_id
        key = f"{prediction.model}|{prediction.version}|{prediction.arm}|{prediction.ts // PANE * PANE}"
        pane_of[request] = key
        clicks = early.pop(request) if request in early else 0
        add(key, 1, len(prediction.items), clicks, prediction.latency_ms)


async def clicked(stream: StreamT[Any]) -> None:
    """Every click counts in the pane of its prediction."""
    async for click in stream:
        if key := pane_of.get(click.request_id):
            add(key, 0, 0, 1, 0.0)
        else:
            early[click.request_id] = early.get(click.request_id, 0) + 1


async def emit() -> None:
    """Sends the panes that changed."""
    for key in list(changed):
        changed.discard(key)
        model, version, arm, start = key.split("|")
        predictions, impressions, clicks, latency = panes[key]
        row = {
            "model": model,
            "version": version,
            "arm": arm,
            "start": int(start),
            "predictions": predictions,
            "impressions": impressions,
            "clicks": clicks,
            "latency_ms": latency,
        }
        await output.send(key=key.encode(), value=row)


if __name__ == "__main__":
    app.agent(app.topic(JOB["predictions"], value_type=Prediction))(predicted)
    app.agent(app.topic(JOB["feedback"], value_type=Click))(clicked)
    app.timer(1.0)(emit)
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()
