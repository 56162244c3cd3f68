package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.messaging.WebSocketStompClient;

/** Users with passwords, and our own /user destinations: Spring's relay at our door, and Spring's WebSocket client inside. */
class UsersTest {
    /** Of "secret", as `hoofbeat passwd` prints it. */
    private static final String HASH =
            "$argon2id$v=19$m=19456,t=2,p=1$L3+lDgLZ0NpwnTamhN22XQ$DDkvbpPTXa0KGrUsnsszNm+fStFz5WPAwDMh2TP0WjM";

    private static final ThreadPoolTaskScheduler SCHEDULER = new ThreadPoolTaskScheduler();
    private static Broker broker;

    @BeforeAll
    static void start() {
        SCHEDULER.setDaemon(true);
        SCHEDULER.initialize();
        broker = Broker.configured(user("joe", false) + user("ann", false) + user("app", true) + user("guest", false));
    }

    @AfterAll
    static void stop() {
        broker.close();
        SCHEDULER.shutdown();
    }

    private static String user(String name, boolean maySendToUsers) {
        return "[[users]]\nname = \"" + name + "\"\npassword = \"" + HASH + "\"\nmay_send_to_users = " + maySendToUsers + "\n";
    }

    private static Talk open(String login) {
        WebSocketStompClient client = new WebSocketStompClient(new StandardWebSocketClient());
        client.setTaskScheduler(SCHEDULER);
        StompHeaders connect = new StompHeaders();
        connect.setLogin(login);
        connect.setPasscode("secret");
        Talk talk = new Talk();
        talk.opened(client.connectAsync(broker.url(), new WebSocketHttpHeaders(), connect, talk));
        talk.session().setAutoReceipt(true);
        return talk;
    }

    private static void gone() {
        Wait.until("every session is gone", () -> broker.size("sessions") == 0 && broker.size("users") == 0);
        assertThat(broker.size("topics")).isZero();
    }

    @Test
    @DisplayName("3 wrong systemPasscode: ERROR, closed, the relay tries again and again, and availability stays false")
    void s03_wrongSystemPasscode() {
        try (Relay relay = new Relay(broker, settings -> {
            settings.setSystemLogin("guest");
            settings.setSystemPasscode("wrong");
        })) {
            // Spring tries again after 5 s.
            Wait.until("a second try", () -> relay.wire().received().size() >= 2);
            for (Frame error : relay.wire().received()) {
                assertThat(error.command()).isEqualTo(StompCommand.ERROR);
                assertThat(error.header("message")).isEqualTo("Wrong login or passcode");
            }
            assertThat(relay.availability()).doesNotContain(true);
        }
        gone();
    }

    @Test
    @DisplayName("3 the right systemPasscode, and a clientPasscode for all browsers of the relay")
    void s03_rightPasscode() {
        try (Relay relay = new Relay(broker, settings -> {
            settings.setSystemLogin("app");
            settings.setSystemPasscode("secret");
            settings.setClientLogin("guest");
            settings.setClientPasscode("secret");
        })) {
            relay.awaitAvailable();
            List<Relay.Client> browsers = IntStream.range(0, 100).mapToObj(n -> relay.connect("b" + n)).toList();
            browsers.forEach(browser -> browser.subscribe("0", "/topic/a"));
            relay.sendAsApplication("/topic/a", "hello".getBytes(UTF_8));
            browsers.forEach(browser -> assertThat(browser.inbox.message().text()).isEqualTo("hello"));
            assertThat(broker.size("users")).isEqualTo(2);
        }
        gone();
    }

    @Test
    @DisplayName("21 /user of our own: a user with three sessions, each gets one as /user/queue/x, and nobody else")
    void s21_user() {
        List<Talk> joe = List.of(open("joe"), open("joe"), open("joe"));
        Talk ann = open("ann");
        joe.forEach(talk -> talk.subscribed("/user/queue/x", null));
        ann.subscribed("/user/queue/x", null);
        Talk app = open("app");
        Talk.receipt(app.session().send("/user/joe/queue/x", "hello".getBytes(UTF_8)));
        for (Talk talk : joe) {
            assertThat(talk.connected.getFirst("user-name")).isEqualTo("joe");
            Talk.Got got = talk.message();
            assertThat(got.text()).isEqualTo("hello");
            assertThat(got.headers().getDestination()).isEqualTo("/user/queue/x");
            // Nothing of the session shows in what others may see.
            assertThat(got.headers().getMessageId()).doesNotContain(talk.session().getSessionId());
        }
        Talk.receipt(app.session().send("/user/ann/queue/x", "for ann".getBytes(UTF_8)));
        assertThat(ann.message().text()).isEqualTo("for ann");
        assertThat(joe).allSatisfy(talk -> assertThat(talk.waiting()).isZero());
        joe.forEach(talk -> talk.session().disconnect());
        ann.session().disconnect();
        app.session().disconnect();
        gone();
    }

    @Test
    @DisplayName("24 a forged SEND to /user/other/..., and every way to another's messages: refused, and nothing arrives")
    void s24_forged() {
        Talk joe = open("joe");
        joe.subscribed("/user/queue/x", null);
        Talk thief = open("ann");
        thief.session().send("/user/joe/queue/x", "forged".getBytes(UTF_8));
        Wait.until("the ERROR", () -> !thief.errors().isEmpty());
        assertThat(thief.errors().get(0).getFirst("code")).isEqualTo("forbidden");
        for (String destination : List.of("/user/**", "/user/*/queue/x", "/queue/**")) {
            Talk other = open("ann");
            other.subscribe(destination, null);
            Wait.until("the ERROR for " + destination, () -> !other.errors().isEmpty());
        }
        // These are destinations of ann's own, or of nobody's: they lead nowhere.
        Talk own = open("ann");
        own.subscribed("/user/joe/queue/x", null);
        own.subscribed("/topic/user/joe/queue/x", null);
        own.subscribed("/user/queue/x", null);
        Talk app = open("app");
        Talk.receipt(app.session().send("/user/joe/queue/x", "private".getBytes(UTF_8)));
        assertThat(joe.message().text()).isEqualTo("private");
        assertThat(joe.waiting()).isZero();
        assertThat(own.waiting()).isZero();
        List.of(joe, own, app).forEach(talk -> talk.session().disconnect());
        gone();
    }

    @Test
    @DisplayName("25 1,000 messages to one user with two sessions: strict order in each")
    void s25_order() {
        List<Talk> joe = List.of(open("joe"), open("joe"));
        joe.forEach(talk -> talk.subscribed("/user/queue/x", null));
        Talk app = open("app");
        app.session().setAutoReceipt(false);
        for (int n = 0; n < 1000; n++) {
            app.session().send("/user/joe/queue/x", Integer.toString(n).getBytes(UTF_8));
        }
        for (Talk talk : joe) {
            for (int n = 0; n < 1000; n++) {
                assertThat(talk.message().text()).isEqualTo(Integer.toString(n));
            }
            talk.session().disconnect();
        }
        app.session().disconnect();
        gone();
    }

    @Test
    @DisplayName("3 Spring's client with a wrong passcode: ERROR with a message, then closed")
    void s03_client() {
        Browser browser = new Browser(broker.url());
        browser.send("CONNECT", "accept-version:1.2", "host:x", "login:joe", "passcode:wrong");
        Frame error = browser.inbox.next(StompCommand.ERROR);
        assertThat(error.header("code")).isEqualTo("bad-credentials");
        assertThat(browser.closeCode()).isEqualTo(1008);
        gone();
    }
}
