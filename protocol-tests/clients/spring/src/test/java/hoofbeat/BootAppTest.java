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
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.springframework.messaging.simp.stomp.StompCommand;

/** A real Spring Boot application on two nodes, its relay on our TCP port, and pages that are scripted WebSockets. */
class BootAppTest {
    private static Broker broker;
    private static App one;
    private static App two;
    /** What the applications themselves hold of ours. */
    private static long sessions;
    private static long subscriptions;

    @BeforeAll
    static void start() {
        broker = Broker.start();
        // No registry of users: a user on the other node is found by the broadcast of unresolved destinations.
        one = App.start(broker, false, true);
        two = App.start(broker, false, true);
        Wait.until("both nodes listen for unresolved destinations", () -> broker.size("subscriptions") == 2);
        sessions = broker.size("sessions");
        subscriptions = broker.size("subscriptions");
    }

    @AfterAll
    static void stop() {
        one.close();
        two.close();
        broker.close();
    }

    @AfterEach
    void nothingIsLeft() {
        try {
            Wait.until("only the applications' own sessions are left", () -> broker.size("sessions") == sessions);
            Wait.until("and their subscriptions", () -> broker.size("subscriptions") == subscriptions);
            Wait.until("and no queue", () -> broker.size("queues") == 0);
        } finally {
            // The pages of a test that failed are not to fail the next.
            one.dropPages();
            two.dropPages();
        }
        assertThat(broker.size("queued_messages")).isZero();
    }

    @Test
    @DisplayName("4 pages on two nodes talk by a topic, with the application in between")
    void s04_topic() {
        Browser ann = one.browser("ann");
        Browser bob = two.browser("bob");
        ann.acknowledged("SUBSCRIBE", "id:sub-0", "destination:/topic/shouts");
        bob.send("hello".getBytes(UTF_8), "SEND", "destination:/app/shout", "content-type:text/plain");
        Frame message = ann.inbox.message();
        assertThat(message.text()).isEqualTo("HELLO");
        assertThat(message.header("subscription")).isEqualTo("sub-0");
        bob.send("direct".getBytes(UTF_8), "SEND", "destination:/topic/shouts", "foo:b\\cr", "foo:second");
        Frame direct = ann.inbox.message();
        assertThat(direct.headers().get("foo")).containsExactly("b:r", "second");
        ann.close();
        bob.close();
    }

    @Test
    @DisplayName("4 @SendToUser, @SubscribeMapping, an exception handler for one session")
    void s04_annotations() {
        Browser ann = one.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:w", "destination:/user/queue/whispers");
        ann.acknowledged("SUBSCRIBE", "id:e", "destination:/user/queue/errors");
        ann.send("SUBSCRIBE", "id:n", "destination:/app/now");
        Frame now = ann.inbox.message();
        assertThat(now.text()).isEqualTo("here");
        assertThat(now.header("subscription")).isEqualTo("n");
        ann.send("psst".getBytes(UTF_8), "SEND", "destination:/app/whisper", "content-type:text/plain");
        Frame whisper = ann.inbox.message();
        assertThat(whisper.text()).isEqualTo("ann:psst");
        assertThat(whisper.header("destination")).isEqualTo("/user/queue/whispers");
        ann.send("SEND", "destination:/app/fail");
        assertThat(ann.inbox.message().text()).isEqualTo("on purpose");
        ann.close();
    }

    @Test
    @DisplayName("8 body of 60 KB from page to page")
    void s08_large() {
        Browser ann = one.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:0", "destination:/topic/large");
        // In one message Spring's server takes 16 KB.
        ann.split("한".repeat(20_000), "SEND", "destination:/topic/large");
        assertThat(ann.inbox.message().text()).isEqualTo("한".repeat(20_000));
        ann.close();
    }

    @Test
    @DisplayName("14 DISCONNECT with receipt: the page gets its RECEIPT and no ERROR before it closes")
    void s14_disconnect() {
        Browser ann = one.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:0", "destination:/topic/a");
        ann.acknowledged("DISCONNECT");
        // Pages close at once; this one takes its time.
        Wait.pause(Duration.ofSeconds(1));
        assertThat(ann.inbox.rest()).isEmpty();
        assertThat(ann.open()).isTrue();
        ann.close();
        assertThat(ann.closeCode()).isEqualTo(1000);
        assertThat(ann.inbox.rest()).isEmpty();
    }

