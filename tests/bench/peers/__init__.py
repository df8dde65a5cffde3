"""The comparison's contestants: one small program each, in the idiom of its own documentation, run in a
virtual environment of its own. `roster.py` lists them.

All do the same simple job: predictions and clicks meet by their request's id, and every 10 s pane of a
series (model, version, arm) gets predictions, impressions, clicks and the sum of latencies, written to a
topic as one JSON object a row. A program is given a `Job` as JSON (its first argument) and runs until it
is ended.
"""
