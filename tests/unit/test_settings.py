"""Where settings come from, which is the stronger, and what every client is configured with."""

import ssl
from pathlib import Path

import pytest

from schemas.errors import HeadgateError
from schemas.settings import ClickHouse, Kafka, Settings, load


def written(folder: Path, toml: str) -> Path:
    file = folder / "headgate.toml"
    file.write_text(toml)
    return file


def test_without_file_and_environment_everything_is_local(tmp_path: Path) -> None:
    settings = load(tmp_path / "none.toml", {})
    assert settings == Settings()
    assert (settings.kafka.brokers, settings.clickhouse.url) == ("127.0.0.1:9092", "http://127.0.0.1:8123")


def test_the_file_sets_what_it_names(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[kafka]\nbrokers = "a:1,b:2"\n[clickhouse]\nuser = "gate"\n[topics]\nprefix = "x."\n'
    )
    settings = load(file, {})
    assert (settings.kafka.brokers, settings.clickhouse.user, settings.topics.prefix) == (
        "a:1,b:2",
        "gate",
        "x.",
    )
    assert settings.topics.partitions == Settings().topics.partitions


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[kafka]\nbrokers = "file:1"\nsasl_password = "file"\n[clickhouse]\nurl = "http://file:1"\n'
    )
    environ = {
        "HEADGATE_KAFKA": "env:2",
        "HEADGATE_CLICKHOUSE": "https://env:2",
        "HEADGATE_KAFKA_PASSWORD": "k",
        "HEADGATE_CLICKHOUSE_PASSWORD": "c",
    }
    settings = load(file, environ)
    assert (settings.kafka.brokers, settings.kafka.sasl_password) == ("env:2", "k")
    assert (settings.clickhouse.url, settings.clickhouse.password) == ("https://env:2", "c")


def test_an_empty_variable_is_as_if_it_were_absent(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {"HEADGATE_KAFKA": ""}) == Settings()


def test_a_childs_environment_names_the_same_endpoints(tmp_path: Path) -> None:
    settings = load(tmp_path / "none.toml", {"HEADGATE_KAFKA": "a:1", "HEADGATE_CLICKHOUSE": "http://b:2"})
    assert load(tmp_path / "none.toml", settings.environment()) == settings


def test_a_child_gets_the_passwords_of_its_endpoints_and_not_those_of_our_own_environment(
    tmp_path: Path,
) -> None:
    file = tmp_path / "none.toml"
    ours = {"HEADGATE_KAFKA_PASSWORD": "k", "HEADGATE_CLICKHOUSE_PASSWORD": "c"}
    secret = load(file, ours)
    assert load(file, secret.environment()) == secret
    assert load(file, ours | Settings().environment()) == Settings()


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ("[kafka\n", "headgate.toml"),
        ('[kafka]\nbroker = "a:1"\n', "broker"),
        ("[kafka]\nbrokers = 9092\n", "brokers"),
        ('[kafka]\nsecurity_protocol = "TLS"\n', "TLS"),
        ('[topics]\npartitions = "four"\n', "partitions"),
        ("[streams]\nsession = 0\n", "$.streams.session"),
        ("[topics]\npartitions = 0\n", "Expected `int` >= 1 - at `$.topics.partitions`"),
        ('[topics]\nprefix = "a b."\n', "$.topics.prefix"),
        ("[kafak]\n", "kafak"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path: Path, toml: str, found: str) -> None:
    with pytest.raises(HeadgateError) as caught:
        load(written(tmp_path, toml), {})
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "headgate.toml"))
    assert found in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "brokers",
    ["localhost", "localhost:", ":9092", "localhost:9092,", "http://localhost", "localhost:70000"],
)
def test_a_kafka_endpoint_is_host_and_port(tmp_path: Path, brokers: str) -> None:
    with pytest.raises(HeadgateError, match=r"^Kafka endpoint: found .*expected host:port.*HEADGATE_KAFKA"):
        load(tmp_path / "none.toml", {"HEADGATE_KAFKA": brokers})


def test_a_file_that_is_not_utf8_is_one_line_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_bytes(b'[kafka]\nbrokers = "\xff"\n')
    with pytest.raises(HeadgateError, match=r"^.*headgate\.toml: .*utf-8"):
        load(file, {})


def test_a_password_in_a_clickhouse_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    url = "http://someone:hush@localhost:8123"
    with pytest.raises(HeadgateError, match="HEADGATE_CLICKHOUSE_PASSWORD") as caught:
        load(tmp_path / "none.toml", {"HEADGATE_CLICKHOUSE": url})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8123",
        "tcp://localhost:9000",
        "http://",
        "http://localhost:http",
        "http://h:70000",
        "http://[",
    ],
)
def test_a_clickhouse_endpoint_is_a_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(
        HeadgateError, match=r"^ClickHouse endpoint: found .*expected http.*HEADGATE_CLICKHOUSE"
    ):
        load(tmp_path / "none.toml", {"HEADGATE_CLICKHOUSE": url})


