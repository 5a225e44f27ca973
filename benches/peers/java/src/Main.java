import java.io.FileReader;
import java.io.IOException;
import java.io.Reader;
import java.time.Duration;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** The fold on Kafka Streams: {@code java Main SETTINGS}. Says its state on standard output; ends with SIGTERM. */
final class Main {
    /** Streams refuses a commit interval that is longer than its transactions may be. */
    private static final Duration TRANSACTION_MAX = Duration.ofSeconds(60);
    private static final int MEMBER_KEY = 37;

    private Main() {}

    public static void main(String[] arguments) throws IOException {
        Properties all = new Properties();
        try (Reader reader = new FileReader(arguments[0])) {
            all.load(reader);
        }
        Settings settings = new Settings(all);
        Topology topology = settings.dsl() ? Dsl.topology(settings) : Fold.topology(settings);
        KafkaStreams streams = new KafkaStreams(topology, properties(settings));
        AtomicLong restored = new AtomicLong();
        streams.setGlobalStateRestoreListener(new Restored(restored));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            System.out.println("state " + now + ", restored " + restored);
            if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                ended.countDown();
            }
        });
        // The group is left, so that a successor need not wait for the session to time out.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CloseOptions
                .groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                .withTimeout(Duration.ofSeconds(30)))));
        streams.start();
        try {
            ended.await();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static Properties properties(Settings settings) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.text("application"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.text("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, settings.text("state.dir"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, settings.text("threads"));
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, settings.text("cache.bytes"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, settings.commitInterval().toMillis());
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), Math.toIntExact(TRANSACTION_MAX.toMillis()));
        return properties;
    }

    /** A row goes where its member is: its key is {@code {object}/{campaign}_{person}…}. */
    static Optional<Set<Integer>> partition(String topic, Bytes key, byte[] value, int partitions) {
        byte[] bytes = key.get();
        int from = 0;
        while (bytes[from] != '/') {
            from++;
        }
        return Optional.of(Set.of((murmur2(bytes, from + 1, MEMBER_KEY) & 0x7FFFFFFF) % partitions));
    }

    /**
     * Kafka's hash. Not {@code Utils.murmur2}: of a copy of a fixed length, the optimising compiler of OpenJDK 17.0.15
     * makes it a constant, and rows go astray.
     */
    private static int murmur2(byte[] bytes, int from, int length) {
        int multiplier = 0x5BD1E995;
        int hash = 0x9747B28C ^ length;
        int end = from + length;
        int at = from;
        for (; at + 4 <= end; at += 4) {
            int word = bytes[at] & 0xFF | (bytes[at + 1] & 0xFF) << 8 | (bytes[at + 2] & 0xFF) << 16 | bytes[at + 3] << 24;
            word *= multiplier;
            hash = hash * multiplier ^ (word ^ word >>> 24) * multiplier;
        }
        if (at < end) {
            int tail = 0;
            for (int i = end - 1; i >= at; i--) {
                tail = tail << 8 | bytes[i] & 0xFF;
            }
            hash = (hash ^ tail) * multiplier;
        }
        hash = (hash ^ hash >>> 13) * multiplier;
        return hash ^ hash >>> 15;
    }

    private record Restored(AtomicLong records) implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long to, long count) {
            records.addAndGet(count);
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {}
    }
}
