"""How fast and how cheaply events go from Kafka to Elasticsearch, beside what users would pick instead."""
