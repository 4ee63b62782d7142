"""Dashboards for on-call engineers, on what Prometheus has scraped: one module each, with a function `build`."""
