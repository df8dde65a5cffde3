"""How features and scores fall into the bins of a reference profile, and what is wrong with them: counted
one value at a time, over the predictions of a version that has a profile.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from schemas.records import SCORE, Distribution, Feature, Profile

VALUES, MISSING, OUT_OF_RANGE, TYPE_ERRORS, UNSEEN = range(5)
"""Places in what `quality` counts of a feature, as `schemas.records.QUALITY` names them."""

References = Mapping[tuple[str, str], Mapping[str, Distribution]]
"""By model and version: the distributions by feature, and the scores' as `SCORE`."""


def references(profiles: Iterable[Profile]) -> References:
    """The first profile of a version holds, whenever it came. A distribution whose counts are not as many
    as its bins is none."""
    first: dict[tuple[str, str], dict[str, Distribution]] = {}
    for profile in profiles:
        whole = {name: d for name, d in profile.distributions().items() if len(d.counts) == bins(d)}
        first.setdefault((profile.model, profile.version), whole)
    return first


def bins(reference: Distribution) -> int:
    """How many bins a reference has."""
    return 1 + len(reference.edges or reference.categories or ())


def place(value: Feature, reference: Distribution) -> int | None:
    """The bin of a feature's value; None for a missing one and one of another type. A bool is 0 or 1
    among numbers, `true` or `false` among words; a number is no word."""
    if reference.edges is not None:
        if value is None or isinstance(value, str):
            return None
        return int(np.searchsorted(reference.edges, float(value), side="right"))
    word = _word(value)
    if word is None:
        return None
    known = list(reference.categories or ())
    return known.index(word) if word in known else len(known)


def fault(value: Feature, reference: Distribution) -> int | None:
    """What is wrong with a feature's value, as a place in the counts; None for nothing."""
    if value is None:
        return MISSING
    if reference.edges is not None:
        if isinstance(value, str):
            return TYPE_ERRORS
        low = reference.lowest is not None and value < reference.lowest
        high = reference.highest is not None and value > reference.highest
        return OUT_OF_RANGE if low or high else None
    word = _word(value)
    if word is None:
        return TYPE_ERRORS
    return None if word in (reference.categories or ()) else UNSEEN


def placed(
    features: Mapping[str, Feature] | None, scores: Sequence[float], reference: Mapping[str, Distribution]
) -> Iterator[tuple[str, int]]:
    """Each bin that one prediction adds one to: of the features that have a value, and of all its scores."""
    for name, distribution in reference.items():
        values = scores if name == SCORE else ((features or {}).get(name),)
        for value in values:
            bin_ = place(value, distribution)
            if bin_ is not None:
                yield name, bin_


def faults(
    features: Mapping[str, Feature] | None, reference: Mapping[str, Distribution]
) -> Iterator[tuple[str, int]]:
    """Each count that one prediction adds one to: of every feature of the reference a value that was
    looked at, and what is wrong with it."""
    for name, distribution in reference.items():
        if name != SCORE:
            yield name, VALUES
            wrong = fault((features or {}).get(name), distribution)
            if wrong is not None:
                yield name, wrong


def _word(value: Feature) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None
