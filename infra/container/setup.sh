#!/bin/sh
# What must be there before the stages start: topics, tables, policies. Once a deployment; safe to repeat.
#
#   headgate-setup [POLICY…]
#
# With GRAFANA set, Grafana's provisioning folder is written there.
set -eu
headgate topics create
headgate schema apply
for policy in "$@"; do
    headgate policy apply "$policy"
done
if [ -n "${GRAFANA:-}" ]; then
    headgate dashboards export "$GRAFANA"
fi
