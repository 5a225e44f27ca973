import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.utils.Bytes;

/** State to rows: records of the schema "upsert", field for field those of Rollbook. */
final class Rows {
    private static final byte[] MEMBER_OBJECT = ascii("CampaignMember");
    private static final byte[] ENGAGEMENT_OBJECT = ascii("UserSessionEngagement__c");
    /** Branches of the union of rows. */
    private static final long MEMBER_ROW = 1;
    private static final long ENGAGEMENT_ROW = 2;
    private static final long LIVE = 0;
    private static final int ID = 18;
    private static final int ENTRY_ID_MAX = 11;
    private static final int TEXT_MAX = 200;
    private static final int EMAIL_MAX = 80;

    private final byte[] header;

    Rows(byte[] header) {
        this.header = header;
    }

    /** A row without what its end says of its sending, which is no part of what the row says. */
    record Row(Bytes key, Out fields, long object, byte[] parent) {
        byte[] at(long eventAt) {
            Out out = fields.number(eventAt).number(LIVE).number(object);
            if (parent != null) {
                out.number(1).number(MEMBER_ROW).text(parent);
            }
            // No more parents, no causes; not the first version, not a minor one.
            return out.number(0).number(0).flag(false).flag(false).done();
        }
    }

    Row member(byte[] key, Member member) {
        Out out = head(MEMBER_OBJECT, key, key).number(MEMBER_ROW);
        // Without a catalogue no entry has a start that a presence could be before.
        text(out, member.presences.isEmpty() ? null : "Participated");
        return new Row(keyOf(MEMBER_OBJECT, key), out.number(0), MEMBER_ROW, null);
    }

    Row engagement(byte[] key, String entryId, Entry entry) {
        byte[] id = joined(key, (byte) '_', entryId.getBytes(StandardCharsets.UTF_8));
        Out out = head(ENGAGEMENT_OBJECT, id, key).number(ENGAGEMENT_ROW);
        text(out, new String(key, ID + 1, ID, StandardCharsets.US_ASCII));
        text(out, cut(entryId, ENTRY_ID_MAX));
        text(out, cut(entry.entryName.get(), TEXT_MAX));
        text(out, cut(entry.email.get(), EMAIL_MAX));
        text(out, cut(entry.user.get(), TEXT_MAX));
        String channel = entry.channelId.get();
        integer(out, channel == null ? null : Long.valueOf(channel));
        text(out, cut(entry.channelName.get(), TEXT_MAX));
        integer(out, (long) entry.plays.size());
        decimal(out, rounded(entry.recorded.length(), 100, 60_000));
        live(out, entry);
        // Answers, messages and reactions, none of which is a view.
        for (int none = 0; none < 8; none++) {
            integer(out, 0L);
        }
        decimal(out, ratio(entry));
        integer(out, 0L);
        decimal(out, 0L);
        decimal(out, 0L);
        integer(out, 0L);
        integer(out, 0L);
        return new Row(keyOf(ENGAGEMENT_OBJECT, id), out.number(0), ENGAGEMENT_ROW, key);
    }

    private static void live(Out out, Entry entry) {
        long[] levels = levels(entry);
        long total = Arrays.stream(levels).sum();
        decimal(out, rounded(total, 100, 60_000));
        // Without a catalogue no recording has a length.
        decimal(out, null);
        for (int level = levels.length - 1; level >= 0; level--) {
            decimal(out, rounded(levels[level], 100 * 100, total));
        }
    }

    private static Long ratio(Entry entry) {
        long[] levels = levels(entry);
        return rounded(levels[0] + levels[1], 100, Arrays.stream(levels).sum());
    }

    /** Milliseconds of live viewing at each level, every instant at its highest; the highest level first. */
    private static long[] levels(Entry entry) {
        Intervals[] sets = {entry.high, entry.good, entry.fair, entry.low, entry.no};
        long[] levels = new long[sets.length];
        Intervals above = new Intervals();
        long counted = 0;
        for (int level = 0; level < sets.length; level++) {
            if (!sets[level].isEmpty()) {
                above.join(sets[level]);
                levels[level] = above.length() - counted;
                counted += levels[level];
            }
        }
        return levels;
    }

    /** Hundredths, half away from zero; null without a whole. */
    private static Long rounded(long part, long scale, long whole) {
        return whole == 0 ? null : (Long) ((2 * part * scale + whole) / (2 * whole));
    }

    private Out head(byte[] object, byte[] externalId, byte[] key) {
        Out out = new Out().raw(header).text(object).text(externalId);
        return out.text(Arrays.copyOf(key, ID)).text(Arrays.copyOfRange(key, ID + 1, key.length));
    }

    private static Bytes keyOf(byte[] object, byte[] externalId) {
        return Bytes.wrap(joined(object, (byte) '/', externalId));
    }

    static byte[] joined(byte[] first, byte between, byte[] second) {
        byte[] joined = Arrays.copyOf(first, first.length + 1 + second.length);
        joined[first.length] = between;
        System.arraycopy(second, 0, joined, first.length + 1, second.length);
        return joined;
    }

    private static void text(Out out, String text) {
        if (text == null) {
            out.number(0);
        } else {
            out.number(1).text(text);
        }
    }

    private static void integer(Out out, Long value) {
        if (value == null) {
            out.number(0);
        } else {
            out.number(1).number(value);
        }
    }

    private static void decimal(Out out, Long hundredths) {
        if (hundredths == null) {
            out.number(0);
        } else {
            out.number(1).decimal(hundredths / 100.0);
        }
    }

    private static String cut(String text, int units) {
        return text == null || text.length() <= units ? text : text.substring(0, units).stripTrailing();
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
