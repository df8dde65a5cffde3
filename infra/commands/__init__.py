"""The subcommands of `headgate`, one module each; `infra/cli.py` has the table of them."""
