"""ClickHouse away and a broker that restarts, while events flow: afterwards nothing is missing or twice."""

import time
from pathlib import Path

import msgspec
import pytest

from infra.local.stack import LocalStack
from schemas import policies
from schemas.settings import Settings
from tests.conftest import isolated
from tests.oracle import stages, traffic
from tests.oracle.traffic import SENTINEL, WATCHED, Traffic

LATENESS = policies.Duration(20_000)
"""More than the broker is away: what producers hold back meanwhile comes in any order."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("away", [9.0, pytest.param(30.0, marks=pytest.mark.soak)])
def test_clickhouse_stopped_and_a_broker_restart_in_the_midst_of_it_change_no_final_pane(
    tmp_path: Path, own_stack: LocalStack, away: float
) -> None:
    settings = isolated(own_stack.settings)
    assert outages(tmp_path, settings, own_stack, away) == []


def outages(folder: Path, settings: Settings, stack: LocalStack, away: float) -> list[str]:
    """ClickHouse is away for `away` seconds, and the broker restarts in the midst of it; answers what the
    views then have wrong."""
    patient = msgspec.structs.replace(WATCHED.attribution, lateness=LATENESS)
    watched = msgspec.structs.replace(WATCHED, attribution=patient)
    stages.prepare(folder, settings, watched, SENTINEL)
    with stages.running(folder, settings):
        with Traffic(settings, seed=5, rate=30):
            time.sleep(3)
            stack.clickhouse.stop()
            time.sleep(away / 3)
            stack.kafka.restart()
            time.sleep(away * 2 / 3)
            stack.clickhouse.start()
            time.sleep(3)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings, watched)
    assert traffic.total(truth, "predictions") > 0
    return found
