"""The reference profiles of all versions, for whoever evaluates drift."""

from collections.abc import Mapping

from schemas.errors import HeadgateError
from schemas.records import Codec, Distribution, Profile

CODEC: Codec[Profile] = Codec(Profile)


class Profiles:
    """In the order of `control.profiles`: the first of a version holds."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], Mapping[str, Distribution]] = {}

    def read(self, value: bytes | None) -> None:
        """Takes a record. Raises `HeadgateError` for one that is none."""
        try:
            self.add(CODEC.decode(value))
        except ValueError as error:
            raise HeadgateError(f"control.profiles: {error}") from error

    def add(self, profile: Profile) -> None:
        """Takes a profile, unless its version has one."""
        self._versions.setdefault((profile.model, profile.version), profile.distributions())

    def of(self, model: str, version: str) -> Mapping[str, Distribution]:
        """The distributions of a version by feature, the score's as `SCORE`; empty where it has no
        profile.
        """
        return self._versions.get((model, version), {})
