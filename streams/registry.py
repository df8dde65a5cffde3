"""The stages by name. The one place to add a stage to; a process imports no more than the one that it
runs."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.stage import Stage

STAGES: Mapping[str, str] = {
    "join": "streams.join.stage:JoinStage",
    "judge": "streams.judge.stage:JudgeStage",
    "sink": "streams.sink:SinkStage",
    "notify": "streams.notify.stage:NotifyStage",
}
"""Module and class of each; the class is called with the settings."""


def require_known(names: Iterable[str]) -> None:
    """Raises `HeadgateError` for a name that is no stage's."""
    for name in names:
        if name not in STAGES:
            raise HeadgateError(f"no stage is called {name!r}; expected {', '.join(STAGES)}")


NOBODY_TO_NOTIFY = (
    "no receiver of alerts is configured: name one under [notify] in headgate.toml, or set "
    "HEADGATE_ALERTMANAGER or HEADGATE_WEBHOOK"
)


def default(settings: Settings) -> list[str]:
    """The stages that run where none is named: all that have something to do."""
    return [name for name in STAGES if name != "notify" or settings.notify.configured]


def require_work(names: Iterable[str], settings: Settings) -> None:
    """Raises `HeadgateError` for a named stage that would have nothing to do."""
    if "notify" in names and not settings.notify.configured:
        raise HeadgateError(f"stage notify: {NOBODY_TO_NOTIFY}")


def number(stage: str) -> int:
    """The stage's place among all, from 0 on; 0 for one that is not among them."""
    return list(STAGES).index(stage) if stage in STAGES else 0


def group(stage: str, settings: Settings) -> str:
    """The consumer group of a stage."""
    return f"{settings.topics.prefix}headgate-{stage}"


def reads(name: str) -> Sequence[Topic]:
    """The topics that the stage reads as a member of its group."""
    topics: Sequence[Topic] = _class(name).topics
    return topics


def construct(name: str, settings: Settings) -> Stage:
    """The stage of that name."""
    stage: Stage = _class(name)(settings)
    return stage


def _class(name: str) -> Any:
    require_known([name])
    module, _, constructor = STAGES[name].partition(":")
    return getattr(import_module(module), constructor)
