"""One model's release: evidence, verdict, transitions, commands, and whom people are told about."""
