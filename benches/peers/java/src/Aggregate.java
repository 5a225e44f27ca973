import java.util.Map;
import java.util.TreeMap;

/** A member with its entries: one value, since the DSL groups by the record's key without another topic. */
final class Aggregate {
    Member member = new Member();
    final Map<String, Entry> entries = new TreeMap<>();

    Aggregate fold(View view) {
        member.fold(view);
        entries.computeIfAbsent(view.entryId(), id -> new Entry()).fold(view);
        return this;
    }

    void write(Out out) {
        member.write(out);
        out.number(entries.size());
        entries.forEach((id, entry) -> entry.write(out.text(id)));
    }

    static Aggregate read(In in) {
        Aggregate aggregate = new Aggregate();
        aggregate.member = Member.read(in);
        for (int left = in.length(); left > 0; left--) {
            aggregate.entries.put(in.text(), Entry.read(in));
        }
        return aggregate;
    }
}
