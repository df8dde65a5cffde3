"""Tests that stay valid however often one looks: ratios and their variance between users, boundaries, the
split of traffic, feedback that stops. Functions of sums; nothing here knows of releases.
"""
