import java.nio.charset.StandardCharsets;

/** Takes Avro's primitives off an array. */
final class In {
    private final byte[] bytes;
    private int at;

    In(byte[] bytes, int at) {
        this.bytes = bytes;
        this.at = at;
    }

    long number() {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = bytes[at++];
            value |= (next & 0x7FL) << shift;
            if (next >= 0) {
                return value >>> 1 ^ -(value & 1);
            }
        }
    }

    int length() {
        return Math.toIntExact(number());
    }

    boolean flag() {
        return bytes[at++] != 0;
    }

    String text() {
        int length = length();
        at += length;
        return new String(bytes, at - length, length, StandardCharsets.UTF_8);
    }

    /** Eight bytes, big-endian. */
    long fixed() {
        long value = 0;
        for (int i = 0; i < 8; i++) {
            value = value << 8 | bytes[at++] & 0xFF;
        }
        return value;
    }

    /** Of a union of null and one other type: whether it is the other one. */
    boolean some() {
        return number() != 0;
    }

    String optionalText() {
        return some() ? text() : null;
    }

    Long optionalNumber() {
        return some() ? (Long) number() : null;
    }

    boolean optionalFlag() {
        return some() && flag();
    }
}
