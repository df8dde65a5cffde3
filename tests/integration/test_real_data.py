"""Real impressions and clicks through the real broker, the real stages and the real ClickHouse: the views
say what was published about them."""

from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.settings import Settings
from tests.oracle import stages, zozotown
from tests.oracle.recording import produce
from tests.oracle.traffic import Views, wait_until

DAY = 86_400_000


@pytest.mark.timeout(240)
def test_the_ctr_of_both_policies_and_all_campaigns_is_the_published_one(
    tmp_path: Path, settings: Settings
) -> None:
    shown = zozotown.impressions()
    recording = zozotown.record(shown, settings.topics.partitions)
    recording.close(max(each.ts for each in shown) + DAY)
    stages.prepare(tmp_path, settings, zozotown.WATCHED)
    produce(recording, settings)
    views = Views(settings)
    with stages.running(tmp_path, settings):
        wait_until(lambda: len(final_ctr(views)) == 2 and sum(row[2] for row in final_ctr(views)) == 60_000)
        found = final_ctr(views)
        segments = views.query(
            "SELECT segment_value, sum(numerator), sum(denominator) FROM metrics_by_segment "
            "WHERE model = 'zozotown' AND version = 'bts' AND metric = 'ctr' GROUP BY ALL ORDER BY ALL"
        )
    assert found == [("bts", 157, 30_000), ("random", 130, 30_000)]
    assert segments == [("all", 42, 10_000), ("men", 69, 10_000), ("women", 46, 10_000)]


def final_ctr(views: Views) -> list[tuple[str, float, float]]:
    """By version: clicks and impressions of all final panes; nothing while there is no view."""
    try:
        rows = views.query(
            "SELECT version, sum(numerator), sum(denominator) FROM metrics "
            "WHERE model = 'zozotown' AND metric = 'ctr' AND final GROUP BY version ORDER BY version"
        )
    except (ClickHouseError, OSError):
        return []
    return [(str(version), float(str(clicks)), float(str(shown))) for version, clicks, shown in rows]
