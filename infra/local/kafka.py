"""One Kafka broker on loopback: Apache Kafka in KRaft mode, broker and controller in one Java process, from
the jars of `make setup`; started from what `prepare.py` has left beside them, where it has.

For development, the demo and tests; not for production (one replica, no security).
"""

import os
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local import ports
from infra.local.process import Process
from schemas.errors import HeadgateError

JARS = Path(sys.prefix) / "kafka"
"""Where `make setup` puts Kafka's jars: in the virtual environment."""

FORMATTED = JARS / "formatted"
"""An empty log as `StorageTool format` makes it: copied, it spares a start another Java process."""
CLASSES = JARS / "classes.jsa"
"""What Java needs to know of the classes of a start, to be mapped into memory instead of worked out: see
https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html. Of another Java's making it is ignored.
"""

LOGGING = Path(__file__).with_name("log4j2.properties")

CLUSTER_ID = "headgate-local-stack01"

JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For small machines: the collector and the compiler that keep out of the other processes' way. A start takes
2.5 s of CPU, with Java's defaults 4.3 s. A broker that runs for long is better off with `OPTIMIZING`."""

OPTIMIZING = ("-XX:TieredStopAtLevel=4",)
"""Java's second compiler too, as in production."""

LOG = ("bootstrap.checkpoint", "meta.properties")
"""The files of a formatted log. The last says that it is one."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs={logs}
# A topic that is not there is a mistake, and is to be seen as one.
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
# Local topics carry recorded data with its own, old times.
log.retention.ms=-1
# One node, quick to start: internal topics with one replica and few partitions, a small log cleaner.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.cleaner.dedupe.buffer.size=16777216
# Groups form at once, and tests may choose short sessions.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
# After a crash the controller waits this long for the broker that it remembers before it takes the new one.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""


class Kafka:
    """The local broker. The same data and port over its whole life, whether it is stopped, killed or
    restarted meanwhile."""

    def __init__(self, data: Path, log: Path, port: int = 0, options: Sequence[str] = ()) -> None:
        """Keeps its data in the folder `data` and its warnings in the file `log`; port 0 is a free one.
        `options` are for Java, beside `JVM` and stronger, in the place of those that use what is prepared.
        """
        self.port = port or ports.free()
        self._controller_port = ports.free()
        self._data = data
        self._logs = data / "logs"
        self._process = Process("Kafka", log)
        self._options = options

    @property
    def brokers(self) -> str:
        """The endpoint, as clients take it."""
        return f"{ports.HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.running

    def start(self) -> None:
        """Starts the broker and waits until it answers. Raises `HeadgateError` for no Java, no jars, a busy
        port, or a broker that fails."""
        java, jars = _java(), _jars()
        ports.require_free("Kafka", self.port, "--kafka-port")
        properties = self._configure()
        options = self._options or ((f"-XX:SharedArchiveFile={CLASSES}",) if CLASSES.exists() else ())
        quiet = ("-Xlog:disable", "-Xlog:all=error:stderr", f"-Dlog4j2.configurationFile={LOGGING}")
        run = [*quiet, "-cp", f"{jars}/*"]
        broker = [java, *JVM, *options, *run, "kafka.Kafka", str(properties)]
        if self._is_formatted():
            self._process.start(broker)
        else:
            tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties))
            format_log = [java, *JVM, *run, *tool]
            self._process.start(["sh", "-c", f"{shlex.join(format_log)} && exec {shlex.join(broker)}"])
        self._process.wait_until(self._listens)
        self._process.wait_until(self._answers)

    def stop(self) -> None:
        """Ends the broker in good order."""
        self._process.stop()

    def kill(self) -> None:
        """Ends the broker as a crash would."""
        self._process.kill()

    def restart(self) -> None:
        """Starts it again, on the same data and port; stops it first where it runs."""
        self.stop()
        self.start()

    def _configure(self) -> Path:
        self._data.mkdir(parents=True, exist_ok=True)
        properties = self._data / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                host=ports.HOST,
                port=self.port,
                controller=self._controller_port,
                logs=self._logs.resolve(),
            )
        )
        return properties

    def _is_formatted(self) -> bool:
        """Whether there is a log, or one could be copied."""
        if not (self._logs / LOG[-1]).exists() and FORMATTED.is_dir():
            self._logs.mkdir(exist_ok=True)
            for name in LOG:
                shutil.copy(FORMATTED / name, self._logs)
        return (self._logs / LOG[-1]).exists()

    def _listens(self) -> bool:
        # Cheaper to repeat than a Kafka client, which would back off between its attempts.
        try:
            socket.create_connection((ports.HOST, self.port), 1.0).close()
        except OSError:
            return False
        return True

    def _answers(self) -> bool:
        try:
            return bool(
                AdminClient({"bootstrap.servers": self.brokers, "log_level": 2})
                .list_topics(timeout=5.0)
                .brokers
            )
        except KafkaException:
            return False


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        raise HeadgateError(
            "Kafka: no java command on the PATH, expected Java 17 or newer; "
            "install it (Debian: apt-get install -y default-jre-headless)"
        )
    return java


def _jars() -> Path:
    if not any(JARS.glob("kafka-server-*.jar")):
        raise HeadgateError(f"Kafka: its jars are not in {JARS}; run `make setup`")
    return JARS
