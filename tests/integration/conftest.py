"""Fixtures of the transport's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.integration.transport_world import Stage, prepared


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Settings with topics of this test's own, created, and short sessions."""
    return prepared(settings)


@pytest.fixture
def start(own: Settings, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Starts stages that end with the test."""
    stages: list[Stage] = []

    def start(**options: object) -> Stage:
        stages.append(Stage(own, tmp_path, **options))
        return stages[-1]

    yield start
    for stage in stages:
        stage.kill()