    @Test
    @DisplayName("15 pages drop without DISCONNECT, hundreds of them: sessions, -user queues and counters back to where they were")
    void s15_dropped() {
        int total = Boolean.getBoolean("hoofbeat.long") ? 10_000 : 300;
        int together = Math.min(total, 50);
        for (int done = 0; done < total; done += together) {
            List<Browser> pages = new ArrayList<>();
            for (int n = 0; n < together; n++) {
                Browser page = (n % 2 == 0 ? one : two).browser("user" + n);
                page.send("SUBSCRIBE", "id:0", "destination:/user/queue/pos");
                page.send("SUBSCRIBE", "id:1", "destination:/user/queue/errors");
                page.acknowledged("SUBSCRIBE", "id:2", "destination:/topic/all");
                pages.add(page);
            }
            assertThat(broker.size("sessions")).isEqualTo(sessions + together);
            assertThat(broker.size("queues")).isEqualTo(2L * together);
            // Something is under way to each when it drops.
            for (int n = 0; n < together; n++) {
                one.template().convertAndSendToUser("user" + n, "/queue/pos", "gone");
            }
            pages.forEach(Browser::drop);
            Wait.until("the sessions are gone", () -> broker.size("sessions") == sessions);
            Wait.until("their queues are gone", () -> broker.size("queues") == 0);
        }
        assertThat(broker.size("topics")).isLessThanOrEqualTo(2);
    }

    @Test
    @DisplayName("15 one page drops: gone within a second")
    void s15_soon() {
        Browser ann = one.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:0", "destination:/user/queue/pos");
        ann.drop();
        // The scenario's second, and as much again for a machine that is busy.
        Wait.until("session and queue are gone", Duration.ofSeconds(2), () -> broker.size("sessions") == sessions && broker.size("queues") == 0);
    }

    @Test
    @DisplayName("21 a user with three sessions on two nodes: each gets one, as /user/queue/x, header stripped")
    void s21_threeSessions() {
        List<Browser> anns = List.of(one.browser("ann"), one.browser("ann"), two.browser("ann"));
        Browser bob = two.browser("bob");
        for (Browser page : anns) {
            page.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
        }
        bob.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
        // A node sends to the sessions it has itself and asks the others only if it has none, so each node sends once.
        one.template().convertAndSendToUser("ann", "/queue/pos", "from one");
        two.template().convertAndSendToUser("ann", "/queue/pos", "from two");
        for (Browser page : anns) {
            Frame message = page.inbox.message();
            assertThat(message.text()).isEqualTo(page == anns.get(2) ? "from two" : "from one");
            assertThat(message.header("destination")).isEqualTo("/user/queue/pos");
            assertThat(message.header("subscription")).isEqualTo("u");
            assertThat(message.headers()).doesNotContainKey("simpOrigDestination");
        }
        assertThat(bob.inbox.rest()).isEmpty();
        for (Browser page : anns) {
            page.acknowledged("UNSUBSCRIBE", "id:u");
            assertThat(page.inbox.rest()).isEmpty();
            page.close();
        }
        bob.close();
    }

    @Test
    @DisplayName("21 setPreserveReceiveOrder: Spring itself sends to one of a node's sessions of a user, with its simple broker too; to each by its id")
    void s21_receiveOrder() {
        // Its handler of user destinations hands all but the first to a channel that refuses them: they never leave Spring.
        try (App behindUs = App.before(broker.tcp()); App alone = App.alone()) {
            for (App node : List.of(behindUs, alone)) {
                List<Browser> anns = List.of(node.browser("ann"), node.browser("ann"));
                anns.forEach(page -> page.send("SUBSCRIBE", "id:u", "destination:/user/queue/pos"));
                // Spring's simple broker has no receipts.
                Wait.until("both sessions are reached", () -> {
                    toEach(node, "ann", "are you there?");
                    return anns.stream().allMatch(page -> texts(page).contains("are you there?"));
                });
                node.template().convertAndSendToUser("ann", "/queue/pos", "to the user");
                toEach(node, "ann", "to the session");
                anns.forEach(page -> Wait.until("what is for the session has come", () -> texts(page).contains("to the session")));
                assertThat(anns.stream().filter(page -> texts(page).contains("to the user"))).as("has Spring mended it? See docs/moving-from-spring.md").hasSize(1);
                node.dropPages();
            }
        }
    }

    private static void toEach(App node, String user, String text) {
        node.users().getUser(user).getSessions().forEach(session -> node.sendToSession(session.getId(), "/queue/pos", text));
    }

    private static List<String> texts(Browser page) {
        return page.inbox.rest().stream().map(Frame::text).toList();
    }

    @Test
    @DisplayName("22 a user on the other node, by userDestinationBroadcast: delivered once; an unknown user's is dropped")
    void s22_otherNode() {
        Browser ann = two.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
        one.template().convertAndSendToUser("nobody", "/queue/pos", "for nobody");
        one.template().convertAndSendToUser("ann", "/queue/pos", "for ann");
        Frame message = ann.inbox.message();
        assertThat(message.text()).isEqualTo("for ann");
        assertThat(message.header("destination")).isEqualTo("/user/queue/pos");
        ann.acknowledged("UNSUBSCRIBE", "id:u");
        assertThat(ann.inbox.rest()).isEmpty();
        ann.close();
    }

