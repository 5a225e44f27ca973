import java.io.FileReader;
import java.io.IOException;
import java.io.Reader;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.StreamPartitioner;

/** The fold on Kafka Streams: {@code java Main SETTINGS}. Says its state on standard output; ends with SIGTERM. */
final class Main {
    /** Streams refuses a commit interval that is longer than its transactions may be. */
    private static final Duration TRANSACTION_MAX = Duration.ofSeconds(60);
    private static final int ID = 18;

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
        // With the Processor API a punctuation asks for the commits; then this is a bound that is not met.
        Duration commit = settings.dsl() ? settings.commitInterval() : TRANSACTION_MAX.dividedBy(2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commit.toMillis());
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), Math.toIntExact(TRANSACTION_MAX.toMillis()));
        return properties;
    }

    /**
     * A row goes where its member is: its key is {@code {object}/{campaign}_{person}…}. Of how many partitions, the
     * settings say: what the client knows right after a topic was created may be less, and a member's rows would part.
     */
    static StreamPartitioner<Bytes, byte[]> partitioner(Settings settings) {
        int partitions = Integer.parseInt(settings.text("partitions"));
        return (topic, key, value, known) -> Optional.of(Set.of(partition(key, partitions)));
    }

    private static int partition(Bytes key, int partitions) {
        byte[] bytes = key.get();
        int from = 0;
        while (bytes[from] != '/') {
            from++;
        }
        byte[] member = Arrays.copyOfRange(bytes, from + 1, from + 1 + ID + 1 + ID);
        return Utils.toPositive(Utils.murmur2(member)) % partitions;
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
