package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.springframework.messaging.simp.stomp.StompCommand;

/** StompBrokerRelayMessageHandler over Reactor Netty, between browsers that are played here and our TCP port. */
class RelayTckTest {
    private static Broker broker;
    private Relay relay;
    private String topic;
    private String queue;

    @BeforeAll
    static void start() {
        broker = Broker.start();
    }

    @AfterAll
    static void stop() {
        broker.close();
    }

    @BeforeEach
    void open(TestInfo test) {
        String name = test.getTestMethod().orElseThrow().getName();
        topic = "/topic/" + name;
        queue = "/queue/" + name;
        relay = Relay.to(broker);
    }

    @AfterEach
    void close() {
        relay.close();
        Wait.until("no session is left over", () -> broker.size("sessions") == 0);
    }

    @Test
    @DisplayName("1 system CONNECT without host, guest/guest")
    void s01_systemConnect() {
        assertThat(relay.availability()).containsExactly(true);
        assertThat(relay.wire().sent().get(0))
                .isEqualTo("CONNECT\naccept-version:1.1,1.2\nlogin:guest\npasscode:guest\nheart-beat:10000,10000\n\n");
        Frame connected = relay.wire().received().get(0);
        assertThat(connected.command()).isEqualTo(StompCommand.CONNECTED);
        assertThat(connected.header("version")).isEqualTo("1.2");
        assertThat(connected.header("heart-beat")).isEqualTo("10000,10000");
        assertThat(connected.body()).isEmpty();
    }

    @Test
    @DisplayName("1 a browser's CONNECT headers of its own do no harm")
    void s01_connectHeadersOfTheBrowser() {
        Relay.Client browser = relay.browser("b1");
        browser.send(
                "CONNECT",
                "login:browser",
                "passcode:secret",
                "Authorization:Bearer a.b:c",
                "host:my.example",
                "accept-version:1.2,1.1,1.0",
                "heart-beat:10000,20000");
        Frame connected = browser.inbox.next(StompCommand.CONNECTED);
        assertThat(connected.header("version")).isEqualTo("1.2");
        // Spring 6.2 leaves the browser's host in, 7.0 takes it out.
        assertThat(relay.wire().sent().get(1)).contains("login:guest", "passcode:guest", "Authorization:Bearer a.b:c");
        assertThat(connected.header("heart-beat")).matches("\\d+,\\d+");
    }

    @Test
    @DisplayName("4 two browsers: SUBSCRIBE with receipt, SEND, MESSAGE")
    void s04_twoBrowsers() {
        Relay.Client ann = relay.connect("ann");
        Relay.Client bob = relay.connect("bob");
        ann.send("SUBSCRIBE", "id:sub-0", "destination:" + topic, "receipt:r1");
        ann.inbox.receipt("r1");
        bob.send("hello".getBytes(UTF_8), "SEND", "destination:" + topic, "content-type:text/plain;charset=UTF-8");
        Frame message = ann.inbox.message();
        assertThat(message.header("subscription")).isEqualTo("sub-0");
        assertThat(message.header("destination")).isEqualTo(topic);
        assertThat(message.header("content-type")).isEqualTo("text/plain;charset=UTF-8");
        assertThat(message.header("message-id")).isNotBlank();
        assertThat(message.text()).isEqualTo("hello");
        assertThat(bob.inbox.rest()).isEmpty();
    }

