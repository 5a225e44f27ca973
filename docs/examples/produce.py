#!/usr/bin/env python3
"""Sends one event of each kind to Rollbook's topics.

    pip install confluent-kafka fastavro          (with a registry: 'confluent-kafka[avro,schemaregistry]')
    produce.py --campaign 70103000000cnFXAAY --lead 00Q0300000AczgfEAB --bootstrap localhost:9092
    produce.py ... --format avro                  Avro single-object encoding, no registry
    produce.py ... --format registry --registry http://localhost:8081
    produce.py ... --print                        topic, key and value (base64) instead of sending
"""

import argparse
import base64
import json
import pathlib
import time

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schemas"
TOPICS = {
    "registration": "registrations",
    "attendance": "attendance",
    "poll": "polls",
    "reaction": "reactions",
    "view": "views",
}


def id18(salesforce_id):
    """The 18-character form of a record id: three letters that say which of the 15 are capitals."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    head = salesforce_id[:15]
    fives = [head[at : at + 5] for at in (0, 5, 10)]
    return head + "".join(alphabet[sum(c.isupper() << bit for bit, c in enumerate(five))] for five in fives)


def events(campaign, lead, now):
    """One event of each kind. In real life event_id is the source's own id, the same whenever the event is sent."""

    def event(number, **facts):
        identity = {"event_id": f"example-{number}", "source": "example/python", "occurred_at": now - 60_000}
        return identity | {"campaign_id": campaign, "lead_id": lead, "entry_id": "1_a2b3c4d5"} | facts

    yield "registration", event(1, action="REGISTERED", email="jane@example.org", utm_source="newsletter")
    yield "attendance", event(2, action="JOIN", connection_id="tab-1")
    yield "poll", event(3, poll_id="poll-1", poll_type="rating", question="How was it?", answer="Good", position=1)
    yield "reaction", event(4, reaction="CLAP")
    yield "view", event(
        5, mode="LIVE", play_id="play-1", started_at=now - 60_000, ended_at=now, in_focus=True, sound_on=True
    )


def json_encoder(_):
    return lambda kind, event: json.dumps(event).encode()


def avro_encoder(_):
    """Avro single-object encoding: C3 01, the schema's fingerprint (little endian), the record."""
    import io

    import fastavro

    parsed = {kind: fastavro.schema.load_schema(SCHEMAS / f"{kind}.avsc") for kind in TOPICS}

    def encode(kind, event):
        canonical = fastavro.schema.to_parsing_canonical_form(parsed[kind])
        fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
        out = io.BytesIO(b"\xc3\x01" + fingerprint)
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, parsed[kind], event)
        return out.getvalue()

    return encode


def registry_encoder(url):
    """Confluent's wire format: 0, the registry's schema id (big endian), the record."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    client = SchemaRegistryClient({"url": url})
    serializers = {kind: AvroSerializer(client, (SCHEMAS / f"{kind}.avsc").read_text()) for kind in TOPICS}

    def encode(kind, event):
        return serializers[kind](event, SerializationContext(TOPICS[kind], MessageField.VALUE))

    return encode


def sender(bootstrap):
    from confluent_kafka import Producer

    # Java's partitioner: the fold reads a member's events where murmur2 of the key puts them.
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 20}
    )

    def delivered(error, _):
        if error:
            raise SystemExit(f"not delivered: {error}")

    def send(topic, key, value):
        producer.produce(topic, key=key, value=value, on_delivery=delivered)
        producer.poll(0)

    return send, producer.flush


def printer():
    return lambda topic, key, value: print(topic, key, base64.b64encode(value).decode(), sep="\t"), lambda: None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--campaign", required=True)
    arguments.add_argument("--lead", required=True)
    arguments.add_argument("--bootstrap", default="localhost:9092")
    arguments.add_argument("--format", choices=["json", "avro", "registry"], default="json")
    arguments.add_argument("--registry", default="http://localhost:8081")
    arguments.add_argument("--print", action="store_true")
    options = arguments.parse_args()

    encoders = {"json": json_encoder, "avro": avro_encoder, "registry": registry_encoder}
    encode = encoders[options.format](options.registry)
    campaign, lead = id18(options.campaign), id18(options.lead)
    send, flush = printer() if options.print else sender(options.bootstrap)
    for kind, event in events(campaign, lead, int(time.time() * 1000)):
        send(TOPICS[kind], f"{campaign}_{lead}", encode(kind, event))
    flush()


if __name__ == "__main__":
    main()