    @Test
    @DisplayName("25 1,000 messages to 50 pages on two nodes, and 1,000 to one user: strict order")
    void s25_order() {
        List<Browser> pages = IntStream.range(0, 50).mapToObj(n -> (n % 2 == 0 ? one : two).browser("reader" + n)).toList();
        pages.forEach(page -> page.acknowledged("SUBSCRIBE", "id:t", "destination:/topic/order"));
        pages.get(0).acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/order");
        for (int n = 0; n < 1000; n++) {
            one.template().convertAndSend("/topic/order", Integer.toString(n));
        }
        for (int n = 0; n < 1000; n++) {
            one.template().convertAndSendToUser("reader0", "/queue/order", Integer.toString(n));
        }
        List<String> expected = IntStream.range(0, 1000).mapToObj(Integer::toString).toList();
        List<Frame> both = pages.get(0).inbox.messages(2000);
        for (String subscription : List.of("t", "u")) {
            assertThat(both.stream().filter(message -> message.header("subscription").equals(subscription)).map(Frame::text))
                    .containsExactlyElementsOf(expected);
        }
        for (Browser page : pages.subList(1, 50)) {
            assertThat(page.inbox.messages(1000)).extracting(Frame::text).containsExactlyElementsOf(expected);
        }
        pages.forEach(Browser::close);
    }

    @Test
    @DisplayName("29 a page that does not read: Spring ends it, the others miss nothing")
    void s29_slowReader() {
        Browser slow = one.browser("slow");
        slow.acknowledged("SUBSCRIBE", "id:0", "destination:/topic/flood");
        slow.doze();
        List<Browser> others = List.of(one.browser("ann"), two.browser("bob"));
        others.forEach(page -> page.acknowledged("SUBSCRIBE", "id:0", "destination:/topic/flood"));
        String body = "x".repeat(16_000);
        int sent = 0;
        while (broker.size("sessions") == sessions + 3) {
            assertThat(sent).as("messages of 16 KB").isLessThan(4000);
            // Fewer at once than the 512 KB behind which Spring ends any page.
            for (int n = 0; n < 10; n++) {
                one.template().convertAndSend("/topic/flood", sent + " " + body);
                sent += 1;
            }
            for (Browser page : others) {
                List<Frame> got = page.inbox.messages(10);
                for (int n = 0; n < 10; n++) {
                    assertThat(got.get(n).text()).startsWith(sent - 10 + n + " ");
                }
            }
        }
        // It was the slow one that went.
        others.forEach(page -> page.acknowledged("UNSUBSCRIBE", "id:0"));
        slow.drop();
        others.forEach(Browser::close);
    }

    @Test
    @DisplayName("30 poison from a producer that is not Spring: no page of Spring's dies")
    void s30_poison() {
        Browser ann = one.browser("ann");
        ann.acknowledged("SUBSCRIBE", "id:0", "destination:/topic/poison");
        try (Peer peer = Peer.connected(broker)) {
            for (String type : List.of("json", "", "*/json", "text/plain;charset=nonsense")) {
                peer.send("/topic/poison", "x".getBytes(UTF_8), "content-type:" + type);
                Frame message = ann.inbox.message();
                assertThat(message.header("content-type")).isEqualTo("application/octet-stream");
                assertThat(message.header("x-content-type")).isEqualTo(type);
            }
        }
        for (String line : List.of("a:b\\tc", "a:b\rc", "a\rb:c")) {
            try (Peer peer = Peer.connected(broker)) {
                peer.raw("SEND\ndestination:/topic/poison\n" + line + "\n\n\0");
                peer.inbox.next(StompCommand.ERROR);
            }
        }
        ann.acknowledged("SUBSCRIBE", "id:1", "destination:/topic/alive");
        ann.close();
    }

    @Test
    @DisplayName("31 our ERROR reaches the page, and Spring closes with 1002")
    void s31_error() {
        Browser ann = refused();
        // Spring closes as soon as it has queued the ERROR. While another of its threads is not quite done with the frame before, the ERROR stays in the
        // queue: the page is closed and has been told nothing. Another page asks then.
        for (int lost = 0; ann.inbox.rest().isEmpty(); lost++) {
            assertThat(lost).as("ERRORs that did not come").isLessThan(5);
            ann = refused();
        }
        Frame error = ann.inbox.next(StompCommand.ERROR);
        assertThat(error.header("code")).isEqualTo("bad-destination");
        assertThat(error.header("receipt-id")).isEqualTo("r");
    }

    /** A page that has sent what we refuse, and was closed for it. */
    private static Browser refused() {
        Browser ann = one.browser("ann");
        ann.send("SUBSCRIBE", "id:0", "destination:/queue/*", "receipt:r");
        assertThat(ann.closeCode()).isEqualTo(1002);
        return ann;
    }
}
