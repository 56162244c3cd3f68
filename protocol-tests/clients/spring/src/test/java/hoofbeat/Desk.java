package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Locale;

/** A worker at our {@code /app}: it answers what the controller of {@link App} answers, over a bare socket. */
final class Desk implements AutoCloseable {
    private final Peer peer;

    Desk(Broker broker) {
        peer = Peer.connected(broker);
        for (String name : new String[] {"shout", "whisper", "fail", "now"}) {
            peer.frame("SUBSCRIBE", "id:" + name, "destination:/worker/" + name, "receipt:" + name);
            peer.inbox.receipt(name);
        }
        Thread work = new Thread(this::work, "the worker");
        work.setDaemon(true);
        work.start();
    }

    @Override
    public void close() {
        peer.close();
    }

    private void work() {
        try {
            while (true) {
                answer(peer.inbox.take());
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void answer(Frame request) {
        String to = request.header("reply-to");
        switch (request.header("destination")) {
            case "/app/shout" -> send("/topic/shouts", request.text().toUpperCase(Locale.ROOT));
            case "/app/whisper" -> send(elsewhere(to, "/queue/whispers"), request.header("user") + ":" + request.text());
            case "/app/fail" -> send(elsewhere(to, "/queue/errors"), "on purpose");
            case "/app/now" -> send(to, "here");
            default -> throw new AssertionError(request.toString());
        }
    }

    private void send(String to, String text) {
        peer.send(to, text.getBytes(UTF_8), "content-type:text/plain;charset=UTF-8");
    }

    /** Another place of the session that asked: {@code /reply-user/TOKEN} and this. */
    private static String elsewhere(String to, String place) {
        return to.substring(0, to.indexOf('/', "/reply-user/".length())) + place;
    }
}
