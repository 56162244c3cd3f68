package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.TestInstance;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/** What Spring's STOMP client has to see over either transport. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
abstract class ClientContract {
    protected final ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
    protected Broker broker;
    protected String topic;
    protected String queue;

    /** Opens a session with these headers in CONNECT. */
    abstract Talk open(StompHeaders connect);

    /** Ends the transport of the session that was opened last, without a word of STOMP. */
    abstract void cut();

    /** Writes a frame for which Spring's session has no method, into the session that was opened last. */
    abstract void write(String command, String... headers);

    @BeforeAll
    void start() {
        broker = Broker.start();
        scheduler.setPoolSize(2);
        scheduler.setDaemon(true);
        scheduler.initialize();
    }

    @AfterAll
    void stop() {
        broker.close();
        scheduler.shutdown();
    }

    @BeforeEach
    void name(TestInfo test) {
        String name = getClass().getSimpleName() + "." + test.getTestMethod().orElseThrow().getName();
        topic = "/topic/" + name;
        queue = "/queue/" + name;
    }

    @AfterEach
    void nothingLeft() {
        Wait.until("no session is left over", () -> broker.size("sessions") == 0);
    }

    Talk open(String version) {
        StompHeaders connect = new StompHeaders();
        connect.setAcceptVersion(version);
        Talk talk = open(connect);
        assertThat(talk.connected.getFirst("version")).isEqualTo(version);
        talk.session().setAutoReceipt(true);
        return talk;
    }

    Talk open() {
        return open("1.2");
    }

    @Test
    @DisplayName("4 with the client's defaults: connect, subscribe, send, disconnect")
    void s04_defaults() {
        Talk talk = open(new StompHeaders());
        assertThat(talk.connected.getFirst("version")).isEqualTo("1.2");
        talk.session().setAutoReceipt(true);
        talk.subscribed(topic, null);
        talk.session().send(topic, "hello".getBytes(UTF_8));
        Talk.Got got = talk.message();
        assertThat(got.text()).isEqualTo("hello");
        assertThat(got.headers().getDestination()).isEqualTo(topic);
        talk.session().disconnect();
        Wait.until("the session is gone", () -> broker.size("sessions") == 0);
        assertThat(talk.errors()).isEmpty();
        assertThat(talk.failures()).isEmpty();
    }

    @Test
    @DisplayName("5 custom and repeated headers; colon, backslash, LF, CR in values")
    void s05_headers() {
        for (String version : List.of("1.1", "1.2")) {
            Talk talk = open(version);
            talk.subscribed(topic, null);
            StompHeaders headers = new StompHeaders();
            headers.setDestination(topic);
            headers.add("foo", "b:r");
            headers.add("foo", "second");
            headers.add("path", "C:\\dir\r\n");
            headers.add("이름", "값 🐎");
            talk.session().send(headers, "x".getBytes(UTF_8));
            StompHeaders got = talk.message().headers();
            assertThat(got.get("foo")).containsExactly("b:r", "second");
            assertThat(got.getFirst("path")).isEqualTo("C:\\dir\r\n");
            assertThat(got.getFirst("이름")).isEqualTo("값 🐎");
            assertThat(got.getReceipt()).as("the sender's receipt stays with the sender").isNull();
            talk.session().disconnect();
        }
    }

    @Test
    @DisplayName("7 body with every octet, application/octet-stream")
    void s07_binary() {
        Talk talk = open();
        talk.subscribed(topic, null);
        StompHeaders headers = new StompHeaders();
        headers.setDestination(topic);
        headers.setContentType(org.springframework.util.MimeTypeUtils.APPLICATION_OCTET_STREAM);
        byte[] body = Frame.everyOctet(1024);
        talk.session().send(headers, body);
        Talk.Got got = talk.message();
        assertThat(got.body()).isEqualTo(body);
        assertThat(got.headers().getContentType()).hasToString("application/octet-stream");
        talk.session().disconnect();
    }

    @Test
    @DisplayName("10 client-individual on 1.2 (id) and on 1.1 (message-id alone): drained, no redelivery")
    void s10_acknowledgement() {
        for (String version : List.of("1.1", "1.2")) {
            Talk talk = open(version);
            talk.subscribed(queue, "client-individual");
            // A second one, so that message-id alone has to tell whose message it is.
            talk.subscribed(queue + ".other", "client-individual");
            for (int n = 0; n < 10; n++) {
                Talk.receipt(talk.session().send(n % 2 == 0 ? queue : queue + ".other", "m".getBytes(UTF_8)));
            }
            for (int n = 0; n < 10; n++) {
                StompHeaders got = talk.message().headers();
                Talk.receipt(talk.session().acknowledge(version.equals("1.2") ? got.getAck() : got.getMessageId(), true));
            }
            assertThat(broker.size("queued_messages")).isZero();
            talk.session().disconnect();
            Wait.until("the session is gone", () -> broker.size("sessions") == 0);
            assertThat(broker.size("queued_messages")).isZero();
        }
    }

    @Test
    @DisplayName("11 NACK, and a connection lost with unacknowledged messages: redelivered elsewhere")
    void s11_redelivery() {
        Talk other = open();
        Talk talk = open();
        talk.subscribed(queue, "client-individual");
        talk.session().send(queue, "one".getBytes(UTF_8));
        StompHeaders first = talk.message().headers();
        assertThat(first.getFirst("redelivered")).isEqualTo("false");
        Talk.receipt(talk.session().acknowledge(first.getAck(), false));
        assertThat(talk.message().headers().getFirst("redelivered")).isEqualTo("true");
        cut();
        other.subscribed(queue, "client-individual");
        Talk.Got again = other.message();
        assertThat(again.text()).isEqualTo("one");
        assertThat(again.headers().getFirst("redelivered")).isEqualTo("true");
        Talk.receipt(other.session().acknowledge(again.headers().getAck(), true));
        other.session().disconnect();
    }

    @Test
    @DisplayName("12 BEGIN, SEND, COMMIT; ABORT; a connection lost before COMMIT")
    void s12_transactions() {
        Talk reader = open();
        reader.subscribed(topic, null);
        Talk writer = open();
        write("BEGIN", "transaction:t1");
        Talk.receipt(transacted(writer, "in", "t1"));
        write("BEGIN", "transaction:t2");
        Talk.receipt(transacted(writer, "aborted", "t2"));
        write("ABORT", "transaction:t2");
        Talk.receipt(writer.session().send(topic, "before".getBytes(UTF_8)));
        write("COMMIT", "transaction:t1");
        Talk.receipt(writer.session().send(topic, "after".getBytes(UTF_8)));
        List<String> got = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            got.add(reader.message().text());
        }
        assertThat(got).containsExactly("before", "in", "after");
        write("BEGIN", "transaction:t3");
        Talk.receipt(transacted(writer, "lost", "t3"));
        cut();
        Wait.until("the writer is gone", () -> broker.size("sessions") == 1);
        Talk.receipt(reader.session().send(topic, "end".getBytes(UTF_8)));
        assertThat(reader.message().text()).isEqualTo("end");
        reader.session().disconnect();
    }

    private org.springframework.messaging.simp.stomp.StompSession.Receiptable transacted(Talk talk, String text, String transaction) {
        StompHeaders headers = new StompHeaders();
        headers.setDestination(topic);
        headers.add("transaction", transaction);
        return talk.session().send(headers, text.getBytes(UTF_8));
    }

    @Test
    @DisplayName("13 autoReceipt on SUBSCRIBE, SEND, ACK, UNSUBSCRIBE: each comes, none is lost")
    void s13_receipts() {
        Talk talk = open();
        var subscription = talk.subscribed(queue, "client");
        Talk.receipt(talk.session().send(queue, "x".getBytes(UTF_8)));
        Talk.receipt(talk.session().acknowledge(talk.message().headers().getAck(), true));
        // UNSUBSCRIBE's receipt is the subscription's own, a second time.
        var unsubscribe = new StompHeaders();
        unsubscribe.setReceipt("bye");
        subscription.unsubscribe(unsubscribe);
        Talk.receipt(subscription);
        talk.session().send(queue, "kept".getBytes(UTF_8));
        Wait.until("nobody takes it", () -> broker.size("queued_messages") == 1);
        talk.subscribed(queue, null);
        assertThat(talk.message().text()).isEqualTo("kept");
        talk.session().disconnect();
        assertThat(talk.errors()).isEmpty();
    }

    @Test
    @DisplayName("16 heart-beats of 1 s: idle sessions stay; when we freeze the client gives up")
    void s16_heartBeats() {
        try (Broker brief = Broker.start("--set", "session.heart_beat=1s")) {
            Broker shared = broker;
            broker = brief;
            try {
                StompHeaders connect = new StompHeaders();
                connect.setHeartbeat(new long[] {1000, 1000});
                Talk talk = open(connect);
                assertThat(talk.connected.getFirst("heart-beat")).isEqualTo("1000,1000");
                // Three seconds without a beat end it on either side.
                Wait.pause(Duration.ofSeconds(5));
                assertThat(talk.session().isConnected()).isTrue();
                assertThat(brief.size("sessions")).isEqualTo(1);
                brief.freeze();
                Wait.until("the client gives up", () -> !talk.session().isConnected());
                brief.thaw();
                Wait.until("the session is gone", () -> brief.size("sessions") == 0);
            } finally {
                broker = shared;
            }
        }
    }

    @Test
    @DisplayName("25 1,000 messages of one publisher to 20 subscribers: strict order")
    void s25_order() {
        List<Talk> readers = IntStream.range(0, 20).mapToObj(n -> open()).toList();
        readers.forEach(reader -> reader.subscribed(topic, null));
        Talk writer = open(new StompHeaders());
        for (int n = 0; n < 1000; n++) {
            writer.session().send(topic, Integer.toString(n).getBytes(UTF_8));
        }
        for (Talk reader : readers) {
            for (int n = 0; n < 1000; n++) {
                assertThat(reader.message().text()).isEqualTo(Integer.toString(n));
            }
            reader.session().disconnect();
        }
        writer.session().disconnect();
    }

    @Test
    @DisplayName("30 poison: a content-type that Spring cannot read does not end the session")
    void s30_poison() {
        Talk talk = open();
        talk.subscribed(topic, null);
        try (Peer peer = Peer.connected(broker)) {
            for (String type : List.of("json", "", "*/json", "text/plain;charset=nonsense")) {
                peer.send(topic, "x".getBytes(UTF_8), "content-type:" + type);
                StompHeaders got = talk.message().headers();
                assertThat(got.getFirst("content-type")).isEqualTo("application/octet-stream");
                assertThat(got.getFirst("x-content-type")).isEqualTo(type);
            }
        }
        talk.session().disconnect();
    }

    @Test
    @DisplayName("31 a refused SUBSCRIBE: the client's handler gets our ERROR, with message and receipt-id")
    void s31_error() {
        Talk talk = open();
        talk.subscribe("/queue/*", null);
        Wait.until("the ERROR", () -> !talk.errors().isEmpty());
        StompHeaders error = talk.errors().get(0);
        assertThat(error.getFirst("message")).isNotBlank();
        assertThat(error.getReceiptId()).isNotBlank();
        assertThat(error.getFirst("code")).isEqualTo("bad-destination");
        Wait.until("the connection has ended", () -> !talk.session().isConnected());
    }
}
