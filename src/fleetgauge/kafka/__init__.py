"""Kafka: how we connect, what each of its errors means, and its records as we read them."""
