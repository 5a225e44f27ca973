import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** 64-bit hashes of ids and rows, eight bytes at a step; never 0, which stands for "none". */
final class Hash {
    private static final VarHandle LONGS =
            MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private Hash() {}

    static long of(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return of(bytes, bytes.length);
    }

    static long of(byte[] bytes, int length) {
        long hash = length * 0x9E3779B97F4A7C15L;
        int at = 0;
        for (; at + 8 <= length; at += 8) {
            hash = mixed(hash ^ (long) LONGS.get(bytes, at));
        }
        long tail = 0;
        for (; at < length; at++) {
            tail = tail << 8 | bytes[at] & 0xFF;
        }
        hash = mixed(mixed(hash ^ tail));
        return hash == 0 ? 1 : hash;
    }

    private static long mixed(long value) {
        long product = value * 0xD6E8FEB86659FD93L;
        return product ^ product >>> 32;
    }
}
