"""A model in Triton or KServe (V2 protocol) under Headgate's releases: each request is answered by the
version that the release in force has for its user. Version v2 of `ranker` is `ranker-v2` there.
Usage: python -m serving.examples.triton http://localhost:8000 ranker"""

import json
import logging
import signal
import sys
import threading
from typing import Any
from urllib.request import urlopen

from schemas import settings
from schemas.records import Request
from serving.follower import Follower, Wish
from serving.responder import Responder

url, model = sys.argv[1:]
known = settings.load()
stop = threading.Event()


def ask(path: str, body: object) -> Any:
    with urlopen(f"{url}/v2/{path}", json.dumps(body).encode(), timeout=10) as reply:  # noqa: S310
        return json.loads(reply.read() or b"{}")


def make_so(wish: Wish) -> list[str]:
    release = wish.release
    versions = [version for version in (release.stable, release.candidate, release.shadow) if version]
    for version in versions:  # an error becomes the reason of the ack `failed`
        ask(f"repository/models/{model}-{version}/load", {})
    return versions


def score(version: str, request: Request) -> list[float]:
    items = request.items or []
    ids = {"name": "item", "shape": [len(items), 1], "datatype": "INT64", "data": items}
    scores: list[float] = ask(f"models/{model}-{version}/infer", {"inputs": [ids]})["outputs"][0]["data"]
    return scores  # an error becomes this request's answer


logging.basicConfig(level=logging.INFO)
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with Follower(known, [model], make_so) as follower:
    Responder(known, follower, model, score).run(stop)
