"""`headgate check` on signatures: are there keys, and is what stands signed with them?"""

from collections.abc import Iterator

from infra.commands import kafka
from infra.commands.finding import Finding, note, ok, wrong
from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams.judge.register import Register

SUBJECT = "signing"
INTRODUCED = "take `required = false` out of [signing] once everybody has the key"


def check(settings: Settings) -> Iterator[Finding]:
    """Nothing where nothing is signed and no key is configured."""
    try:
        keys = signing.keyring(settings.signing)
    except HeadgateError as error:
        text, _, expected = str(error).partition(", expected ")
        yield wrong(SUBJECT, text, f"expected {expected}")
        return
    entries = kafka.read(settings, topics.RELEASES)
    if not keys:
        if any(name == signing.HEADER for entry in entries for name, _ in entry.headers):
            yield wrong(
                SUBJECT,
                "releases are signed, but no key is configured here: commands from here will be refused",
                f"set {signing.VARIABLE}, or keys under [signing] in headgate.toml",
            )
        return
    others = f", {', '.join(keys.ids[1:])} accepted too" if len(keys.ids) > 1 else ""
    yield ok(SUBJECT, f"key {keys.ids[0]} signs{others}")
    if not settings.signing.required:
        yield note(SUBJECT, "unsigned releases and commands are accepted too", INTRODUCED)
    register = Register(keys)
    register.read(entries)
    partitions = {entry.partition for entry in entries}
    known = {record.model for partition in partitions for record in register.of(partition)}
    forged = [bad for partition in partitions for bad in register.bad(partition) if bad.forged]
    for model in sorted({bad.model for bad in forged if bad.model is not None}):
        reason = [bad.reason for bad in forged if bad.model == model][-1]
        if model in known:
            yield note(SUBJECT, f"a forged record was left alone: {reason}", "see who may write the topic")
        else:
            yield wrong(
                SUBJECT,
                f"no release of {model} is accepted: {reason}",
                "with `required = false` under [signing] the judge signs what stands when it starts",
            )
