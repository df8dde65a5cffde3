"""Alerts to Alertmanager and to webhooks, as far as nobody has silenced them."""
