import java.util.Arrays;

/** A stretch of watching. Decoded by hand, which is several times cheaper than by Avro's library. */
record View(
        String eventId,
        String source,
        long occurredAt,
        String campaignId,
        String personId,
        String email,
        String user,
        String entryId,
        String entryName,
        Long channelId,
        String channelName,
        boolean live,
        String playId,
        long start,
        Long end,
        Long playheadStart,
        Long playheadEnd,
        boolean inFocus,
        boolean fullScreen,
        boolean soundOn) {

    private static final int HEADER = 10;
    private static final int MODE_LIVE = 1;
    private static final int MODE_DOCUMENT = 4;
    private static final long DAY = 24 * 60 * 60 * 1000;

    /** The fields in the order of the schema; null where the record is no view that counts. */
    static View decode(byte[] value, byte[] header) {
        if (value == null || !Arrays.equals(value, 0, HEADER, header, 0, HEADER)) {
            return null;
        }
        In in = new In(value, HEADER);
        String eventId = in.optionalText();
        String source = in.optionalText();
        Long occurredAt = in.optionalNumber();
        String campaignId = in.optionalText();
        String personId = in.optionalText();
        String email = in.optionalText();
        // The hash of the email.
        in.optionalText();
        String user = in.optionalText();
        // Ids of the subscriber and the customer.
        in.optionalText();
        in.optionalText();
        String entryId = in.optionalText();
        String entryName = in.optionalText();
        Long channelId = in.optionalNumber();
        String channelName = in.optionalText();
        int mode = in.length();
        String playId = in.optionalText();
        Long start = in.optionalNumber();
        Long end = in.optionalNumber();
        Long playheadStart = in.optionalNumber();
        Long playheadEnd = in.optionalNumber();
        boolean inFocus = in.optionalFlag();
        boolean fullScreen = in.optionalFlag();
        boolean soundOn = in.optionalFlag();
        boolean folded = mode > 0 && mode < MODE_DOCUMENT;
        if (!folded || occurredAt == null || blank(eventId) || blank(source) || blank(entryId)) {
            return null;
        }
        long from = start == null ? occurredAt : start;
        boolean runs = end == null || end >= from && end - from <= DAY;
        if (!runs || !id(campaignId, "701") || !id(personId, "00Q")) {
            return null;
        }
        return new View(eventId, source, occurredAt, campaignId, personId, email, user, entryId.strip(), entryName,
                channelId, channelName, mode == MODE_LIVE, playId, from, end, playheadStart, playheadEnd, inFocus,
                fullScreen, soundOn);
    }

    private static boolean blank(String text) {
        return text == null || text.isBlank();
    }

    private static boolean id(String text, String prefix) {
        return text != null && text.length() == 18 && text.startsWith(prefix);
    }
}
