"""Dashboards asked by many viewers at once, and the pipeline at several rates: the load table of docs/measured.md."""
