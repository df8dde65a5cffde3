"""A model in Triton or KServe (V2 protocol) under Headgate's releases: each request is answered by the
version that the release in force has for its user. Version v2 of `ranker` is `ranker-v2` there.
Usage: python -m serving.examples.triton http://localhost:8000 ranker"""

import json
import sys
import time
from typing import Any
from urllib.request import urlopen

from confluent_kafka import Consumer

from schemas import settings, topics
from schemas.records import ENCODER, Codec, Prediction, Release, Request
from serving.follower import Follower, Wish
from serving.router import is_candidate, unit_of
from streams.log import Output

url, model = sys.argv[1:]
known = settings.load()
output, codec = Output(known), Codec[Request](Request)
group = {"group.id": f"triton-{model}", "auto.offset.reset": "earliest", "enable.auto.commit": False}


def ask(path: str, body: object) -> Any:
    with urlopen(f"{url}/v2/{path}", json.dumps(body).encode(), timeout=60) as reply:  # noqa: S310
        return json.loads(reply.read() or b"{}")


def make_so(wish: Wish) -> list[str]:
    versions = [version for version in (wish.release.stable, wish.release.candidate) if version]
    for version in versions:  # an error becomes the reason of the ack `failed`
        ask(f"repository/models/{model}-{version}/load", {})
    return versions


def answer(request: Request, asked: int, release: Release) -> Prediction:
    is_new = is_candidate(release.salt, unit_of(request, "user"), release.weight)
    version, items = (release.candidate if is_new else None) or release.stable, request.items or []
    ids = {"name": "item", "shape": [len(items), 1], "datatype": "INT64", "data": items}
    scores = ask(f"models/{model}-{version}/infer", {"inputs": [ids]})["outputs"][0]["data"]
    ranked, now = sorted(zip(scores, items, strict=True), reverse=True), int(time.time() * 1000)
    return Prediction(request_id=request.request_id, ts=now, latency_ms=max(0, now - asked), status="ok",
                      arm="candidate" if is_new else "stable", generation=release.generation, version=version,
                      items=[i for _, i in ranked], scores=[s for s, _ in ranked], model=model)  # fmt: skip


with Consumer(known.kafka.librdkafka() | group) as consumer, Follower(known, [model], make_so) as follower:
    while not (follower.in_force(model) or follower.failure):
        time.sleep(0.1)
    consumer.subscribe([topics.REQUESTS.full_name(known.topics)])
    while not follower.failure:
        message, release = consumer.poll(0.5), follower.in_force(model)
        if message and release and not message.error():
            if (request := codec.decode(message.value())).model == model:
                value = ENCODER.encode(answer(request, message.timestamp()[1], release))
                output.send(topics.PREDICTIONS, request.request_id, value)
                output.flush()  # the answer first, then its offset: a crash repeats, and loses nothing
            consumer.commit(message=message, asynchronous=False)
