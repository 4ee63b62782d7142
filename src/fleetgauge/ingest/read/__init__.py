"""Kafka as ingest reads it: records in columns, positions, going back."""
