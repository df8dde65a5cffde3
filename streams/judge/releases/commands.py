"""What operators may ask of a release: each command to the transition that it means, or refused with a
reason. Whether it may be listened to at all is `admission.py`'s.
"""

from typing import NamedTuple

from schemas.policies import ReleasePolicy
from schemas.records import CommandRecord, Release
from streams.judge.releases import release
from streams.judge.releases.release import Occasion, Standing


class RefusedError(Exception):
    """A command that cannot be carried out now: the message says why, for the operator."""


class Order(NamedTuple):
    """A command as it was read: its offset, its Kafka timestamp (ms), and what is wrong with its signature
    (None: nothing, or no key is configured).
    """

    offset: int
    command: CommandRecord
    timestamp: int
    forged: str | None = None


def carry_out(
    command: CommandRecord,
    standing: Standing | None,
    policy: ReleasePolicy,
    maturity: int,
    occasion: Occasion,
) -> Release:
    """The release record that `command` leads to. `maturity` (ms) is for a release that it starts.

    Raises `RefusedError`.
    """
    if command.command == "start":
        return _start(command, standing, policy, maturity, occasion)
    if standing is None:
        raise RefusedError(f"{command.model} has no release; start its first version")
    if command.command == "rollback":
        return _roll_back(command, standing, occasion)
    if command.command == "abort":
        return _abort(command, standing, occasion)
    if not standing.runs:
        raise RefusedError(_nothing_runs(standing))
    _expect_version(command, standing)
    if command.command == "promote":
        if standing.phase == "watching" and command.ts < standing.state.since:
            raise RefusedError(
                f"it was asked for before {standing.release.stable} was promoted; ask again to end the "
                "watching"
            )
        if standing.phase == "watching":
            return release.finish(standing, occasion)
        return release.promote(standing, policy, occasion)
    if command.command == "pause":
        if standing.state.pause is not None and standing.state.pause.cause == "operator":
            raise RefusedError("the release is paused already")
        return release.pause(standing, "operator", occasion)
    if standing.state.pause is None:
        raise RefusedError(f"the release is not paused, but {standing.release.phase}")
    return release.resume(standing, occasion)


def _start(
    command: CommandRecord,
    standing: Standing | None,
    policy: ReleasePolicy,
    maturity: int,
    occasion: Occasion,
) -> Release:
    version = command.version
    if version is None:
        raise RefusedError("start needs a version")
    if standing is None:
        if command.mode == "shadow":
            raise RefusedError(f"{command.model} has no stable version yet; start one before a shadow")
        return release.first(command.model, version, occasion)
    if version == standing.release.stable:
        raise RefusedError(f"{version} is the stable version already")
    if command.mode == "shadow":
        if version in (standing.release.candidate, standing.release.shadow):
            raise RefusedError(f"{version} answers already")
        return release.shadow(standing, version, occasion)
    if standing.runs:
        raise RefusedError(f"a release of {standing.state.judged} is {standing.release.phase}; end it first")
    ready = standing.state.rolled_back.get(version, -policy.cooldown) + policy.cooldown
    if occasion.now < ready:
        left = -(-(ready - occasion.now) // 1_000)
        raise RefusedError(
            f"{version} was rolled back, and may start again in {left} s (cooldown {policy.cooldown})"
        )
    return release.canary(standing, version, policy, maturity, occasion)


def _roll_back(command: CommandRecord, standing: Standing, occasion: Occasion) -> Release:
    if standing.runs:
        _expect_version(command, standing)
        return release.roll_back(standing, occasion)
    stable = standing.release.stable
    if standing.phase == "rolled_back" and command.ts < standing.state.since:
        # The judge or a colleague was faster, so what was meant is done. Nobody meant the version before the
        # one that is back; and who named a version meant the one that is gone.
        raise RefusedError(
            f"it was asked for before the release was rolled back to {stable}; to go back further, name the "
            "version"
        )
    if standing.phase == "rolled_back" and command.version is None and command.generation is None:
        raise RefusedError(
            f"nothing has been released since the rollback to {stable}; to go back further, name the version"
        )
    target = standing.state.previous if command.version in (None, stable) else command.version
    if target is None or target == stable:
        raise RefusedError(
            f"no release is running and no version is known from before {stable}; name the one to go back to"
        )
    return release.restore(standing, target, occasion)


def _abort(command: CommandRecord, standing: Standing, occasion: Occasion) -> Release:
    if standing.runs:
        _expect_version(command, standing)
        return release.abort(standing, occasion)
    if standing.release.shadow is None:
        raise RefusedError(_nothing_runs(standing))
    return release.shadow(standing, None, occasion)


def _nothing_runs(standing: Standing) -> str:
    text = f"no release is running: {standing.release.stable} is stable"
    shadow = standing.release.shadow
    return text if shadow is None else f"{text}, and {shadow} is a shadow; `start {shadow}` makes it a canary"


def _expect_version(command: CommandRecord, standing: Standing) -> None:
    versions = (standing.state.judged, standing.state.reference)
    if command.version is not None and command.version not in versions:
        raise RefusedError(f"found version {command.version}, expected {' or '.join(map(str, versions))}")
