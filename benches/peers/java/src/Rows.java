import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.utils.Bytes;

/** State to rows: records of the schema "upsert", field for field those of Rollbook. */
final class Rows {
    private static final byte[] MEMBER_OBJECT = ascii("CampaignMember");
    private static final byte[] ENGAGEMENT_OBJECT = ascii("UserSessionEngagement__c");
    private static final byte[] STATUS = ascii("Status");
    private static final int ID = 18;
    private static final int ENTRY_ID_MAX = 11;
    private static final int TEXT_MAX = 200;
    private static final int EMAIL_MAX = 80;

    private static final byte[][] FIELDS = Arrays.stream(new String[] {
                "Lead__c", "entry_id__c", "entry_name__c", "email__c", "user__c", "channel_id__c", "channel_name__c",
                "plays__c", "vod_minutes_viewed__c", "live_minutes_viewed__c", "total_vod_completion_rate__c",
                "no_live_engagement_rate__c", "low_live_engagement_rate__c", "fair_live_engagement_rate__c",
                "good_live_engagement_rate__c", "high_live_engagement_rate__c", "clap_clicked_count__c",
                "heart_clicked_count__c", "think_clicked_count__c", "wow_clicked_count__c", "smile_clicked_count__c",
                "answered_polls__c", "messages_sent_group__c", "qna_threads__c",
                "combined_live_engaged_users_play_time_ratio__c", "add_to_calendar__c", "mic_on__c", "cam_on__c",
                "total_reactions_activity__c", "raise_hand__c"})
            .map(Rows::ascii)
            .toArray(byte[][]::new);

    private final byte[] header;

    Rows(byte[] header) {
        this.header = header;
    }

    /** A row without the time of its event, which is no part of what the row says. */
    record Row(Bytes key, Out fields) {
        byte[] at(long eventAt) {
            return fields.number(eventAt).done();
        }
    }

    Row member(byte[] key, Member member) {
        Out out = head(MEMBER_OBJECT, key, key);
        // Without a catalogue no entry has a start that a presence could be before.
        if (!member.presences.isEmpty()) {
            text(out.number(1).text(STATUS), "Participated");
        }
        return new Row(keyOf(MEMBER_OBJECT, key), out.number(0));
    }

    Row engagement(byte[] key, String entryId, Entry entry) {
        byte[] id = joined(key, (byte) '_', entryId.getBytes(StandardCharsets.UTF_8));
        Out out = head(ENGAGEMENT_OBJECT, id, key).number(FIELDS.length);
        int next = 0;
        text(name(out, next++), new String(key, ID + 1, ID, StandardCharsets.US_ASCII));
        text(name(out, next++), cut(entryId, ENTRY_ID_MAX));
        text(name(out, next++), cut(entry.entryName.get(), TEXT_MAX));
        text(name(out, next++), cut(entry.email.get(), EMAIL_MAX));
        text(name(out, next++), cut(entry.user.get(), TEXT_MAX));
        String channel = entry.channelId.get();
        integer(name(out, next++), channel == null ? null : Long.valueOf(channel));
        text(name(out, next++), cut(entry.channelName.get(), TEXT_MAX));
        integer(name(out, next++), (long) entry.plays.size());
        decimal(name(out, next++), rounded(entry.recorded.length(), 100, 60_000));
        next = live(out, next, entry);
        // Answers, messages and reactions, none of which is a view.
        for (int none = 0; none < 8; none++) {
            integer(name(out, next++), 0L);
        }
        decimal(name(out, next++), ratio(entry));
        integer(name(out, next++), 0L);
        decimal(name(out, next++), 0L);
        decimal(name(out, next++), 0L);
        integer(name(out, next++), 0L);
        integer(name(out, next++), 0L);
        return new Row(keyOf(ENGAGEMENT_OBJECT, id), out.number(0));
    }

    private static int live(Out out, int first, Entry entry) {
        int next = first;
        long[] levels = levels(entry);
        long total = Arrays.stream(levels).sum();
        decimal(name(out, next++), rounded(total, 100, 60_000));
        // Without a catalogue no recording has a length.
        decimal(name(out, next++), null);
        for (int level = levels.length - 1; level >= 0; level--) {
            decimal(name(out, next++), rounded(levels[level], 100 * 100, total));
        }
        return next;
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

    private static Out name(Out out, int field) {
        return out.text(FIELDS[field]);
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
            out.number(2).number(value);
        }
    }

    private static void decimal(Out out, Long hundredths) {
        if (hundredths == null) {
            out.number(0);
        } else {
            out.number(3).decimal(hundredths / 100.0);
        }
    }

    private static String cut(String text, int units) {
        return text == null || text.length() <= units ? text : text.substring(0, units).stripTrailing();
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
