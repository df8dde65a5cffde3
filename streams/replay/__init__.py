"""Recorded events through the live join and judge, without a broker: see README.md."""
