"""Where things are and how to get in: endpoints, security, topic prefix. Every client of ours is configured
from here.

Read from `headgate.toml` in the working directory, then from `HEADGATE_KAFKA` (`host:port,…`),
`HEADGATE_CLICKHOUSE` (`http://host:port`), `HEADGATE_KAFKA_PASSWORD`, `HEADGATE_CLICKHOUSE_PASSWORD`,
`HEADGATE_HEALTH` and `HEADGATE_SERVING_HEALTH` (`host:port`, or `off`), `HEADGATE_EXAMPLES_SECRET` and those
of `receivers.VARIABLES`, the later the stronger. Not for what is measured or decided: that is a policy
(`policies.py`).
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from schemas import certificates, links, receivers
from schemas.errors import HeadgateError
from schemas.receivers import Notify

FILE = Path("headgate.toml")

Section = TypeVar("Section", bound=msgspec.Struct)
AtLeastOne = Annotated[int, Meta(ge=1)]
Mebibytes = Annotated[int, Meta(ge=16)]
Seconds = Annotated[float, Meta(gt=0)]
Bound = Annotated[float, Meta(ge=0)]
Days = Annotated[int, Meta(ge=0, le=36_500)]

PORTS = 65_536
"""Ports are below."""

SHORTEST_SECRET = 16
"""Characters of the secret that user ids are hashed with: there are few ids, and it alone hides which."""

OFF = "off"
"""As an address of health checks: nowhere."""


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers, and how to authenticate with them. Files are PEM."""

    brokers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = ""
    ssl_ca: str = ""
    ssl_certificate: str = ""
    ssl_key: str = ""
    ssl_key_password: str = ""

    @property
    def _tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def _sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    def librdkafka(self) -> dict[str, Any]:
        """The connection part of a confluent-kafka configuration."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.brokers,
            "security.protocol": self.security_protocol,
            # Not a line for every failed connection: what matters reaches our callbacks and exceptions.
            "log_level": 2,
            "reconnect.backoff.max.ms": 2_000,
        }
        if self._sasl:
            config |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        if self._tls:
            files = {
                "ssl.ca.location": self.ssl_ca,
                "ssl.certificate.location": self.ssl_certificate,
                "ssl.key.location": self.ssl_key,
                "ssl.key.password": self.ssl_key_password,
            }
            config |= {name: value for name, value in files.items() if value}
        return config

    def ssl_context(self) -> ssl.SSLContext | None:
        """The same TLS settings for asyncio clients; None where the protocol is not encrypted."""
        if not self._tls:
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca or None)
        if self.ssl_certificate:
            # An empty password, not none: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.ssl_certificate, self.ssl_key or None, self.ssl_key_password)
        return context

    def aiokafka(self) -> dict[str, Any]:
        """The connection part of an aiokafka client's arguments."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.brokers.split(","),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self._sasl:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return arguments


class ClickHouse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ClickHouse's HTTP interface, and who we are there. `cluster`: its name in the servers' configuration,
    where there are several: tables are then replicated and sharded by model. `reader`: the user that
    `headgate schema grants` makes for dashboards; its password comes from HEADGATE_READER_PASSWORD, or is all
    of the file `reader_password_file`.
    """

    url: str = "http://127.0.0.1:8123"
    user: str = "default"
    password: str = ""
    database: str = "headgate"
    ca: str = ""
    cluster: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.{}-]*$")] = ""
    reader: Annotated[str, Meta(min_length=1)] = "headgate_reader"
    reader_password_file: str = ""

    def connect(self) -> dict[str, Any]:
        """Arguments for `clickhouse_connect.get_client`, but for the database."""
        parts = urlsplit(self.url)
        arguments: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "secure": parts.scheme == "https",
            "username": self.user,
            "password": self.password,
        }
        if self.ca:
            arguments["ca_cert"] = self.ca
        return arguments


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many days ClickHouse keeps rows, counted from when they were written; 0 is for ever. `panes`: as
    the join makes them; `minutes` and `hours`: added up; the others as their topics. What else there is
    (policies, releases, commands, silences, profiles) is kept. `examples`: sampled raw records.
    """

    panes_days: Days = 30
    minutes_days: Days = 90
    hours_days: Days = 730
    drift_days: Days = 90
    samples_days: Days = 90
    acks_days: Days = 30
    evidence_days: Days = 90
    alerts_days: Days = 730
    dead_letters_days: Days = 30
    examples_days: Days = 7


