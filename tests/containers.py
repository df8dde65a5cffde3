"""Kafka and ClickHouse as containers, for the tests that otherwise run on the local stack: the same settings,
and the same ways to stop, kill and start them.

The images are compose.yaml's, or those that the same variables name (`HEADGATE_IMAGE_KAFKA`,
`HEADGATE_IMAGE_CLICKHOUSE`).
"""

import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer

from infra.local import ports
from infra.local.kafka import PROPERTIES
from schemas import settings
from schemas.settings import Settings

COMPOSE = Path(__file__).parent.parent / "infra" / "compose.yaml"
PATIENCE = 90.0
"""Seconds until a container must answer."""

PUBLISHED, CONTROLLER, ITSELF = 9092, 9093, 9094
"""Kafka's ports in its container: for us, for the controller, and where the broker reaches itself; it does so
to end transactions, and could not under the address that we know.
"""

ELSEWHERE = {
    "listeners": f"PLAINTEXT://:{PUBLISHED},CONTROLLER://:{CONTROLLER},ITSELF://:{ITSELF}",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,ITSELF:PLAINTEXT",
    "inter.broker.listener.name": "ITSELF",
    "controller.quorum.voters": f"1@localhost:{CONTROLLER}",
    "log.dirs": "/tmp/kraft-combined-logs",
}
"""What of the local broker's properties is another in a container."""


def answers() -> bool:
    """Whether a Docker daemon does."""
    try:
        client = docker.from_env(timeout=5)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except DockerException:
        return False


def image(service: str) -> str:
    """The image of one of compose.yaml's services, whose variable may name another."""
    text: str = yaml.safe_load(COMPOSE.read_text())["services"][service]["image"]
    found = re.fullmatch(r"\$\{(\w+):-(.+)\}", text)
    assert found is not None, f"{COMPOSE}: {service}: found {text}, expected ${{NAME:-IMAGE}}"
    return os.environ.get(found[1]) or found[2]


class Service:
    """A container that keeps its data and its port while it is stopped, killed or started again."""

    def __init__(self, image: str, inside: int, environment: dict[str, str], port: int) -> None:
        self.port = port
        self._container = DockerContainer(image)
        # Docker takes an address too; testcontainers' type knows ports alone, which are everybody's to reach.
        self._container.ports = {f"{inside}/tcp": (ports.HOST, port)}  # type: ignore[dict-item]
        for name, value in environment.items():
            self._container.with_env(name, value)
        self._created = False

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        if not self._created:
            return False
        self._docker.reload()
        return bool(self._docker.status == "running")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        if self._created:
            self._docker.start()
        else:
            self._container.start()
            self._created = True
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.running, f"the container ended: {self._docker.logs(tail=20).decode()}"
            assert time.monotonic() < deadline, f"no answer: {self._docker.logs(tail=20).decode()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it in good order."""
        self._docker.stop(timeout=30)

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._docker.kill()

    def restart(self) -> None:
        """Starts it again; stops it first where it runs."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Removes it, with its data."""
        if self._created:
            self._container.stop(force=True, delete_volume=True)

    def answers(self) -> bool:
        """Whether it can be worked with."""
        raise NotImplementedError

    @property
    def _docker(self) -> Container:
        return self._container.get_wrapped_container()


class Kafka(Service):
    """The broker, with the local one's properties."""

    def __init__(self) -> None:
        port = ports.free()
        text = PROPERTIES.format(host=ports.HOST, port=port, controller=CONTROLLER, logs="")
        found = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
        found |= ELSEWHERE
        found["advertised.listeners"] += f",ITSELF://localhost:{ITSELF}"
        environment = {_variable(name): value for name, value in found.items()}
        super().__init__(image("kafka"), PUBLISHED, environment, port)

    @property
    def brokers(self) -> str:
        """The endpoint, as clients take it."""
        return f"{ports.HOST}:{self.port}"

    def answers(self) -> bool:
        """Whether it tells of itself."""
        try:
            admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 2})
            return bool(admin.list_topics(timeout=5.0).brokers)
        except KafkaException:
            return False


class ClickHouse(Service):
    """ClickHouse, with the default user and no password, as the local one."""

    def __init__(self) -> None:
        super().__init__(image("clickhouse"), 8123, {"CLICKHOUSE_SKIP_USER_SETUP": "1"}, ports.free())

    @property
    def url(self) -> str:
        """The endpoint, as clients take it."""
        return f"http://{ports.HOST}:{self.port}"

    def answers(self) -> bool:
        """Whether its ping does."""
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5.0) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False


class ContainerStack:
    """Both, as long as a `with` block lasts."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        self.clickhouse = ClickHouse()
        self.settings = Settings(
            kafka=settings.Kafka(brokers=self.kafka.brokers),
            clickhouse=settings.ClickHouse(url=self.clickhouse.url),
        )

    def __enter__(self) -> Self:
        try:
            for service in (self.kafka, self.clickhouse):
                service.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for remove in (self.kafka.remove, self.clickhouse.remove):
            remove()


def _variable(name: str) -> str:
    """The variable by which Kafka's image takes a property."""
    return "KAFKA_" + name.upper().replace(".", "_")
