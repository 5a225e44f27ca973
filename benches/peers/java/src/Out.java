import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Appends Avro's primitives. */
final class Out {
    private byte[] bytes = new byte[256];
    private int length;

    private void room(int more) {
        if (length + more > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, length + more));
        }
    }

    Out number(long value) {
        room(10);
        long rest = value << 1 ^ value >> 63;
        while ((rest & ~0x7FL) != 0) {
            bytes[length++] = (byte) (rest | 0x80);
            rest >>>= 7;
        }
        bytes[length++] = (byte) rest;
        return this;
    }

    Out flag(boolean value) {
        room(1);
        bytes[length++] = (byte) (value ? 1 : 0);
        return this;
    }

    Out raw(byte[] more) {
        room(more.length);
        System.arraycopy(more, 0, bytes, length, more.length);
        length += more.length;
        return this;
    }

    /** A text whose bytes are at hand. */
    Out text(byte[] utf8) {
        return number(utf8.length).raw(utf8);
    }

    Out text(String text) {
        return text(text.getBytes(StandardCharsets.UTF_8));
    }

    /** Eight bytes, big-endian. */
    Out fixed(long value) {
        room(8);
        for (int shift = 56; shift >= 0; shift -= 8) {
            bytes[length++] = (byte) (value >>> shift);
        }
        return this;
    }

    /** As Avro has it: eight bytes, little-endian. */
    Out decimal(double value) {
        return fixed(Long.reverseBytes(Double.doubleToRawLongBits(value)));
    }

    long hash() {
        return Hash.of(bytes, length);
    }

    byte[] done() {
        return Arrays.copyOf(bytes, length);
    }
}
