import java.util.Arrays;

/** A set of half-open intervals: ascending, disjoint, never touching. Starts and ends take turns in one array. */
final class Intervals {
    private static final long[] NONE = new long[0];

    private long[] bounds = NONE;
    private int size;

    boolean isEmpty() {
        return size == 0;
    }

    /** Returns whether a point was new. */
    boolean insert(long start, long end) {
        if (start >= end) {
            return false;
        }
        // Stretches arrive nearly in order: most of them extend the last interval or follow it.
        if (size == 0 || start > bounds[size - 1]) {
            splice(size, size, start, end);
            return true;
        }
        if (start >= bounds[size - 2]) {
            boolean grows = end > bounds[size - 1];
            bounds[size - 1] = Math.max(bounds[size - 1], end);
            return grows;
        }
        int from = 0;
        while (bounds[from + 1] < start) {
            from += 2;
        }
        int to = from;
        while (to < size && bounds[to] <= end) {
            to += 2;
        }
        if (from < to) {
            long first = Math.min(bounds[from], start);
            long last = Math.max(bounds[to - 1], end);
            if (to - from == 2 && first == bounds[from] && last == bounds[to - 1]) {
                return false;
            }
            splice(from, to, first, last);
        } else {
            splice(from, to, start, end);
        }
        return true;
    }

    private void splice(int from, int to, long start, long end) {
        int grown = size + 2 - (to - from);
        long[] target = grown > bounds.length ? Arrays.copyOf(bounds, Math.max(4, 2 * grown)) : bounds;
        System.arraycopy(bounds, to, target, from + 2, size - to);
        target[from] = start;
        target[from + 1] = end;
        bounds = target;
        size = grown;
    }

    void join(Intervals other) {
        for (int i = 0; i < other.size; i += 2) {
            insert(other.bounds[i], other.bounds[i + 1]);
        }
    }

    long length() {
        long length = 0;
        for (int i = 0; i < size; i += 2) {
            length += bounds[i + 1] - bounds[i];
        }
        return length;
    }

    /** As gaps, which are small numbers. */
    void write(Out out) {
        out.number(size);
        long last = 0;
        for (int i = 0; i < size; i++) {
            out.number(bounds[i] - last);
            last = bounds[i];
        }
    }

    static Intervals read(In in) {
        Intervals set = new Intervals();
        set.size = in.length();
        if (set.size > 0) {
            // Room for one more: what is read is about to be added to.
            set.bounds = new long[set.size + 2];
        }
        long last = 0;
        for (int i = 0; i < set.size; i++) {
            last += in.number();
            set.bounds[i] = last;
        }
        return set;
    }
}
