package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.net.URI;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.util.MimeTypeUtils;
import org.springframework.web.socket.CloseStatus;
import org.springframework.web.socket.TextMessage;
import org.springframework.web.socket.WebSocketHandler;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.WebSocketMessage;
import org.springframework.web.socket.WebSocketSession;
import org.springframework.web.socket.client.WebSocketClient;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.handler.WebSocketHandlerDecorator;
import org.springframework.web.socket.messaging.WebSocketStompClient;

/** WebSocketStompClient over StandardWebSocketClient (Tomcat's) straight to our WebSocket port. */
class WsClientTest extends ClientContract {
    private final Ear ear = new Ear();
    private final WebSocketStompClient client = new WebSocketStompClient(ear);

    @Override
    Talk open(StompHeaders connect) {
        return open(new WebSocketHttpHeaders(), connect);
    }

    private Talk open(WebSocketHttpHeaders handshake, StompHeaders connect) {
        client.setTaskScheduler(scheduler);
        Talk talk = new Talk();
        return talk.opened(client.connectAsync(broker.url(), handshake, connect, talk));
    }

    @Override
    void cut() {
        ear.latest.cut();
    }

    @Override
    void write(String command, String... headers) {
        ear.latest.write(new String(Frame.octets(command, headers), UTF_8));
    }

    @Test
    @DisplayName("7 binary body: a binary WebSocket message to a client that speaks binary, equal octets")
    void s07_binaryMessages() {
        Browser browser = new Browser(broker.url());
        browser.octets(Frame.octets("CONNECT", "accept-version:1.2", "host:x"));
        browser.inbox.next(StompCommand.CONNECTED);
        browser.acknowledged("SUBSCRIBE", "id:0", "destination:" + topic);
        Talk talk = open();
        StompHeaders headers = new StompHeaders();
        headers.setDestination(topic);
        headers.setContentType(MimeTypeUtils.APPLICATION_OCTET_STREAM);
        talk.session().send(headers, Frame.everyOctet(300));
        assertThat(browser.inbox.message().body()).isEqualTo(Frame.everyOctet(300));
        assertThat(browser.binary()).isTrue();
        talk.session().disconnect();
        browser.drop();
    }

    @Test
    @DisplayName("8 60 KB to the client with its defaults, 1 MB with a raised limit: none closed 1009")
    void s08_large() {
        // Three octets a letter: a cut in the middle of one would spoil it.
        byte[] korean = "한".repeat(20_000).getBytes(UTF_8);
        Talk talk = open();
        talk.subscribed(topic, null);
        Link link = ear.latest;
        talk.session().send(topic, korean);
        assertThat(talk.message().body()).isEqualTo(korean);
        assertThat(link.longest()).isLessThanOrEqualTo(8192);
        talk.session().disconnect();

        client.setInboundMessageSizeLimit(2 << 20);
        try {
            Talk large = open();
            large.subscribed(topic, null);
            byte[] body = "x".repeat(1 << 20).getBytes(UTF_8);
            large.session().send(topic, body);
            assertThat(large.message().body()).isEqualTo(body);
            large.session().disconnect();
        } finally {
            client.setInboundMessageSizeLimit(64 << 10);
        }
    }

    @Test
    @DisplayName("8 60 KB with a subprotocol, which hides that it is Spring: server.outbound_message_limit")
    void s08_subprotocol() {
        try (Broker limited = Broker.start("--set", "server.outbound_message_limit=8KiB")) {
            Broker shared = broker;
            broker = limited;
            try {
                WebSocketHttpHeaders handshake = new WebSocketHttpHeaders();
                handshake.setSecWebSocketProtocol("v12.stomp");
                Talk talk = open(handshake, new StompHeaders());
                talk.session().setAutoReceipt(true);
                talk.subscribed(topic, null);
                talk.session().send(topic, "x".repeat(60_000).getBytes(UTF_8));
                assertThat(talk.message().body()).hasSize(60_000);
                talk.session().disconnect();
            } finally {
                broker = shared;
            }
        }
    }

    @Test
    @DisplayName("8 nobody else's messages are cut: one frame, one message")
    void s08_othersAreNotSplit() {
        for (String[] subprotocols : List.of(new String[0], new String[] {"v12.stomp"})) {
            Browser browser = new Browser(broker.url(), subprotocols);
            browser.send("CONNECT", "accept-version:1.2", "host:x");
            browser.inbox.next(StompCommand.CONNECTED);
            browser.acknowledged("SUBSCRIBE", "id:0", "destination:" + topic);
            Talk talk = open();
            talk.session().send(topic, "x".repeat(60_000).getBytes(UTF_8));
            assertThat(browser.inbox.message().body()).hasSize(60_000);
            talk.session().disconnect();
            browser.acknowledged("DISCONNECT");
            browser.drop();
        }
    }

    @Test
    @DisplayName("9 the client's frame split over messages of 512 octets, and several frames in one message")
    void s09_split() {
        Talk reader = open();
        reader.subscribed(topic, null);
        WebSocketStompClient splitting = new WebSocketStompClient(new StandardWebSocketClient());
        splitting.setTaskScheduler(scheduler);
        splitting.setOutboundMessageSizeLimit(512);
        Talk talk = new Talk();
        talk.opened(splitting.connectAsync(broker.url(), new WebSocketHttpHeaders(), new StompHeaders(), talk));
        talk.session().send(topic, "x".repeat(2048).getBytes(UTF_8));
        assertThat(reader.message().body()).hasSize(2048);
        String frame = new String(Frame.octets("SEND", "destination:" + topic), UTF_8);
        ear.latest.write(frame + "\n" + frame + frame);
        for (int n = 0; n < 3; n++) {
            assertThat(reader.message().body()).isEmpty();
        }
        talk.session().disconnect();
        reader.session().disconnect();
    }

