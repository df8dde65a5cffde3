"""Which metrics of final panes change detectors follow, and what a change in each is called. The detectors
are `streams/judge/detectors.py`'s: this much the views and the policies need to know without them.
"""

DETECTORS = ("adwin", "page_hinkley")
"""By the names of the `drift` view's `method`."""

CONCEPT = ("ctr", "calibration", "log_loss")
"""Metrics that say how the world answers to predictions: a change in them is concept drift."""

WATCHED = (*CONCEPT, "error_rate", "latency_mean_ms")
"""All metrics that are followed, by their names in the catalogue; those that are not of `CONCEPT` are
prediction drift: what the model gives out has changed."""