class Topics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How topics are named, and created where they do not exist yet.

    `partitions` is for the three event topics together, `model_partitions` for the model-keyed ones; neither
    changes in place.
    """

    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=200)] = ""
    partitions: AtLeastOne = 4
    model_partitions: AtLeastOne = 1
    replication: AtLeastOne = 1


class Streams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the stages' processes behave.

    `session`: seconds without a sign of life after which the group gives a process's partitions to others
    (the broker sets bounds, 6 s and 30 min by default). `liveness`: seconds without progress, while there is
    work, after which a process ends itself. `memory`: MiB that a join process may hold of pending events:
    from half of it on it lets topics wait that are ahead, and where that is not enough it closes
    the oldest panes early, as `incomplete`. `health`: where the first stage answers health checks, the next
    one on the next port, and so on; `off` for nowhere. Whoever can reach it can read it: no secrets are told,
    but topics and rates.
    """

    session: Seconds = 10.0
    liveness: Seconds = 60.0
    memory: Mebibytes = 4096
    health: str = "127.0.0.1:9400"

    def health_address(self, number: int) -> tuple[str, int] | None:
        """Host and port for the stage with this number (from 0 on); None for nowhere. Port 0, any free one,
        stays 0.
        """
        return _address(self.health, number)


class Serving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How serving workers behave.

    `health`: where a worker answers health checks; `off` for nowhere. Of several on one machine each wants an
    address of its own. Whoever can reach it can read it: no secrets are told, but models, versions and rates.
    `hang_s`: seconds after which one run of a model counts as hung, and the worker is started again;
    `load_s`: the same for the loading of a version, compiling and warm-up included.

    How long requests may have waited (ms since their Kafka timestamp; 0: for ever) when their turn comes:
    those beyond `max_age_ms` are answered `timeout`, those beyond `shed_ms` `shed`; `shed_surface_ms` has
    other bounds for some surfaces, of which those with the smallest go first. `cache_mib`: MiB of results
    that are kept for requests with the same inputs, each for `cache_s` seconds; 0: none.

    `device`: where models run; `auto` is CUDA where ONNX Runtime was built with it, else the CPU. A batch's
    rows are divided between `sessions` sessions on each of the `gpus`. `precision`: what TensorRT computes
    in; elsewhere the model's file says. `engines`: the folder of TensorRT's compiled engines. `memory_mib`:
    MiB of files that versions in memory may have in all; what a release does not need stays in memory while
    there is room, and what does not fit beside what is needed is refused; 0: only what is needed, whatever it
    takes.
    """

    health: str = "127.0.0.1:9420"
    hang_s: Seconds = 30.0
    load_s: Seconds = 300.0
    max_age_ms: Bound = 0
    shed_ms: Bound = 0
    shed_surface_ms: dict[str, Bound] = {}
    cache_mib: Bound = 0
    cache_s: Seconds = 60.0
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    gpus: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0,)
    sessions: AtLeastOne = 1
    precision: Literal["fp32", "fp16"] = "fp32"
    engines: str = "~/.cache/headgate/engines"
    memory_mib: Annotated[int, Meta(ge=0)] = 0

    @property
    def health_address(self) -> tuple[str, int] | None:
        """Host and port; None for nowhere."""
        return _address(self.health, 0)


class Signing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may steer serving. `keys`: the file with the keys (`schemas.signing.keyring`); without one, and
    without keys in the environment, nothing is signed. `required`: unsigned control records are refused; off
    only while signing is introduced.
    """

    keys: str = ""
    required: bool = True


class Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether raw records are kept to be looked at, where policies ask for some. `secret`: the key that user
    ids are hashed with (HMAC-SHA-256) before they are stored; without one no raw record is.
    """

    secret: str = ""


class Grafana(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where people look. `url`: a link to a dashboard, in which {model}, {version}, {from} and {to} are
    filled in, as in `https://grafana/d/headgate?var-model={model}&from={from}&to={to}`; decisions and alerts
    have it. Empty: they have none.
    """

    url: str = ""

    def __post_init__(self) -> None:
        found = links.mistake(self.url)
        if found is not None:
            raise ValueError(f"url: {found}")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `headgate.toml`."""

    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    storage: Storage = Storage()
    topics: Topics = Topics()
    streams: Streams = Streams()
    serving: Serving = Serving()
    signing: Signing = Signing()
    notify: Notify = Notify()
    grafana: Grafana = Grafana()
    examples: Examples = Examples()

    def environment(self) -> dict[str, str]:
        """The variables that hand these endpoints and their passwords to a child process; an empty password
        hides one that our own environment has for other endpoints.
        """
        return {
            "HEADGATE_KAFKA": self.kafka.brokers,
            "HEADGATE_KAFKA_PASSWORD": self.kafka.sasl_password,
            "HEADGATE_CLICKHOUSE": self.clickhouse.url,
            "HEADGATE_CLICKHOUSE_PASSWORD": self.clickhouse.password,
            **{name: getattr(self.notify, field) for field, name in receivers.VARIABLES.items()},
            "HEADGATE_EXAMPLES_SECRET": self.examples.secret,
            "HEADGATE_ALERTMANAGER": ",".join(self.notify.alertmanagers),
        }


def load(file: Path = FILE, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `file` (the defaults where there is none) and the environment.

    Raises `HeadgateError` for a file that is not TOML, an unknown key, a wrong type, an endpoint that is not
    one, a certificate or key that is no file or none, or a secret that is too short.
    """
    settings = Settings()
    if file.exists():
        try:
            settings = msgspec.toml.decode(file.read_bytes(), type=Settings)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise HeadgateError(f"{file}: {error}") from error
    kafka, clickhouse, streams = settings.kafka, settings.clickhouse, settings.streams
    kafka = _override(kafka, environ, brokers="HEADGATE_KAFKA", sasl_password="HEADGATE_KAFKA_PASSWORD")
    clickhouse = _override(
        clickhouse, environ, url="HEADGATE_CLICKHOUSE", password="HEADGATE_CLICKHOUSE_PASSWORD"
    )
    streams = _override(streams, environ, health="HEADGATE_HEALTH")
    serving = _override(settings.serving, environ, health="HEADGATE_SERVING_HEALTH")
    _check(kafka, clickhouse)
    _check_health(streams.health, "HEADGATE_HEALTH", "streams")
    _check_health(serving.health, "HEADGATE_SERVING_HEALTH", "serving")
    notify = _override(settings.notify, environ, **receivers.VARIABLES)
    receivers.check(notify)
    examples = _override(settings.examples, environ, secret="HEADGATE_EXAMPLES_SECRET")
    _check_secret(examples.secret)
    return msgspec.structs.replace(
        settings,
        kafka=kafka,
        clickhouse=clickhouse,
        streams=streams,
        serving=serving,
        notify=notify,
        examples=examples,
    )


def _override(section: Section, environ: Mapping[str, str], **variables: str) -> Section:
    found = {field: environ[name] for field, name in variables.items() if environ.get(name)}
    return msgspec.structs.replace(section, **found)


def _address(health: str, number: int) -> tuple[str, int] | None:
    if health == OFF:
        return None
    host, _, port = health.rpartition(":")
    return host.strip("[]"), int(port) + number if int(port) else 0


def _check_health(health: str, variable: str, section: str) -> None:
    host, _, port = health.rpartition(":")
    if health != OFF and (not host or not port.isdecimal() or int(port) >= PORTS):
        raise HeadgateError(
            f"address of health checks: found {health!r}, expected host:port or {OFF}; "
            f"set {variable}, or health under [{section}] in headgate.toml"
        )


def _check_secret(secret: str) -> None:
    if secret and len(secret) < SHORTEST_SECRET:
        raise HeadgateError(
            f"secret of user ids: found {len(secret)} characters, expected at least {SHORTEST_SECRET}; set "
            "HEADGATE_EXAMPLES_SECRET, or secret under [examples] in headgate.toml (openssl rand -hex 32)"
        )


def _check(kafka: Kafka, clickhouse: ClickHouse) -> None:
    for broker in kafka.brokers.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdecimal() or int(port) >= PORTS:
            raise HeadgateError(
                f"Kafka endpoint: found {broker!r}, expected host:port[,host:port…]; "
                "set HEADGATE_KAFKA, or brokers under [kafka] in headgate.toml"
            )
    try:
        parts = urlsplit(clickhouse.url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        sound = False
    if "@" in clickhouse.url:  # before any word that quotes it
        raise HeadgateError(
            "ClickHouse endpoint: found a user or a password in the URL, expected http[s]://host:port; "
            "set user under [clickhouse] in headgate.toml, and HEADGATE_CLICKHOUSE_PASSWORD"
        )
    if not sound:
        raise HeadgateError(
            f"ClickHouse endpoint: found {clickhouse.url!r}, expected http[s]://host:port; "
            "set HEADGATE_CLICKHOUSE, or url under [clickhouse] in headgate.toml"
        )
    for setting, file in (
        ("[kafka] ssl_ca", kafka.ssl_ca),
        ("[kafka] ssl_certificate", kafka.ssl_certificate),
        ("[kafka] ssl_key", kafka.ssl_key),
        ("[clickhouse] ca", clickhouse.ca),
    ):
        if file and not Path(file).is_file():
            raise HeadgateError(
                f"{setting} in headgate.toml: found no file {file!r}, expected one in PEM format"
            )
    certificates.check_authorities("[kafka] ssl_ca", kafka.ssl_ca)
    certificates.check_authorities("[clickhouse] ca", clickhouse.ca)
    certificates.check_pair(kafka.ssl_certificate, kafka.ssl_key, kafka.ssl_key_password)
