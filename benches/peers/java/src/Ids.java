import java.util.Arrays;

/** A set of hashed ids, ascending. */
final class Ids {
    private long[] ids = new long[0];

    int size() {
        return ids.length;
    }

    boolean insert(long id) {
        int found = Arrays.binarySearch(ids, id);
        if (found >= 0) {
            return false;
        }
        int place = -found - 1;
        long[] grown = new long[ids.length + 1];
        System.arraycopy(ids, 0, grown, 0, place);
        grown[place] = id;
        System.arraycopy(ids, place, grown, place + 1, ids.length - place);
        ids = grown;
        return true;
    }

    void write(Out out) {
        out.number(ids.length);
        for (long id : ids) {
            out.fixed(id);
        }
    }

    static Ids read(In in) {
        Ids set = new Ids();
        set.ids = new long[in.length()];
        for (int i = 0; i < set.ids.length; i++) {
            set.ids[i] = in.fixed();
        }
        return set;
    }
}
