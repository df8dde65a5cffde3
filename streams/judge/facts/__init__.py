"""What the judge knows before it judges: panes and how far they are, clicks' delays, workers; and how what it
says of them is named.
"""
