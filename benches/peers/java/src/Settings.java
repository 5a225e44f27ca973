import java.time.Duration;
import java.util.HexFormat;
import java.util.Properties;

/** What the benchmark says: a properties file of its own making. */
record Settings(Properties all) {
    String text(String name) {
        String value = all.getProperty(name);
        if (value == null) {
            throw new IllegalArgumentException("the settings lack `" + name + "`");
        }
        return value;
    }

    boolean dsl() {
        return text("api").equals("dsl");
    }

    boolean rocksdb() {
        return text("store").equals("rocksdb");
    }

    Duration commitInterval() {
        return Duration.ofMillis(Long.parseLong(text("commit.ms")));
    }

    /** Header of the single-object encoding of the schema "view" or "upsert". */
    byte[] header(String schema) {
        return HexFormat.of().parseHex(text(schema + ".header"));
    }
}