def test_plaintext_sends_no_secrets() -> None:
    kafka = Kafka(brokers="a:1,b:2", sasl_username="u", sasl_password="p")
    librdkafka, arguments = kafka.librdkafka(), kafka.aiokafka()
    assert librdkafka["bootstrap.servers"] == "a:1,b:2"
    assert librdkafka["security.protocol"] == "PLAINTEXT"
    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert arguments["ssl_context"] is None
    assert not any("sasl" in name for name in (*librdkafka, *arguments))


def test_both_kafka_clients_authenticate_alike() -> None:
    kafka = Kafka(
        brokers="a:1",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password="p",
    )
    librdkafka, aiokafka = kafka.librdkafka(), kafka.aiokafka()
    assert librdkafka["security.protocol"] == aiokafka["security_protocol"] == "SASL_SSL"
    assert librdkafka["sasl.mechanism"] == aiokafka["sasl_mechanism"] == "SCRAM-SHA-512"
    assert librdkafka["sasl.username"] == aiokafka["sasl_plain_username"] == "u"
    assert librdkafka["sasl.password"] == aiokafka["sasl_plain_password"] == "p"


def test_encryption_verifies_the_broker() -> None:
    context = Kafka(security_protocol="SSL").ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_certificate_files_reach_librdkafka() -> None:
    kafka = Kafka(security_protocol="SSL", ssl_ca="ca.pem", ssl_certificate="me.pem", ssl_key="me.key")
    configured = {name: value for name, value in kafka.librdkafka().items() if name.startswith("ssl.")}
    assert configured == {
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "me.pem",
        "ssl.key.location": "me.key",
    }


def test_clickhouse_is_connected_as_its_url_says() -> None:
    secure = ClickHouse(url="https://ch.example", user="u", password="p", ca="ca.pem")
    assert secure.connect() == {
        "host": "ch.example",
        "port": 8443,
        "secure": True,
        "username": "u",
        "password": "p",
        "ca_cert": "ca.pem",
    }
    assert ClickHouse(url="http://ch:18123").connect()["port"] == 18123
    assert ClickHouse(url="http://ch").connect()["port"] == 8123


def test_health_is_on_loopback_each_stage_on_the_port_after_the_one_before(tmp_path: Path) -> None:
    streams = load(tmp_path / "none.toml", {}).streams
    assert [streams.health_address(number) for number in range(3)] == [
        ("127.0.0.1", 9400),
        ("127.0.0.1", 9401),
        ("127.0.0.1", 9402),
    ]


def test_where_health_is_comes_from_the_file_or_stronger_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, '[streams]\nhealth = "0.0.0.0:80"\n')
    assert load(file, {}).streams.health_address(0) == ("0.0.0.0", 80)
    assert load(file, {"HEADGATE_HEALTH": "[::1]:90"}).streams.health_address(1) == ("::1", 91)
    assert load(file, {"HEADGATE_HEALTH": "off"}).streams.health_address(0) is None


def test_a_serving_workers_health_has_an_address_and_a_variable_of_its_own(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {}).serving.health_address == ("127.0.0.1", 9420)
    file = written(tmp_path, '[serving]\nhealth = "0.0.0.0:80"\n')
    assert load(file, {"HEADGATE_HEALTH": "off"}).serving.health_address == ("0.0.0.0", 80)
    assert load(file, {"HEADGATE_SERVING_HEALTH": "off"}).serving.health_address is None
    with pytest.raises(HeadgateError, match=r"HEADGATE_SERVING_HEALTH, or health under \[serving\]"):
        load(file, {"HEADGATE_SERVING_HEALTH": "9420"})


def test_any_free_port_stays_that(tmp_path: Path) -> None:
    settings = load(tmp_path / "none.toml", {"HEADGATE_HEALTH": "127.0.0.1:0"})
    assert settings.streams.health_address(2) == ("127.0.0.1", 0)


@pytest.mark.parametrize("address", ["9400", ":9400", "localhost", "localhost:health", "localhost:65536"])
def test_an_address_of_health_that_is_none_is_named(tmp_path: Path, address: str) -> None:
    with pytest.raises(HeadgateError, match="expected host:port or off") as caught:
        load(tmp_path / "none.toml", {"HEADGATE_HEALTH": address})
    assert repr(address) in str(caught.value)