    @Test
    @DisplayName("4 what the application sends on the system connection")
    void s04_theApplicationSends() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        relay.sendAsApplication(topic, "{\"price\":1}".getBytes(UTF_8), "content-type:application/json");
        Frame message = ann.inbox.message();
        assertThat(message.text()).isEqualTo("{\"price\":1}");
        assertThat(message.header("content-type")).isEqualTo("application/json");
    }

    @Test
    @DisplayName("5 custom and repeated headers; colon, backslash, LF, CR in values")
    void s05_headers() {
        for (String versions : List.of("1.1", "1.2")) {
            Relay.Client ann = relay.connect("ann" + versions, versions);
            ann.subscribe("0", topic);
            ann.send(
                    "x".getBytes(UTF_8),
                    "SEND",
                    "destination:" + topic,
                    "foo:b\\cr",
                    "foo:second",
                    "path:C\\c\\\\dir",
                    "lines:one\\ntwo\\r\\n",
                    "empty:",
                    "na\\cme:v",
                    "simpOrigDestination:/user/queue/x");
            Frame message = ann.inbox.message();
            assertThat(message.headers().get("foo")).containsExactly("b:r", "second");
            assertThat(message.header("path")).isEqualTo("C:\\dir");
            assertThat(message.header("lines")).isEqualTo("one\ntwo\r\n");
            assertThat(message.header("empty")).isEmpty();
            assertThat(message.header("na:me")).isEqualTo("v");
            // Spring puts back the user's destination from it, so it must come through.
            assertThat(message.header("simpOrigDestination")).isEqualTo("/user/queue/x");
            assertThat(message.headers()).doesNotContainKeys("receipt", "transaction");
            ann.vanish();
        }
    }

    @Test
    @DisplayName("6 UTF-8 in destination and body, content-length in octets")
    void s06_utf8() {
        Relay.Client ann = relay.connect("ann");
        String destination = topic + "/주문:é🐎";
        ann.subscribe("0", destination.replace(":", "\\c"));
        ann.send("한글 🐎 é".getBytes(UTF_8), "SEND", "destination:" + destination.replace(":", "\\c"));
        Frame message = ann.inbox.message();
        assertThat(message.header("destination")).isEqualTo(destination);
        assertThat(message.text()).isEqualTo("한글 🐎 é");
        assertThat(message.header("content-length")).isEqualTo(Integer.toString("한글 🐎 é".getBytes(UTF_8).length));
    }

    @Test
    @DisplayName("8 body of 1 MB over TCP")
    void s08_megabyte() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        byte[] body = Frame.everyOctet(1 << 20);
        ann.send(topic, body);
        assertThat(ann.inbox.message().body()).isEqualTo(body);
    }

    @Test
    @DisplayName("9 a frame of Spring's cut at every octet; 100 frames in one write")
    void s09_cuts() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        try (Peer peer = Peer.connected(broker)) {
            byte[] frame = Frame.octets("한\0글".getBytes(UTF_8), "SEND", "destination:" + topic, "a\\cb:c\\n\\\\");
            for (int cut = 1; cut < frame.length; cut++) {
                peer.write(frame, 0, cut);
                peer.write(frame, cut, frame.length);
            }
            for (Frame message : ann.inbox.messages(frame.length - 1)) {
                assertThat(message.text()).isEqualTo("한\0글");
                assertThat(message.header("a:b")).isEqualTo("c\n\\");
            }
            byte[] hundred = new byte[frame.length * 100];
            IntStream.range(0, 100).forEach(n -> System.arraycopy(frame, 0, hundred, n * frame.length, frame.length));
            peer.write(hundred);
            assertThat(ann.inbox.messages(100)).allMatch(message -> message.text().equals("한\0글"));
        }
    }

    @Test
    @DisplayName("10 client-individual: ACK by id (1.2), by message-id without subscription (1.1)")
    void s10_acknowledgement() {
        for (String version : List.of("1.1", "1.2")) {
            Relay.Client ann = relay.connect("ann" + version, version);
            ann.subscribe("0", queue, "ack:client-individual");
            ann.send(queue, "one".getBytes(UTF_8));
            ann.send(queue, "two".getBytes(UTF_8));
            for (Frame message : ann.inbox.messages(2)) {
                ann.acknowledged("ACK", version.equals("1.2") ? "id:" + message.header("ack") : "message-id:" + message.header("message-id"));
            }
            ann.vanish();
            Wait.until("the queue is drained", () -> broker.size("queued_messages") == 0);
        }
        Relay.Client bob = relay.connect("bob");
        bob.subscribe("0", queue);
        bob.acknowledged("SEND", "destination:" + queue);
        // Had anything come back, it would stand before this one.
        assertThat(bob.inbox.message().text()).isEmpty();
    }

    @Test
    @DisplayName("11 NACK and a lost session: redelivered to another")
    void s11_redelivery() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", queue, "ack:client-individual");
        ann.send(queue, "one".getBytes(UTF_8));
        Frame first = ann.inbox.message();
        ann.send("NACK", "id:" + first.header("ack"));
        Frame again = ann.inbox.message();
        assertThat(again.header("redelivered")).isEqualTo("true");
        ann.vanish();
        Relay.Client bob = relay.connect("bob");
        bob.subscribe("7", queue, "ack:client-individual");
        Frame other = bob.inbox.message();
        assertThat(other.text()).isEqualTo("one");
        assertThat(other.header("redelivered")).isEqualTo("true");
        bob.acknowledged("ACK", "id:" + other.header("ack"));
    }

    @Test
    @DisplayName("12 BEGIN, SEND, COMMIT; ABORT; a session lost before COMMIT")
    void s12_transactions() {
        Relay.Client ann = relay.connect("ann");
        Relay.Client bob = relay.connect("bob");
        Relay.Client eve = relay.connect("eve");
        ann.subscribe("0", topic);
        bob.send("BEGIN", "transaction:t1");
        bob.send("in".getBytes(UTF_8), "SEND", "destination:" + topic, "transaction:t1");
        bob.send("BEGIN", "transaction:t2");
        bob.send("aborted".getBytes(UTF_8), "SEND", "destination:" + topic, "transaction:t2");
        bob.acknowledged("ABORT", "transaction:t2");
        eve.send("BEGIN", "transaction:t1");
        eve.acknowledged("lost".getBytes(UTF_8), "SEND", "destination:" + topic, "transaction:t1");
        eve.vanish();
        bob.acknowledged("before".getBytes(UTF_8), "SEND", "destination:" + topic);
        bob.acknowledged("COMMIT", "transaction:t1");
        bob.acknowledged("after".getBytes(UTF_8), "SEND", "destination:" + topic);
        assertThat(ann.inbox.messages(3)).extracting(Frame::text).containsExactly("before", "in", "after");
    }

    @Test
    @DisplayName("13 a RECEIPT for each frame that asks for one")
    void s13_receipts() {
        Relay.Client ann = relay.connect("ann");
        ann.acknowledged("SUBSCRIBE", "id:0", "destination:" + queue, "ack:client");
        ann.acknowledged("BEGIN", "transaction:t");
        ann.acknowledged("x".getBytes(UTF_8), "SEND", "destination:" + queue, "transaction:t");
        ann.send("COMMIT", "transaction:t", "receipt:c");
        // Which of the two comes first is open.
        List<Frame> both = new ArrayList<>();
        Wait.until("RECEIPT and MESSAGE", () -> ann.inbox.rest().size() == 2);
        both.addAll(ann.inbox.rest());
        ann.inbox.clear();
        assertThat(both).extracting(Frame::command).containsExactlyInAnyOrder(StompCommand.RECEIPT, StompCommand.MESSAGE);
        Frame message = both.stream().filter(frame -> frame.command() == StompCommand.MESSAGE).findAny().orElseThrow();
        ann.acknowledged("ACK", "id:" + message.header("ack"));
        ann.acknowledged("UNSUBSCRIBE", "id:0");
        ann.acknowledged("DISCONNECT");
    }

    @Test
    @DisplayName("14 DISCONNECT with receipt: RECEIPT, and no ERROR before the browser has closed")
    void s14_disconnect() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        ann.acknowledged("DISCONNECT");
        // A browser closes at once; a slow one is given a second.
        Wait.pause(Duration.ofSeconds(1));
        assertThat(ann.inbox.rest()).isEmpty();
        // Spring sends a second DISCONNECT on the same connection when the WebSocket has ended.
        ann.vanish();
        Wait.until("the session is gone", () -> broker.size("sessions") == 1);
        assertThat(ann.inbox.rest()).isEmpty();
        assertThat(relay.connections()).isEqualTo(1);
    }

    @Test
    @DisplayName("15 a browser drops: session and -user queues gone, counters back")
    void s15_dropped() {
        long queues = broker.size("queues");
        Relay.Client ann = relay.connect("ann");
        for (String name : List.of("pos", "errors", "주문")) {
            ann.subscribe(name, "/queue/" + name + "-userann", "simpOrigDestination:/user/queue/" + name, "auto-delete:true");
        }
        ann.subscribe("t", topic);
        relay.sendAsApplication("/queue/pos-userann", "p".getBytes(UTF_8), "simpOrigDestination:/user/queue/pos");
        assertThat(ann.inbox.message().header("destination")).isEqualTo("/queue/pos-userann");
        assertThat(broker.size("queues")).isEqualTo(queues + 3);
        ann.vanish();
        Wait.until("the session is gone", () -> broker.size("sessions") == 1);
        Wait.until("its queues are gone", () -> broker.size("queues") == queues);
        assertThat(broker.size("subscriptions")).isZero();
        // What the application still sends to the session that is gone makes no queue.
        relay.sendAsApplication("/queue/pos-userann", "late".getBytes(UTF_8), "simpOrigDestination:/user/queue/pos");
        Relay.Client bob = relay.connect("bob");
        bob.subscribe("0", topic);
        relay.sendAsApplication(topic, "now".getBytes(UTF_8));
        bob.inbox.message();
        assertThat(broker.size("queues")).isEqualTo(queues);
        assertThat(broker.size("queued_messages")).isZero();
    }

    @Test
    @DisplayName("15 hundreds of sessions at once from one address (with --long as many as Spring's client opens): each has its queue, and nothing is left of them")
    void s15_together() {
        // With the system's own connection the 10,000 that Spring's TCP client has room for.
        int total = Boolean.getBoolean("hoofbeat.long") ? 9_999 : 300;
        long queues = broker.size("queues");
        List<Relay.Client> clients = IntStream.range(0, total).mapToObj(n -> relay.browser("many" + n)).toList();
        // As many at a time as do not wait longer for each other than Spring does for CONNECTED.
        for (int done = 0; done < total; done += 100) {
            List<Relay.Client> some = clients.subList(done, Math.min(done + 100, total));
            some.forEach(client -> client.send("CONNECT", "accept-version:1.2", "heart-beat:0,0"));
            some.forEach(client -> client.inbox.next(StompCommand.CONNECTED));
        }
        for (int n = 0; n < total; n++) {
            clients.get(n).subscribe("0", "/queue/pos-usermany" + n, "simpOrigDestination:/user/queue/pos");
        }
        assertThat(broker.size("sessions")).isEqualTo(total + 1L);
        assertThat(broker.size("queues")).isEqualTo(queues + total);
        for (int n = 0; n < total; n++) {
            relay.sendAsApplication("/queue/pos-usermany" + n, ("for " + n).getBytes(UTF_8), "simpOrigDestination:/user/queue/pos");
        }
        for (int n = 0; n < total; n++) {
            assertThat(clients.get(n).inbox.message().text()).isEqualTo("for " + n);
        }
        clients.forEach(Relay.Client::vanish);
        Wait.until("the sessions are gone", () -> broker.size("sessions") == 1);
        Wait.until("their queues are gone", () -> broker.size("queues") == queues);
        assertThat(broker.size("subscriptions")).isZero();
        assertThat(broker.size("queued_messages")).isZero();
    }

    @Test
    @DisplayName("24 another session's -user queue and patterns of queues are refused")
    void s24_othersQueues() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", "/queue/pos-userann", "simpOrigDestination:/user/queue/pos");
        for (String destination : List.of("/queue/pos-userann", "/queue/**", "/queue/*", "/queue/#", "/queue/>")) {
            Relay.Client eve = relay.connect("eve" + destination);
            eve.send("SUBSCRIBE", "id:0", "destination:" + destination, "receipt:r");
            Frame error = eve.inbox.next(StompCommand.ERROR);
            assertThat(error.header("receipt-id")).isEqualTo("r");
            eve.vanish();
        }
        relay.sendAsApplication("/queue/pos-userann", "private".getBytes(UTF_8), "simpOrigDestination:/user/queue/pos");
        assertThat(ann.inbox.message().text()).isEqualTo("private");
    }

    @Test
    @DisplayName("25 1,000 messages of one publisher to 100 sessions, and 1,000 to one user: strict order")
    void s25_order() {
        List<Relay.Client> readers = IntStream.range(0, 100).mapToObj(n -> relay.connect("reader" + n)).toList();
        readers.forEach(reader -> reader.subscribe("0", topic));
        readers.get(0).subscribe("u", "/queue/pos-userreader0", "simpOrigDestination:/user/queue/pos");
        for (int n = 0; n < 1000; n++) {
            relay.sendAsApplication(topic, Integer.toString(n).getBytes(UTF_8));
        }
        for (int n = 0; n < 1000; n++) {
            byte[] body = Integer.toString(n).getBytes(UTF_8);
            relay.sendAsApplication("/queue/pos-userreader0", body, "simpOrigDestination:/user/queue/pos");
        }
        List<String> expected = IntStream.range(0, 1000).mapToObj(Integer::toString).toList();
        List<Frame> both = readers.get(0).inbox.messages(2000);
        for (String subscription : List.of("0", "u")) {
            assertThat(both.stream().filter(message -> message.header("subscription").equals(subscription)).map(Frame::text))
                    .containsExactlyElementsOf(expected);
        }
        for (Relay.Client reader : readers.subList(1, 100)) {
            assertThat(reader.inbox.messages(1000)).extracting(Frame::text).containsExactlyElementsOf(expected);
        }
    }

    @Test
    @DisplayName("29 a subscriber that never reads is cut off; the relay's sessions miss nothing")
    void s29_slowReader() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        try (Peer deaf = Peer.deaf(broker)) {
            deaf.frame("CONNECT", "accept-version:1.2", "host:x");
            deaf.frame("SUBSCRIBE", "id:0", "destination:" + topic);
            Wait.until("it is subscribed", () -> broker.size("subscriptions") == 2);
            long slow = broker.counter("slow_consumers");
            byte[] body = new byte[64 << 10];
            int sent = 0;
            // The kernel takes some megabytes for it before it shows.
            while (broker.counter("slow_consumers") == slow) {
                assertThat(sent).as("messages of 64 KiB before it is cut off").isLessThan(2000);
                for (int n = 0; n < 20; n++) {
                    ann.send(topic, body);
                }
                sent += 20;
                ann.inbox.messages(20);
            }
            Wait.until("it is gone", () -> broker.size("subscriptions") == 1);
        }
        assertThat(ann.inbox.rest()).isEmpty();
    }

    @Test
    @DisplayName("30 poison: content-types that Spring cannot read")
    void s30_contentTypes() {
        List<String> types = List.of(
                "json", "", " ", "/", "a/", "/b", "*/json", "a/b/c", "a b/c", "한/글", ";a/b", "*", "*;q=1", "a/*",
                "a/b;c", "a/b;;", "a/b;c=", "a/b;=d", "a/b;c=d e", "a/b;q=\"x;y=z\"", "a/b;q='x y'", "a/b;q=\"", "a/b;q='",
                "a/b;q=2", "a/b;q=0.5", "a/b;q=x", "text/plain;charset=nonsense", "text/plain; charset=\"nonsense\"",
                "text/plain;charset=", "text/plain;charset=a b", "text/plain;charset=\"", "text/plain;charset='utf-8'",
                "text/plain;charset='no'", "a/b;CHARSET=no", "text/plain;charset=utf-8;charset=x",
                "text/plain;charset=koi8-r", "text/plain;charset=ks_c_5601-1987");
        List<String> deadly = new ArrayList<>();
        try (Peer peer = Peer.connected(broker)) {
            for (String type : types) {
                Relay.Client ann = relay.connect("ann " + type);
                ann.subscribe("0", topic);
                peer.send(topic, "x".getBytes(UTF_8), "content-type:" + type);
                Wait.until("something comes", () -> !ann.inbox.rest().isEmpty());
                Frame frame = ann.inbox.rest().get(0);
                if (frame.command() != StompCommand.MESSAGE) {
                    deadly.add(type);
                } else {
                    assertThat(Arrays.asList(frame.header("content-type"), frame.header("x-content-type")))
                            .as("what the producer wrote, in one of both headers")
                            .contains(type);
                }
                ann.vanish();
            }
        }
        assertThat(deadly).as("content-types that ended a session of Spring's").isEmpty();
    }

    @Test
    @DisplayName("30 poison: raw escapes, a lone CR, wrong content-length: refused at the producer")
    void s30_frames() {
        Relay.Client ann = relay.connect("ann");
        ann.subscribe("0", topic);
        List<String> poison = List.of("a:b\\tc", "a\\tb:c", "a:b\\", "a:b\rc", "a\rb:c", "nocolon", ":v", "content-length:3", "content-length:x");
        for (String line : poison) {
            for (String version : List.of("1.1", "1.2")) {
                try (Peer peer = Peer.connected(broker, version)) {
                    peer.raw("SEND\ndestination:" + topic + "\n" + line + "\n\nbody\0");
                    Frame error = peer.inbox.next(StompCommand.ERROR);
                    assertThat(error.header("message")).isNotBlank();
                    peer.awaitEnd();
                }
            }
        }
        // 1.0 knows no escapes: a backslash is a backslash there, and must arrive as one.
        try (Peer peer = new Peer(broker)) {
            peer.frame("CONNECT");
            peer.inbox.next(StompCommand.CONNECTED);
            peer.raw("SEND\ndestination:" + topic + "\nwindows:C\\temp\n\nold\0");
            Frame message = ann.inbox.message();
            assertThat(message.text()).isEqualTo("old");
            assertThat(message.header("windows")).isEqualTo("C\\temp");
        }
        ann.acknowledged("SEND", "destination:" + topic);
    }

    @Test
    @DisplayName("31 errors that a browser causes through the relay: ERROR with message and receipt-id, nothing after")
    void s31_errorsThroughTheRelay() {
        String[][] faults = {
            {"SUBSCRIBE", "destination:" + topic, "receipt:r"},
            {"ACK", "id:nothing", "receipt:r"},
            {"COMMIT", "transaction:nothing", "receipt:r"},
            {"UNSUBSCRIBE", "id:nothing", "receipt:r"},
            {"SEND", "destination:/queue/", "receipt:r"},
        };
        for (String[] fault : faults) {
            Relay.Client ann = relay.connect("ann" + fault[0]);
            ann.send(fault[0], Arrays.copyOfRange(fault, 1, fault.length));
            Frame error = ann.inbox.next(StompCommand.ERROR);
            assertThat(error.header("message")).as(fault[0]).isNotBlank().isNotEqualTo("Connection to broker closed.");
            assertThat(error.header("receipt-id")).isEqualTo("r");
            // Spring closes the WebSocket with 1002 after the first ERROR, and then the connection here.
            ann.vanish();
            Wait.until("the session is gone", () -> broker.size("sessions") == 1);
            // What Spring itself says of the end of a connection may follow; the browser is gone by then.
            assertThat(ann.inbox.rest()).allMatch(frame -> frame.command() == StompCommand.ERROR && frame.header("receipt-id") == null);
        }
    }

    @Test
    @DisplayName("31 errors that Spring cannot make: their ERROR is one that Spring's decoder reads")
    void s31_errorsOfOthers() {
        List<String> faults = List.of(
                "FOO\nreceipt:r\n\n\0",
                "subscribe\nid:0\ndestination:/topic/a\nreceipt:r\n\n\0",
                "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:r\n\nbody\0",
                "CONNECT\naccept-version:1.2\nhost:x\nreceipt:r\n\n\0");
        for (String fault : faults) {
            try (Peer peer = Peer.connected(broker)) {
                peer.raw(fault + "SEND\ndestination:/queue/after-" + fault.hashCode() + "\n\n\0");
                Frame error = peer.inbox.next(StompCommand.ERROR);
                assertThat(error.header("message")).as(fault).isNotBlank();
                assertThat(error.header("receipt-id")).as(fault).isEqualTo("r");
                peer.awaitEnd();
                assertThat(peer.inbox.rest()).isEmpty();
            }
        }
        try (Peer peer = new Peer(broker)) {
            peer.raw("CONNECT\naccept-version:2.0,3.1\nhost:x\n\n\0");
            Frame error = peer.inbox.next(StompCommand.ERROR);
            assertThat(error.header("version")).isEqualTo("1.0,1.1,1.2");
            peer.awaitEnd();
        }
        // No version at all is 1.0, as the specification has it.
        try (Peer peer = new Peer(broker)) {
            peer.raw("CONNECT\n\n\0");
            assertThat(peer.inbox.next(StompCommand.CONNECTED).header("version")).isEqualTo("1.0");
        }
        assertThat(broker.size("queued_messages")).as("nothing after the fault was executed").isZero();
    }
}
