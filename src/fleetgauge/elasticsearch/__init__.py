"""Elasticsearch: how we connect, and what each of its answers means."""
