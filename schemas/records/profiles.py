"""`control.profiles`: reference distributions, and what is counted of features beside them."""

from typing import Annotated

from msgspec import Meta

from schemas.records.fields import Count, Name, Record, Time

SCORE = "score"
"""Under this name the distribution of scores stands beside those of the features."""

QUALITY = ("values", "missing", "out_of_range", "type_errors", "unseen")
"""What is counted of each feature: predictions, and those whose value is absent or null, beyond the
reference's lowest or highest, of another type than the reference's, or a category that the reference does not
know.
"""


class Profile(Record):
    """`control.profiles` (key: model/version): how features and scores were distributed in training.

    The first record of a version holds from the beginning; a version is immutable, so later ones are ignored.
    """

    model: Name
    version: Name
    ts: Time
    features: dict[str, "Distribution"]
    score: "Distribution | None" = None

    def distributions(self) -> dict[str, "Distribution"]:
        """By feature, and the scores' as `SCORE`."""
        return self.features | ({} if self.score is None else {SCORE: self.score})


class Distribution(Record):
    """One feature's reference: `counts` of `edges` (numbers: len(edges) + 1 bins, half-open, `bisect_right`)
    or of `categories` (len(categories) + 1 bins, the last for any other word).

    Bins are chosen by whoever makes the profile, by quantiles as a rule. Of numbers, `lowest` and `highest`
    are the extremes and `deviation` the standard deviation, in the feature's unit.
    """

    counts: list[Count]
    edges: list[float] | None = None
    categories: list[str] | None = None
    lowest: float | None = None
    highest: float | None = None
    deviation: Annotated[float, Meta(ge=0)] | None = None
