import java.util.Map;
import java.util.TreeMap;

/** Hashes of the rows of a member that were last sent, by entry; the member's own row has the entry "". */
final class Sent {
    private final Map<String, Long> hashes = new TreeMap<>();

    /** Returns whether this is news. */
    boolean put(String entry, long hash) {
        Long before = hashes.put(entry, hash);
        return before == null || before != hash;
    }

    void write(Out out) {
        out.number(hashes.size());
        hashes.forEach((entry, hash) -> out.text(entry).fixed(hash));
    }

    static Sent read(In in) {
        Sent sent = new Sent();
        for (int left = in.length(); left > 0; left--) {
            sent.hashes.put(in.text(), in.fixed());
        }
        return sent;
    }
}
