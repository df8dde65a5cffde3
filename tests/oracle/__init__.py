"""The batch truth: what the panes must hold, computed from the topics' records at once, slowly and obviously.

Written from the contract (sections 2, 3 and 6) alone, so that the join can be held against something that is
not the join.
"""