    @Test
    @DisplayName("18 client with 1,000,1,000; beats up to 1.5 times late: not disconnected (10 s; with --long the whole 60)")
    void s18_lateBeats() {
        // Ten seconds are more than three times what either side bears.
        Duration length = Duration.ofSeconds(Boolean.getBoolean("hoofbeat.long") ? 60 : 10);
        try (Broker brief = Broker.start("--set", "session.heart_beat=1s")) {
            Browser late = new Browser(brief.url());
            late.send("CONNECT", "accept-version:1.2", "host:x", "heart-beat:1000,1000");
            assertThat(late.inbox.next(StompCommand.CONNECTED).header("heart-beat")).isEqualTo("1000,1000");
            long began = System.nanoTime();
            while (System.nanoTime() - began < length.toNanos()) {
                Wait.pause(Duration.ofMillis(1500));
                late.text("\n");
            }
            assertThat(late.inbox.rest()).isEmpty();
            late.acknowledged("DISCONNECT");
            late.close();
        }
    }

    @Test
    @DisplayName("26 subprotocols: none, v12, v10 and v12, an unknown one")
    void s26_subprotocols() {
        // Of several the highest is taken; Spring's own server takes the first.
        assertSubprotocol(List.of(), null);
        assertSubprotocol(List.of("v12.stomp"), "v12.stomp");
        assertSubprotocol(List.of("v10.stomp", "v12.stomp"), "v12.stomp");
        assertSubprotocol(List.of("foo"), null);
    }

    private void assertSubprotocol(List<String> offered, String agreed) {
        WebSocketHttpHeaders handshake = new WebSocketHttpHeaders();
        if (!offered.isEmpty()) {
            handshake.setSecWebSocketProtocol(offered);
        }
        Talk talk = open(handshake, new StompHeaders());
        talk.session().setAutoReceipt(true);
        String accepted = ear.latest.session.getAcceptedProtocol();
        assertThat(accepted == null || accepted.isEmpty() ? null : accepted).as(offered.toString()).isEqualTo(agreed);
        talk.subscribed(topic, null);
        talk.session().send(topic, "hello".getBytes(UTF_8));
        assertThat(talk.message().text()).isEqualTo("hello");
        talk.session().disconnect();
        Wait.until("the session is gone", () -> broker.size("sessions") == 0);
    }

    @Test
    @DisplayName("b4 DISCONNECT and close 1000 at once, RECEIPT not awaited: no noise on either side")
    void b4_disconnect() {
        for (boolean receipts : List.of(false, true)) {
            String log = broker.log();
            Talk talk = open(new StompHeaders());
            Link link = ear.latest;
            talk.session().setAutoReceipt(receipts);
            talk.subscribe(queue, "client-individual");
            talk.session().send(queue, "unacknowledged".getBytes(UTF_8));
            talk.message();
            talk.session().disconnect();
            Wait.until("the session is gone", () -> broker.size("sessions") == 0);
            Wait.until("the WebSocket has closed", () -> link.status != null);
            assertThat(link.status.getCode()).isEqualTo(CloseStatus.NORMAL.getCode());
            assertThat(broker.log()).isEqualTo(log);
            assertThat(talk.failures()).isEmpty();
            assertThat(talk.errors()).isEmpty();
        }
    }

    /** The WebSocket client, with an ear on each of its connections. */
    private static final class Ear implements WebSocketClient {
        private final StandardWebSocketClient inner = new StandardWebSocketClient();
        private volatile Link latest;

        @Override
        public CompletableFuture<WebSocketSession> execute(WebSocketHandler handler, String url, Object... values) {
            return execute(handler, null, URI.create(url));
        }

        @Override
        public CompletableFuture<WebSocketSession> execute(WebSocketHandler handler, WebSocketHttpHeaders headers, URI url) {
            latest = new Link(handler);
            return inner.execute(latest, headers, url);
        }
    }

    /** One connection. */
    private static final class Link extends WebSocketHandlerDecorator {
        private final List<Integer> lengths = new CopyOnWriteArrayList<>();
        private volatile WebSocketSession session;
        private volatile CloseStatus status;

        Link(WebSocketHandler handler) {
            super(handler);
        }

        int longest() {
            return Collections.max(lengths);
        }

        void write(String text) {
            try {
                session.sendMessage(new TextMessage(text));
            } catch (java.io.IOException failed) {
                throw new AssertionError(failed);
            }
        }

        void cut() {
            try {
                session.close(CloseStatus.GOING_AWAY);
            } catch (java.io.IOException failed) {
                throw new AssertionError(failed);
            }
        }

        @Override
        public void afterConnectionEstablished(WebSocketSession opened) throws Exception {
            session = opened;
            super.afterConnectionEstablished(opened);
        }

        @Override
        public void handleMessage(WebSocketSession from, WebSocketMessage<?> message) throws Exception {
            lengths.add(message.getPayloadLength());
            super.handleMessage(from, message);
        }

        @Override
        public void afterConnectionClosed(WebSocketSession from, CloseStatus closed) throws Exception {
            status = closed;
            super.afterConnectionClosed(from, closed);
        }
    }
}
