"""Kafka: how its batches are read within bounded memory, whatever a producer put into them."""
