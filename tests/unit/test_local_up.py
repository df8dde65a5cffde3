"""What `headgate up` tells a person."""

from pathlib import Path

from infra.local.up import greeting
from schemas.settings import ClickHouse, Settings


def test_the_greeting_says_where_everything_is_and_what_becomes_of_the_data() -> None:
    said = greeting(Settings(), Path("kept"))
    assert "127.0.0.1:9092" in said
    assert "http://127.0.0.1:8123" in said
    assert "kept" in said


def test_its_curl_names_the_account_where_there_is_a_password_and_never_the_password() -> None:
    said = greeting(Settings(clickhouse=ClickHouse(user="ann lee", password="hush")), None)
    assert "curl -u 'ann lee' 'http://" in said
    assert "hush" not in said
