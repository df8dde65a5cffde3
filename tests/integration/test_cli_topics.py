"""`headgate topics create` on a broker that has none of them."""

from pathlib import Path

from schemas import topics
from schemas.settings import Settings
from tests.integration.headgate_command import Headgate


def test_it_creates_what_is_missing_and_then_has_nothing_to_do(settings: Settings, tmp_path: Path) -> None:
    headgate = Headgate(settings, tmp_path)
    wanted = sorted(topic.full_name(settings.topics) for topic in topics.ALL)
    assert headgate("topics", "create").out.splitlines() == wanted
    assert headgate("topics", "create").out == "all topics are there\n"
    assert headgate("topics", "create", "--json").json == []
