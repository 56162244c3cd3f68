package hoofbeat;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.user.SimpSession;
import org.springframework.messaging.simp.user.SimpSubscription;
import org.springframework.messaging.simp.user.SimpUser;

/** Two nodes of the Boot application, and users whose pages are connected to us instead. */
class BridgeTest {
    private static final String USERS = Broker.users("zoe", "eve") + Broker.users("spring") + "may_send_to_users = true\n";
    private static final String REGISTRY = "user_registry_broadcast = \"/topic/simp-user-registry\"\n";
    private static final String UNRESOLVED = "user_destination_broadcast = \"/topic/unresolved-user-destination\"\n";

    @Test
    @DisplayName("22 a user who is connected to us, by userDestinationBroadcast: each session gets it once; an unknown user's is dropped")
    void s22_ours() {
        try (Broker broker = Broker.configured("[spring]\n" + UNRESOLVED + USERS);
                App one = App.start(broker, false, true, "spring");
                App two = App.start(broker, false, true, "spring")) {
            Wait.until("both nodes listen", () -> broker.size("subscriptions") == 2);
            List<Browser> zoe = List.of(page(broker, "zoe"), page(broker, "zoe"));
            Browser eve = page(broker, "eve");
            Browser ann = two.browser("ann");
            ann.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
            one.template().convertAndSendToUser("nobody", "/queue/pos", "for nobody");
            one.template().convertAndSendToUser("zoe", "/queue/pos", "for zoe");
            one.template().convertAndSendToUser("ann", "/queue/pos", "for ann");
            for (Browser page : zoe) {
                isFor(page.inbox.message(), "for zoe");
            }
            isFor(ann.inbox.message(), "for ann");
            settled(one, zoe);
            settled(one, List.of(eve));
            forbidden(broker, "SUBSCRIBE", "id:0", "destination:/topic/unresolved-user-destination");
            forbidden(broker, "SEND", "destination:/topic/unresolved-user-destination", "simpOrigDestination:/user/zoe/queue/pos");
            assertThat(zoe).allSatisfy(page -> assertThat(page.inbox.rest()).isEmpty());
        }
    }

    @Test
    @DisplayName("23 our users in the nodes' registries: their number, their sessions, messages to them; ours expire when we have stopped")
    void s23_ours() {
        try (Broker broker = Broker.configured("[spring]\n" + REGISTRY + UNRESOLVED + USERS);
                App one = App.start(broker, true, true, "spring");
                App two = App.start(broker, true, true, "spring")) {
            Browser spy = Browser.as("eve", broker.url());
            spy.acknowledged("SUBSCRIBE", "id:all", "destination:/topic/**");
            List<Browser> zoe = List.of(page(broker, "zoe"), page(broker, "zoe"));
            Browser ann = two.browser("ann");
            ann.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
            for (App node : List.of(one, two)) {
                Wait.until("both users are known", () -> node.users().getUserCount() == 2);
                Wait.until("and both sessions", () -> sessions(node).size() == 2);
                assertThat(sessions(node)).allSatisfy(session -> assertThat(session.getSubscriptions()).extracting(SimpSubscription::getDestination)
                        .containsExactly("/user/queue/pos"));
            }
            for (App node : List.of(one, two)) {
                node.template().convertAndSendToUser("zoe", "/queue/pos", "for zoe");
                for (Browser page : zoe) {
                    isFor(page.inbox.message(), "for zoe");
                }
            }
            settled(one, zoe);

            // Whom the snapshots name they name to the application only.
            assertThat(spy.inbox.rest()).extracting(frame -> frame.header("destination")).containsExactly("/topic/end");
            String known = sessions(one).iterator().next().getId();
            forbidden(broker, "SUBSCRIBE", "id:0", "destination:/topic/simp-user-registry");
            forbidden(broker, "SEND", "destination:/topic/simp-user-registry");
            forbidden(broker, "SEND", "destination:/queue/pos-user" + known, "simpOrigDestination:/user/queue/pos");
            forbidden(broker, "SUBSCRIBE", "id:0", "destination:/queue/pos-user" + known);
            assertThat(zoe).allSatisfy(page -> assertThat(page.inbox.rest()).isEmpty());

            zoe.get(0).close();
            Wait.until("the session that has ended is not known any more", () -> sessions(one).size() == 1);
            broker.kill();
            broker.restart();
            // Spring's 20 s, its next look after that, and its way back to the broker.
            Wait.until("ours have expired", Duration.ofSeconds(60), () -> sessions(one).isEmpty() && sessions(two).isEmpty());
        }
    }

    private static Browser page(Broker broker, String user) {
        Browser page = Browser.as(user, broker.url());
        page.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
        return page;
    }

    private static java.util.Set<SimpSession> sessions(App node) {
        SimpUser zoe = node.users().getUser("zoe");
        return zoe == null ? java.util.Set.of() : zoe.getSessions();
    }

    private static void isFor(Frame message, String text) {
        assertThat(message.text()).isEqualTo(text);
        assertThat(message.header("destination")).isEqualTo("/user/queue/pos");
        assertThat(message.header("subscription")).isEqualTo("u");
        assertThat(message.headers()).doesNotContainKey("simpOrigDestination");
    }

    /** Whatever the application has sent before has come, and no page has got anything twice. */
    private static void settled(App app, List<Browser> pages) {
        for (Browser page : pages) {
            page.acknowledged("SUBSCRIBE", "id:end", "destination:/topic/end");
        }
        app.template().convertAndSend("/topic/end", "end");
        for (Browser page : pages) {
            assertThat(page.inbox.message().text()).isEqualTo("end");
            page.acknowledged("UNSUBSCRIBE", "id:end");
            assertThat(page.inbox.rest()).isEmpty();
        }
    }

    /** A user without the right may not do this. */
    private static void forbidden(Broker broker, String command, String... headers) {
        Browser eve = Browser.as("eve", broker.url());
        eve.send(command, headers);
        assertThat(eve.inbox.next(StompCommand.ERROR).header("code")).isEqualTo("forbidden");
        eve.closeCode();
    }
}
