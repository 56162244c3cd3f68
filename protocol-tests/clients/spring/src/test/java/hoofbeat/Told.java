package hoofbeat;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * What one page was told: {@code what} tells a frame from others of its act, with nothing in it that a broker may choose as it likes;
 * the values of such headers are masked.
 */
record Told(String what, String command, Map<String, String> headers) {
    private static final Set<String> IDENTITY = Set.of("subscription", "receipt-id", "destination", "version");
    private static final Set<String> MASKED = Set.of("message-id", "ack", "session", "server", "timestamp", "expires");

    static Told frame(String page, Frame frame) {
        String command = frame.command().name();
        Map<String, String> headers = new TreeMap<>();
        StringBuilder what = new StringBuilder(page).append(": ").append(command);
        frame.headers().forEach((name, values) -> {
            if (IDENTITY.contains(name) && !command.equals("ERROR")) {
                return;
            }
            headers.put(name, MASKED.contains(name) ? "masked" : String.join(" and ", values));
        });
        if (!command.equals("ERROR")) {
            for (String name : new String[] {"version", "subscription", "receipt-id", "destination"}) {
                if (frame.header(name) != null) {
                    what.append(' ').append(frame.header(name));
                }
            }
            what.append(body(frame));
        }
        return new Told(what.toString(), command, headers);
    }

    static Told closed(String page, int code) {
        return new Told(page + ": closed " + code, "close", Map.of());
    }

    private static String body(Frame frame) {
        if (frame.header("x-app-error") != null) {
            return " x-app-error:" + frame.header("x-app-error");
        }
        if (frame.body().length == 0) {
            return "";
        }
        return frame.body().length < 60 && !frame.text().contains("\0") ? " \"" + frame.text() + "\"" : " " + frame.body().length + " octets";
    }
}
