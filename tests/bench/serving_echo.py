"""`python -m tests.bench.serving_echo BROKERS PREFIX`: a bare loop of Kafka's client, which answers each
request as soon as it has it, from the beginning, until it is ended. What a worker adds to latency has this as
its floor.
"""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas import topics
from schemas.records import ENCODER, Codec, Prediction, Request
from schemas.settings import Kafka, Settings, Topics
from streams.log import Output


def main(brokers: str, prefix: str) -> None:
    """Never ends by itself."""
    settings = Settings(kafka=Kafka(brokers=brokers), topics=Topics(prefix=prefix))
    consumer = Consumer({**settings.kafka.librdkafka(), "group.id": "echo", "enable.auto.commit": False})
    name = topics.REQUESTS.full_name(settings.topics)
    consumer.assign([TopicPartition(name, n, OFFSET_BEGINNING) for n in range(settings.topics.partitions)])
    output = Output(settings)
    codec: Codec[Request] = Codec(Request)
    while True:
        message = consumer.poll(0.1)
        value = None if message is None or message.error() else message.value()
        if message is None or value is None:  # topics made a moment ago are an error at first
            continue
        request, asked, now = codec.decode(value), message.timestamp()[1], time.time() * 1000
        answer = Prediction(
            request_id=request.request_id,
            ts=int(now),
            model=request.model,
            version="echo",
            arm="stable",
            status="ok",
            latency_ms=now - asked,
        )
        output.send(topics.PREDICTIONS, request.request_id, ENCODER.encode(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
