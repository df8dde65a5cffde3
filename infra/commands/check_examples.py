"""`headgate check` on examples: are raw records kept where policies ask for them, and nowhere else?"""

from collections.abc import Iterator, Sequence

from infra.commands.finding import Finding, note, ok
from schemas.settings import Settings
from streams import registry

SUBJECT = "examples"
"""Of the findings, and the name of the stage."""


def check(settings: Settings, asking: Sequence[str]) -> Iterator[Finding]:
    """Nothing where nobody wants any. `asking`: the models whose policies ask for some."""
    models = ", ".join(sorted(asking))
    if asking and not settings.examples.secret:
        yield note(SUBJECT, f"the policy of {models} asks for some, but {registry.NO_EXAMPLES}")
    elif settings.examples.secret and not asking:
        yield note(SUBJECT, registry.NOBODY_ASKS, "the stage runs and reads nothing")
    elif asking:
        yield ok(SUBJECT, f"kept of {models}")


def stages(settings: Settings, asking: Sequence[str]) -> list[str]:
    """The stages that must be at work: one that nobody has work for is in no group."""
    return [name for name in registry.default(settings) if asking or name != SUBJECT]
