"""What makes a start of the local broker cheap: `python -m infra.local.prepare`, which `make setup` runs.

It starts a broker once, has it do what brokers are asked for, and keeps beside the jars the formatted log
that it began with (`kafka.FORMATTED`) and what Java has learnt about its classes (`kafka.CLASSES`). Without
them everything works all the same.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.local import kafka
from infra.local.kafka import Kafka
from schemas.errors import HeadgateError

TIMEOUT = 30.0
"""Seconds for each answer of the broker."""
TOPIC = "prepared"


def main() -> int:
    """Prepares; answers the exit status. It is no failure where this Java keeps no such archives."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare(Path(folder))
        except (HeadgateError, KafkaException, OSError) as error:
            print(f"the local broker works, but starts more slowly: {error}", file=sys.stderr)
    return 0


def prepare(folder: Path) -> None:
    """Starts a broker in `folder`, asks something of it, and keeps what others can start from. Raises
    `HeadgateError`, `KafkaException` or `OSError`.
    """
    kafka.CLASSES.unlink(missing_ok=True)
    shutil.rmtree(kafka.FORMATTED, ignore_errors=True)
    archive = folder / kafka.CLASSES.name
    broker = Kafka(folder / "kafka", folder / "log", options=(f"-XX:ArchiveClassesAtExit={archive}",))
    broker.start()
    try:
        use(broker.brokers)
    finally:
        broker.stop()
    formatted = folder / kafka.FORMATTED.name
    formatted.mkdir()
    for name in kafka.LOG:
        shutil.copy(folder / "kafka" / "logs" / name, formatted)
    _install(formatted, kafka.FORMATTED)
    if archive.exists():  # not every Java writes one
        _install(archive, kafka.CLASSES)


def use(brokers: str) -> None:
    """What stages and workers do with a broker: a topic, a transaction, a group that commits."""
    address: dict[str, str | int | float | bool] = {"bootstrap.servers": brokers, "log_level": 2}
    admin = AdminClient(address)
    [made] = admin.create_topics([NewTopic(TOPIC, 1, 1)]).values()
    made.result(TIMEOUT)
    producer = Producer(address | {"transactional.id": TOPIC})
    producer.init_transactions(TIMEOUT)
    producer.begin_transaction()
    producer.produce(TOPIC, b"value", b"key")
    producer.commit_transaction(TIMEOUT)
    consumer = Consumer(address | {"group.id": TOPIC, "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    consumer.consume(1, TIMEOUT)
    consumer.commit(asynchronous=False)
    consumer.close()


def _install(made: Path, place: Path) -> None:
    """Puts a file or a folder in its place as a whole: brokers may be starting."""
    beside = place.with_name(f"{place.name}.{os.getpid()}")
    if made.is_dir():
        shutil.copytree(made, beside)
    else:
        shutil.copy(made, beside)
    beside.replace(place)


if __name__ == "__main__":
    sys.exit(main())
