"""Grafana dashboards as code: what stands where, and the SQL behind each panel."""
