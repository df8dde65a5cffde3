"""`headgate profile`: how a version's features and scores are distributed, as the reference that drift is
measured against.
"""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from infra.commands import kafka, profile_files, profile_log
from infra.commands.output import instant, print_json
from infra.commands.profile_sample import Sample
from schemas import topics
from schemas.errors import HeadgateError
from schemas.policies import Duration
from schemas.records import ENCODER, SCORE, Distribution, Feature, Profile
from schemas.settings import Settings
from streams.log import Output
from streams.metrics import reference
from streams.metrics.profiles import CODEC

DESCRIPTION = """\
Makes the reference profile of a version: how its features and scores are distributed, as `headgate streams`
compares every pane with (the view `drift`).

It is made from files: JSON lines of requests and predictions, by themselves or as `headgate replay` takes
them, or a CSV with a column a feature (`score`: scores). Or from what is in Kafka, with --last or --from.

Keep it with the model (`--out DIR/MODEL/VERSION/profile.json`: serving workers publish it), or publish it at
once. A version has one profile for ever, the first that was published.
"""


class Values(NamedTuple):
    """What was found: each feature's values, scores, and what people should know of it."""

    sample: Sample
    features: dict[str, list[Feature]]
    scores: list[float]
    notes: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """Which version, from what, and where to."""
    parser.description = DESCRIPTION
    parser.add_argument("model", metavar="MODEL", help="the model")
    parser.add_argument("version", metavar="VERSION", help="the version whose profile it is to be")
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="JSON lines or CSV; - is standard input"
    )
    parser.add_argument(
        "--last", type=_duration, metavar="7d", help="from the predictions of the last so long"
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=_time,
        metavar="TIME",
        help="from predictions since TIME, such as 2026-02-01T12:00",
    )
    parser.add_argument("--to", dest="end", type=_time, metavar="TIME", help="until TIME (UTC); default: now")
    parser.add_argument("--of", metavar="VERSION", help="read predictions of this version instead")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the profile there")
    parser.add_argument("--publish", action="store_true", help="publish it to control.profiles")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Makes it, keeps it, says what is in it."""
    _check(arguments)
    now = time.time_ns() // 1_000_000
    values = _gather(arguments, settings, now)
    profile = _profile(arguments.model, arguments.version, now, values)
    kept = _keep(arguments, settings, profile)
    if arguments.json:
        print_json(profile)
        return 0
    for line in (*_described(profile, values), *values.notes, *kept):
        print(line)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    ranged = arguments.last is not None or arguments.start is not None
    if bool(arguments.files) == ranged or (arguments.last is not None and arguments.start is not None):
        raise HeadgateError(
            "expected one thing to make the profile from: files, --last 7d, or --from TIME; "
            "`headgate profile --help` says more"
        )


def _gather(arguments: argparse.Namespace, settings: Settings, now: int) -> Values:
    """Everything that the profile is to be made from. Raises `HeadgateError` where that is nothing."""
    sample = Sample(arguments.model, arguments.of or arguments.version)
    tables = [file for file in arguments.files if profile_files.is_table(file)]
    if arguments.files:
        events = [file for file in arguments.files if file not in tables]
        refused = [problem for file in events for problem in profile_files.read_events(file, sample)]
    else:
        refused = _read_log(arguments, settings, sample, now)
    if not tables and not sample.kept:
        others = ", ".join(sorted(sample.versions))
        raise HeadgateError(
            f"found no predictions of {sample.name}, expected at least one"
            + (f"; other versions there are {others}" if others else "")
            + (f"; {_refused(refused)}" if refused else "")
        )
    values = Values(sample, sample.features(), sample.scores(), [_refused(refused)] if refused else [])
    for table in map(profile_files.read_table, tables):
        for name, column in table.features.items():
            values.features.setdefault(name, []).extend(column)
        values.scores.extend(table.scores)
    return values


def _read_log(arguments: argparse.Namespace, settings: Settings, sample: Sample, now: int) -> list[str]:
    """Fills the sample from Kafka; answers what was wrong with records that are none."""
    end = now if arguments.end is None else arguments.end
    start = end - arguments.last if arguments.start is None else arguments.start
    if start >= end:
        raise HeadgateError(f"--from {instant(start)} --to {instant(end)}: expected a time before the other")
    with kafka.connected(settings, topics.REQUESTS, topics.PREDICTIONS):
        return list(profile_log.read(settings, start, end, sample))


def _refused(problems: list[str]) -> str:
    return f"records that could not be read: {len(problems)}; the first: {problems[0]}"


def _profile(model: str, version: str, now: int, values: Values) -> Profile:
    """Puts into the notes what is not in the profile."""
    found: dict[str, Distribution] = {}
    for name, column in values.features.items():
        made = reference.column(column)
        if name == SCORE:
            values.notes.append(
                f"the feature {name} is left out: under this name stand the predictions' scores"
            )
        elif made.distribution is None:
            values.notes.append(f"{name} is left out: it has no values")
        else:
            found[name] = made.distribution
            if made.odd:
                odd = "words" if made.distribution.categories is None else "numbers"
                values.notes.append(f"{name}: {made.odd} values are left out: they are {odd}, unlike most")
    if not found and not values.scores:
        raise HeadgateError(f"found neither features nor scores of {model}/{version}, expected one of them")
    score = reference.scores(values.scores) if values.scores else None
    return Profile(model=model, version=version, ts=now, features=found, score=score)


def _keep(arguments: argparse.Namespace, settings: Settings, profile: Profile) -> list[str]:
    """Writes and publishes as asked; answers what was done."""
    done = []
    if arguments.out is not None:
        _write(arguments.out, profile)
        done.append(f"written to {arguments.out}")
    if arguments.publish:
        _publish(settings, profile)
        done.append(f"published: {profile.model}/{profile.version} is measured against it from now on")
    return done or ["not kept: --out FILE writes it, --publish publishes it"]


def _write(file: Path, profile: Profile) -> None:
    try:
        file.write_bytes(ENCODER.encode(profile) + b"\n")
    except OSError as error:
        raise HeadgateError(f"{file}: {error.strerror}; expected a file that we may write") from error


def _publish(settings: Settings, profile: Profile) -> None:
    """Raises `HeadgateError` where the version has another profile: the first holds."""
    with kafka.connected(settings, topics.PROFILES):
        _refuse_another(settings, profile)
        output = Output(settings)
        output.send(topics.PROFILES, f"{profile.model}/{profile.version}", ENCODER.encode(profile))
        output.flush(kafka.PATIENCE * 2)
        _refuse_another(settings, profile)  # somebody may have been faster


def _refuse_another(settings: Settings, profile: Profile) -> None:
    standing = _first(settings, profile.model, profile.version)
    if standing is not None and standing != profile:
        raise HeadgateError(
            f"{profile.model}/{profile.version} has a profile already, of {instant(standing.ts)}, and the "
            "first holds for ever: what panes were compared with would change; give the model a new version"
        )


def _first(settings: Settings, model: str, version: str) -> Profile | None:
    for entry in kafka.read(settings, topics.PROFILES):
        try:
            profile = CODEC.decode(entry.value)
        except ValueError:
            continue
        if (profile.model, profile.version) == (model, version):
            return profile
    return None


def _described(profile: Profile, values: Values) -> Iterator[str]:
    """The profile in words, a line a distribution."""
    sample = values.sample
    if sample.kept:
        of = "" if sample.kept == sample.seen else f" of {sample.seen}"
        yield f"from {sample.kept}{of} predictions of {sample.name}"
    for name, distribution in profile.distributions().items():
        column = values.features.get(name, [])
        missing = sum(value is None for value in column)
        tail = f", {missing} of {len(column)} missing" if missing else ""
        if distribution.categories is not None:
            yield f"{name}: {len(distribution.categories)} categories{tail}"
        else:
            extremes = f"{distribution.lowest:g} to {distribution.highest:g}"
            yield f"{name}: numbers from {extremes} in {len(distribution.counts)} bins{tail}"


def _duration(text: str) -> int:
    try:
        return int(Duration.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _time(text: str) -> int:
    """Epoch ms of an ISO 8601 time, UTC where it does not say."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"Expected a time such as 2026-02-01T12:00, got `{text}`") from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1_000)
