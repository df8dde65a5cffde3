"""Rules: what a policy has watched, read from panes and samples at every boundary, and the alerts that
follow.
"""
