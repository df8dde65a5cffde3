#!/bin/sh
# What must be there before the stages start: topics, tables, policies. Once a deployment; safe to repeat.
#
#   headgate-setup [POLICY…]
#
# With HEADGATE_READER_PASSWORD set, the user is made that dashboards read with; with GRAFANA set, Grafana's provisioning folder is
# written there, for that user if there is one.
set -eu
headgate topics create
headgate schema apply
if [ -n "${HEADGATE_READER_PASSWORD:-}" ]; then
    headgate schema grants
    reader=--reader
fi
for policy in "$@"; do
    headgate policy apply "$policy"
done
if [ -n "${GRAFANA:-}" ]; then
    headgate dashboards export ${reader:-} "$GRAFANA"
fi
