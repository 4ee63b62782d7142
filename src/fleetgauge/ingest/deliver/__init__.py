"""Batches under way to Elasticsearch until every event of them is final."""
