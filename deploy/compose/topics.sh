#!/usr/bin/env bash
# Creates the topics, and those of their dead letters, where they are missing.
set -euo pipefail

for topic in device-events device-commands; do
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --create --if-not-exists \
        --topic "$topic" --partitions 4 --replication-factor 1
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --create --if-not-exists \
        --topic "$topic.dlq" --partitions 1 --replication-factor 1 --config retention.ms=2592000000
done
