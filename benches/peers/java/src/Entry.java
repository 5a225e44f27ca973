/** What a member did in one entry. Live levels are kept as they were reported; which one wins is decided in rows. */
final class Entry {
    long lastSignAt = Long.MIN_VALUE;
    Register entryName = new Register();
    Register channelId = new Register();
    Register channelName = new Register();
    Register email = new Register();
    Register user = new Register();
    Intervals high = new Intervals();
    Intervals good = new Intervals();
    Intervals fair = new Intervals();
    Intervals low = new Intervals();
    Intervals no = new Intervals();
    Intervals recorded = new Intervals();
    Intervals playhead = new Intervals();
    Ids plays = new Ids();
    /** Hash of the row that was last sent; 0: none, or it is kept elsewhere. */
    long sent;

    boolean fold(View view) {
        boolean changed = entryName.put(view, view.entryName()) | channelName.put(view, view.channelName());
        changed |= user.put(view, view.user()) | email.put(view, view.email());
        changed |= channelId.put(view, view.channelId() == null ? null : view.channelId().toString());
        long sign = view.end() == null ? view.occurredAt() : Math.max(view.end(), view.occurredAt());
        changed |= sign > lastSignAt;
        lastSignAt = Math.max(sign, lastSignAt);
        if (view.playId() != null && !view.playId().isBlank()) {
            changed |= plays.insert(Hash.of(view.playId().strip()));
        }
        if (view.end() != null) {
            changed |= (view.live() ? level(view) : recorded).insert(view.start(), view.end());
        }
        if (!view.live() && view.playheadStart() != null && view.playheadEnd() != null) {
            changed |= playhead.insert(Math.max(0, view.playheadStart()), view.playheadEnd());
        }
        return changed;
    }

    private Intervals level(View view) {
        if (view.inFocus() && view.fullScreen()) {
            return high;
        }
        if (view.inFocus()) {
            return view.soundOn() ? good : low;
        }
        return view.soundOn() ? fair : no;
    }

    void write(Out out) {
        out.number(lastSignAt);
        for (Register register : new Register[] {entryName, channelId, channelName, email, user}) {
            register.write(out);
        }
        for (Intervals set : new Intervals[] {high, good, fair, low, no, recorded, playhead}) {
            set.write(out);
        }
        plays.write(out);
        out.number(sent);
    }

    static Entry read(In in) {
        Entry entry = new Entry();
        entry.lastSignAt = in.number();
        entry.entryName = Register.read(in);
        entry.channelId = Register.read(in);
        entry.channelName = Register.read(in);
        entry.email = Register.read(in);
        entry.user = Register.read(in);
        entry.high = Intervals.read(in);
        entry.good = Intervals.read(in);
        entry.fair = Intervals.read(in);
        entry.low = Intervals.read(in);
        entry.no = Intervals.read(in);
        entry.recorded = Intervals.read(in);
        entry.playhead = Intervals.read(in);
        entry.plays = Ids.read(in);
        entry.sent = in.number();
        return entry;
    }
}
