"""Reference profiles: into which bins of a version's reference a feature or a score falls."""

from bisect import bisect_right
from collections.abc import Mapping

from schemas.errors import HeadgateError
from schemas.records import Codec, Distribution, Feature, Profile


class Binning:
    """The bins of one distribution."""

    def __init__(self, distribution: Distribution) -> None:
        self.bins = len(distribution.counts)
        self._edges = distribution.edges
        self._places = {word: i for i, word in enumerate(distribution.categories or ())}

    def bin_of(self, value: Feature) -> int | None:
        """The bin of a value; None where it has none (missing, or not of the reference's type)."""
        if self._edges is not None:
            if isinstance(value, str) or value is None:
                return None
            return bisect_right(self._edges, value)
        if value is None:
            return None
        return self._places.get(str(value), self.bins - 1)


class Profiles:
    """All versions' profiles, in the order of `control.profiles`: the first of a version holds."""

    def __init__(self) -> None:
        self._codec: Codec[Profile] = Codec(Profile)
        self._versions: dict[tuple[str, str], dict[str, Binning]] = {}

    def read(self, value: bytes | None) -> None:
        """Takes a record. Raises `HeadgateError` for one that is none."""
        try:
            profile = self._codec.decode(value)
        except ValueError as error:
            raise HeadgateError(f"control.profiles: {error}") from error
        self.add(profile)

    def add(self, profile: Profile) -> None:
        """Takes a profile, unless its version has one."""
        binnings = {
            name: Binning(d)
            for name, d in profile.distributions().items()
            if len(d.counts) == 1 + len(d.edges or d.categories or ())
        }
        self._versions.setdefault((profile.model, profile.version), binnings)

    def of(self, model: str, version: str) -> Mapping[str, Binning]:
        """The binnings of a version by feature; empty where it has no profile."""
        return self._versions.get((model, version), {})
