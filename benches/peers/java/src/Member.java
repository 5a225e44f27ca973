import java.util.Map;
import java.util.TreeMap;

/** What belongs to a member as a whole: the latest live presence in each entry. */
final class Member {
    final Map<String, Long> presences = new TreeMap<>();
    /** Hash of the row that was last sent; 0: none, or it is kept elsewhere. */
    long sent;

    boolean fold(View view) {
        if (!view.live()) {
            return false;
        }
        Long known = presences.get(view.entryId());
        if (known != null && known >= view.occurredAt()) {
            return false;
        }
        presences.put(view.entryId(), view.occurredAt());
        return true;
    }

    void write(Out out) {
        out.number(presences.size());
        presences.forEach((entry, at) -> out.text(entry).number(at));
        out.number(sent);
    }

    static Member read(In in) {
        Member member = new Member();
        for (int left = in.length(); left > 0; left--) {
            member.presences.put(in.text(), in.number());
        }
        member.sent = in.number();
        return member;
    }
}
