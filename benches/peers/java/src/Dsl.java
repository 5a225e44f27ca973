import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The fold with the DSL: an aggregate per member, behind the record cache, which lets an aggregate pass once a commit.
 * A KTable does not say which part of a value changed, so hashes of the rows that were sent are kept beside it.
 */
final class Dsl {
    private static final String SENT = "sent";

    private Dsl() {}

    static Topology topology(Settings settings) {
        StreamsBuilder builder = new StreamsBuilder();
        Rows rows = new Rows(settings.header("upsert"));
        var views = Consumed.with(Serdes.Bytes(), Codecs.views(settings.header("view")));
        var store = settings.rocksdb()
                ? Stores.persistentKeyValueStore("aggregates")
                : Stores.inMemoryKeyValueStore("aggregates");
        KTable<Bytes, Aggregate> aggregates = builder.stream(settings.text("input"), views)
                .filter((key, view) -> view != null && key != null)
                .groupByKey()
                .aggregate(
                        Aggregate::new,
                        (key, view, aggregate) -> aggregate.fold(view),
                        Materialized.<Bytes, Aggregate>as(store)
                                .withKeySerde(Serdes.Bytes())
                                .withValueSerde(Codecs.aggregates())
                                .withCachingEnabled());
        aggregates.toStream()
                .process(supplier(settings, rows), Named.as("rows"))
                .to(settings.text("output"),
                        Produced.with(Serdes.Bytes(), Serdes.ByteArray())
                                .withStreamPartitioner(Main::partition));
        return builder.build();
    }

    private static ProcessorSupplier<Bytes, Aggregate, Bytes, byte[]> supplier(Settings settings, Rows rows) {
        var store = settings.rocksdb() ? Stores.persistentKeyValueStore(SENT) : Stores.inMemoryKeyValueStore(SENT);
        var builder = Stores.keyValueStoreBuilder(store, Serdes.Bytes(), Codecs.sent()).withCachingEnabled();
        return new ProcessorSupplier<>() {
            @Override
            public Processor<Bytes, Aggregate, Bytes, byte[]> get() {
                return new News(rows);
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                return Set.of(builder);
            }
        };
    }

    /** Lets those rows of an aggregate pass that are not what was last sent. */
    private static final class News implements Processor<Bytes, Aggregate, Bytes, byte[]> {
        private final Rows rows;
        private ProcessorContext<Bytes, byte[]> context;
        private KeyValueStore<Bytes, Sent> store;

        News(Rows rows) {
            this.rows = rows;
        }

        @Override
        public void init(ProcessorContext<Bytes, byte[]> context) {
            this.context = context;
            store = context.getStateStore(SENT);
        }

        @Override
        public void process(Record<Bytes, Aggregate> record) {
            byte[] key = record.key().get();
            Sent known = store.get(record.key());
            Sent sent = known == null ? new Sent() : known;
            boolean news = pass(sent, "", rows.member(key, record.value().member), record);
            for (var entry : record.value().entries.entrySet()) {
                news |= pass(sent, entry.getKey(), rows.engagement(key, entry.getKey(), entry.getValue()), record);
            }
            if (news) {
                store.put(record.key(), sent);
            }
        }

        private boolean pass(Sent sent, String entry, Rows.Row row, Record<Bytes, Aggregate> record) {
            boolean news = sent.put(entry, row.fields().hash());
            if (news) {
                context.forward(record.withKey(row.key()).withValue(row.at(record.timestamp())));
            }
            return news;
        }
    }
}
