"""Where the demo and `headgate up` tell people to look."""

from infra.demo import report
from infra.grafana.elements import DATA_SOURCE
from infra.local.up import greeting
from schemas.settings import ClickHouse, Kafka, Settings

SETTINGS = Settings(kafka=Kafka(brokers="127.0.0.1:4242"), clickhouse=ClickHouse(url="http://127.0.0.1:8181"))


def test_while_it_runs_the_demo_says_where_clickhouse_and_kafka_are() -> None:
    said = report.while_it_runs(SETTINGS)
    assert "http://127.0.0.1:8181" in said
    assert "127.0.0.1:4242" in said


def test_what_stays_up_is_shown_with_queries_and_the_way_to_a_grafana() -> None:
    said = report.where_to_look(SETTINGS)
    assert "curl 'http://127.0.0.1:8181/?database=headgate' -d \"SELECT" in said
    assert "HEADGATE_KAFKA=127.0.0.1:4242 HEADGATE_CLICKHOUSE=http://127.0.0.1:8181" in said
    assert "headgate dashboards export" in said
    assert str(DATA_SOURCE["type"]) in said


def test_headgate_up_says_how_a_grafana_finds_it() -> None:
    said = greeting(SETTINGS, None)
    assert "headgate dashboards export" in said
    assert str(DATA_SOURCE["type"]) in said
