"""The stages by name. The one place to add a stage to; a process imports no more than the one that it
runs."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from schemas import topics
from schemas.errors import HeadgateError
from schemas.settings import Settings
from schemas.topics import Topic
from streams.stage import Stage


class Entry(NamedTuple):
    """A stage: module and class, which is called with the settings, and the topics that it reads as a member
    of its group. They stand here so that who asks for them need not import the stage.
    """

    made_by: str
    reads: Sequence[Topic]


STAGES: Mapping[str, Entry] = {
    "join": Entry("streams.join.stage:JoinStage", topics.EVENTS),
    "judge": Entry(
        "streams.judge.stage:JudgeStage", (topics.PANES, topics.COMMANDS, topics.ACKS, topics.SAMPLES)
    ),
    "sink": Entry(
        "streams.sink:SinkStage",
        (
            topics.PANES,
            topics.DRIFT,
            topics.ALERTS,
            topics.RELEASES,
            topics.ACKS,
            topics.EVIDENCE,
            topics.COMMANDS,
            topics.POLICIES,
            topics.PROFILES,
            topics.SAMPLES,
            topics.SILENCES,
            topics.DEAD_LETTERS,
        ),
    ),
    "notify": Entry("streams.notify.stage:NotifyStage", (topics.ALERTS,)),
    "examples": Entry("streams.examples:ExamplesStage", topics.EVENTS),
}


def require_known(names: Iterable[str]) -> None:
    """Raises `HeadgateError` for a name that is no stage's."""
    for name in names:
        if name not in STAGES:
            raise HeadgateError(f"no stage is called {name!r}; expected {', '.join(STAGES)}")


NAME_RECEIVER = "name one under [notify] in headgate.toml, or set HEADGATE_ALERTMANAGER or HEADGATE_WEBHOOK"
NOBODY_TO_NOTIFY = f"no receiver of alerts is configured: {NAME_RECEIVER}"


NO_EXAMPLES = (
    "no raw records are to be kept: set HEADGATE_EXAMPLES_SECRET, or secret under [examples] in "
    "headgate.toml, which user ids are hashed with"
)


NOBODY_ASKS = "no policy asks for examples (`examples: {share: 0.001}` does)"


def default(settings: Settings) -> list[str]:
    """The stages that run where none is named: all that have something to do."""
    return [name for name in STAGES if _idle(name, settings) is None]


def require_work(names: Iterable[str], settings: Settings) -> None:
    """Raises `HeadgateError` for a named stage that would have nothing to do."""
    for name in names:
        why = _idle(name, settings)
        if why is not None:
            raise HeadgateError(f"stage {name}: {why}")


def _idle(name: str, settings: Settings) -> str | None:
    """Why a stage has nothing to do; None where it has."""
    if name == "notify" and not settings.notify.configured:
        return NOBODY_TO_NOTIFY
    return NO_EXAMPLES if name == "examples" and not settings.examples.secret else None


def number(stage: str) -> int:
    """The stage's place among all, from 0 on; 0 for one that is not among them."""
    return list(STAGES).index(stage) if stage in STAGES else 0


def group(stage: str, settings: Settings) -> str:
    """The consumer group of a stage."""
    return f"{settings.topics.prefix}headgate-{stage}"


def reads(name: str) -> Sequence[Topic]:
    """The topics that the stage reads as a member of its group."""
    return _entry(name).reads


def construct(name: str, settings: Settings) -> Stage:
    """The stage of that name."""
    module, _, constructor = _entry(name).made_by.partition(":")
    class_: Any = getattr(import_module(module), constructor)
    stage: Stage = class_(settings)
    return stage


def _entry(name: str) -> Entry:
    require_known([name])
    return STAGES[name]
