#!/usr/bin/env bash
# Creates the topics, and those of their dead letters, where they are missing. A dead letter is its record and headers
# that say why, packed anew: its topic must take more than the source does.
set -euo pipefail

for topic in device-events device-commands; do
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --create --if-not-exists \
        --topic "$topic" --partitions 4 --replication-factor 1 --config message.timestamp.type=LogAppendTime
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --create --if-not-exists \
        --topic "$topic.dlq" --partitions 1 --replication-factor 1 --config retention.ms=2592000000
    # Also where it was made before this was known; `fleetgauge consume` refuses a smaller one.
    /opt/kafka/bin/kafka-configs.sh --bootstrap-server kafka:19092 --alter --topic "$topic.dlq" \
        --add-config max.message.bytes=33554432
done
