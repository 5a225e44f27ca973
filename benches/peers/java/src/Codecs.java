import java.util.function.BiConsumer;
import java.util.function.Function;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Serdes of what is stored and read. */
final class Codecs {
    private Codecs() {}

    static Serde<View> views(byte[] header) {
        return Serdes.serdeFrom((topic, view) -> null, (topic, value) -> View.decode(value, header));
    }

    static Serde<Aggregate> aggregates() {
        return of(Aggregate::write, Aggregate::read);
    }

    static Serde<Member> members() {
        return of(Member::write, Member::read);
    }

    static Serde<Entry> entries() {
        return of(Entry::write, Entry::read);
    }

    static Serde<Sent> sent() {
        return of(Sent::write, Sent::read);
    }

    private static <T> Serde<T> of(BiConsumer<T, Out> write, Function<In, T> read) {
        return Serdes.serdeFrom(
                (topic, value) -> {
                    if (value == null) {
                        return null;
                    }
                    Out out = new Out();
                    write.accept(value, out);
                    return out.done();
                },
                (topic, bytes) -> bytes == null ? null : read.apply(new In(bytes, 0)));
    }
}
