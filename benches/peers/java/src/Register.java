/** The newest statement, if one was made: by time, then source, then event id, then value. */
final class Register {
    private long at;
    private String source;
    private String eventId;
    private String value;

    String get() {
        return value;
    }

    boolean put(View view, String stated) {
        if (stated == null || stated.isBlank()) {
            return false;
        }
        String text = stated.strip();
        if (value != null && order(view, text) <= 0) {
            return false;
        }
        at = view.occurredAt();
        source = view.source();
        eventId = view.eventId();
        value = text;
        return true;
    }

    private int order(View view, String text) {
        int order = Long.compare(view.occurredAt(), at);
        order = order != 0 ? order : view.source().compareTo(source);
        order = order != 0 ? order : view.eventId().compareTo(eventId);
        return order != 0 ? order : text.compareTo(value);
    }

    void write(Out out) {
        out.flag(value != null);
        if (value != null) {
            out.number(at).text(source).text(eventId).text(value);
        }
    }

    static Register read(In in) {
        Register register = new Register();
        if (in.flag()) {
            register.at = in.number();
            register.source = in.text();
            register.eventId = in.text();
            register.value = in.text();
        }
        return register;
    }
}
