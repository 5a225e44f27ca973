import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The fold with the Processor API: a store of members and one of entries, so that an event touches its entry alone.
 * Rows are made once a commit interval, of what changed since. They may follow their offsets by one commit, and are made
 * up for after a start; a punctuation that asked for a commit would commit all tasks of its thread, each at its own time.
 */
final class Fold implements Processor<Bytes, View, Bytes, byte[]> {
    private static final String MEMBERS = "members";
    private static final String ENTRIES = "entries";
    private static final int MEMBER_KEY = 37;

    private final Settings settings;
    private final Rows rows;
    private ProcessorContext<Bytes, byte[]> context;
    private KeyValueStore<Bytes, Member> members;
    private KeyValueStore<Bytes, Entry> entries;
    /** What changed since the last rows, with the time of the newest event; null until the stores were looked through. */
    private Map<Bytes, Long> changedMembers;
    private Map<Bytes, Long> changedEntries;

    private Fold(Settings settings) {
        this.settings = settings;
        rows = new Rows(settings.header("upsert"));
    }

    static Topology topology(Settings settings) {
        return new Topology()
                .addSource("views", Serdes.Bytes().deserializer(),
                        Codecs.views(settings.header("view")).deserializer(), settings.text("input"))
                .addProcessor("fold", () -> new Fold(settings), "views")
                .addStateStore(store(settings, MEMBERS, Codecs.members()), "fold")
                .addStateStore(store(settings, ENTRIES, Codecs.entries()), "fold")
                .addSink("upserts", settings.text("output"), Serdes.Bytes().serializer(),
                        Serdes.ByteArray().serializer(), Main::partition, "fold");
    }

    private static <V> StoreBuilder<KeyValueStore<Bytes, V>> store(
            Settings settings, String name, Serde<V> values) {
        KeyValueBytesStoreSupplier store =
                settings.rocksdb() ? Stores.persistentKeyValueStore(name) : Stores.inMemoryKeyValueStore(name);
        return Stores.keyValueStoreBuilder(store, Serdes.Bytes(), values).withCachingEnabled();
    }

    @Override
    public void init(ProcessorContext<Bytes, byte[]> context) {
        this.context = context;
        members = context.getStateStore(MEMBERS);
        entries = context.getStateStore(ENTRIES);
        context.schedule(settings.commitInterval(), PunctuationType.WALL_CLOCK_TIME, this::emit);
    }

    @Override
    public void process(Record<Bytes, View> record) {
        View view = record.value();
        if (view == null || record.key() == null || record.key().get().length != MEMBER_KEY) {
            return;
        }
        lookThrough(record.timestamp());
        Bytes key = record.key();
        Member known = members.get(key);
        Member member = known == null ? new Member() : known;
        if (member.fold(view) || known == null) {
            members.put(key, member);
            changedMembers.merge(key, record.timestamp(), Math::max);
        }
        Bytes entryKey = Bytes.wrap(Rows.joined(key.get(), (byte) '_', view.entryId().getBytes(StandardCharsets.UTF_8)));
        Entry stored = entries.get(entryKey);
        Entry entry = stored == null ? new Entry() : stored;
        if (entry.fold(view) || stored == null) {
            entries.put(entryKey, entry);
            changedEntries.merge(entryKey, record.timestamp(), Math::max);
        }
    }

    private void emit(long now) {
        lookThrough(now);
        if (changedMembers.isEmpty() && changedEntries.isEmpty()) {
            return;
        }
        changedMembers.forEach((key, at) -> {
            Member member = members.get(key);
            Rows.Row row = rows.member(key.get(), member);
            long hash = row.fields().hash();
            if (hash != member.sent) {
                member.sent = hash;
                members.put(key, member);
                context.forward(new Record<>(row.key(), row.at(at), at));
            }
        });
        changedEntries.forEach((key, at) -> {
            Entry entry = entries.get(key);
            byte[] member = Arrays.copyOf(key.get(), MEMBER_KEY);
            Rows.Row row = rows.engagement(member, entryId(key), entry);
            long hash = row.fields().hash();
            if (hash != entry.sent) {
                entry.sent = hash;
                entries.put(key, entry);
                context.forward(new Record<>(row.key(), row.at(at), at));
            }
        });
        changedMembers.clear();
        changedEntries.clear();
    }

    /** A hand-over may have committed changes whose rows were not made: after a start everything is looked at. */
    private void lookThrough(long now) {
        if (changedMembers == null) {
            changedMembers = new HashMap<>();
            changedEntries = new HashMap<>();
            keys(members, key -> changedMembers.put(key, now));
            keys(entries, key -> changedEntries.put(key, now));
        }
    }

    private static <V> void keys(KeyValueStore<Bytes, V> store, Consumer<Bytes> each) {
        try (KeyValueIterator<Bytes, V> all = store.all()) {
            all.forEachRemaining(stored -> each.accept(stored.key));
        }
    }

    private static String entryId(Bytes key) {
        int from = MEMBER_KEY + 1;
        return new String(key.get(), from, key.get().length - from, StandardCharsets.UTF_8);
    }
}
