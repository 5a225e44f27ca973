import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.message.BinaryMessageEncoder;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends one event of each kind to Rollbook's topics, in Avro's single-object encoding.
 * Needs org.apache.kafka:kafka-clients and org.apache.avro:avro.
 *
 *   java -cp 'lib/*' Produce.java BOOTSTRAP SCHEMAS_DIR CAMPAIGN_ID LEAD_ID
 *
 * BOOTSTRAP "-" prints topic, key and value (base64) instead of sending.
 */
public final class Produce {
    private static final String ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

    private final File schemas;
    private final KafkaProducer<String, byte[]> producer;
    private final String campaign;
    private final String lead;

    private Produce(String bootstrap, File schemas, String campaign, String lead) {
        this.schemas = schemas;
        this.campaign = id18(campaign);
        this.lead = id18(lead);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "20");
        // The default partitioner is the right one: murmur2 of the key.
        this.producer = bootstrap.equals("-")
            ? null
            : new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer());
    }

    public static void main(String[] args) throws IOException {
        Produce produce = new Produce(args[0], new File(args[1]), args[2], args[3]);
        long now = System.currentTimeMillis();
        produce.send("registrations", "registration", produce.event(1, now,
            "action", "REGISTERED", "email", "jane@example.org", "utm_source", "newsletter"));
        produce.send("attendance", "attendance", produce.event(2, now,
            "action", "JOIN", "connection_id", "tab-1"));
        produce.send("polls", "poll", produce.event(3, now,
            "poll_id", "poll-1", "poll_type", "rating", "question", "How was it?", "answer", "Good", "position", 1L));
        produce.send("reactions", "reaction", produce.event(4, now,
            "reaction", "CLAP"));
        produce.send("views", "view", produce.event(5, now,
            "mode", "LIVE", "play_id", "play-1", "started_at", now - 60_000, "ended_at", now,
            "in_focus", true, "sound_on", true));
        if (produce.producer != null) {
            produce.producer.close();
        }
    }

    /** In real life event_id is the source's own id, the same whenever the event is sent. */
    private Map<String, Object> event(int number, long now, Object... facts) {
        Map<String, Object> event = new LinkedHashMap<>();
        event.put("event_id", "example-" + number);
        event.put("source", "example/java");
        event.put("occurred_at", now - 60_000);
        event.put("campaign_id", campaign);
        event.put("lead_id", lead);
        event.put("entry_id", "1_a2b3c4d5");
        for (int at = 0; at < facts.length; at += 2) {
            event.put((String) facts[at], facts[at + 1]);
        }
        return event;
    }

    private void send(String topic, String kind, Map<String, Object> event) throws IOException {
        Schema schema = new Schema.Parser().parse(new File(schemas, kind + ".avsc"));
        GenericData.Record record = new GenericData.Record(schema);
        for (Schema.Field field : schema.getFields()) {
            Object value = event.get(field.name());
            if (value == null) {
                value = GenericData.get().getDefaultValue(field);
            } else if (field.schema().getType() == Schema.Type.ENUM) {
                value = new GenericData.EnumSymbol(field.schema(), value);
            }
            record.put(field.pos(), value);
        }
        // With a registry: send the record itself, with Confluent's KafkaAvroSerializer as value.serializer.
        ByteBuffer encoded = new BinaryMessageEncoder<GenericData.Record>(GenericData.get(), schema).encode(record);
        byte[] value = new byte[encoded.remaining()];
        encoded.get(value);
        String key = campaign + "_" + lead;
        if (producer == null) {
            System.out.println(topic + "\t" + key + "\t" + Base64.getEncoder().encodeToString(value));
            return;
        }
        producer.send(new ProducerRecord<>(topic, key, value), (metadata, failure) -> {
            if (failure != null) {
                System.err.println("not delivered: " + failure.getMessage());
            }
        });
    }

    /** The 18-character form of a record id: three letters that say which of the 15 are capitals. */
    private static String id18(String id) {
        StringBuilder id18 = new StringBuilder(id.substring(0, 15));
        for (int five = 0; five < 15; five += 5) {
            int bits = 0;
            for (int at = 0; at < 5; at++) {
                bits |= Character.isUpperCase(id.charAt(five + at)) ? 1 << at : 0;
            }
            id18.append(ALPHABET.charAt(bits));
        }
        return id18.toString();
    }
}
