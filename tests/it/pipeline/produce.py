"""Writes events as a platform team would: confluent-kafka, Avro, the schema registry, Java's partitioner."""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, key, schema, events = sys.argv[1:]
serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), schema)
producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "acks": "all"})
failures = []
for event in json.loads(events):
    value = serialize(event, SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: error and failures.append(error))
left = producer.flush(30)
if left or failures:
    sys.exit(f"{left} events not sent, failures: {failures}")
