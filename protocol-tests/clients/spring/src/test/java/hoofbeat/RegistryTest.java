package hoofbeat;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** Two nodes of the Boot application that tell each other of their users over a topic of ours. */
class RegistryTest {

    @Test
    @DisplayName("23 (in part) userRegistryBroadcast on two nodes: count of users, their sessions; a user by name on either node")
    void s23_registry() {
        try (Broker broker = Broker.start(); App one = App.start(broker, true, false); App two = App.start(broker, true, false)) {
            Browser first = one.browser("ann");
            Browser second = two.browser("ann");
            Browser other = two.browser("bob");
            for (Browser page : List.of(first, second, other)) {
                page.acknowledged("SUBSCRIBE", "id:u", "destination:/user/queue/pos");
            }
            // Each node tells every ten seconds.
            for (App node : List.of(one, two)) {
                // Spring counts a user once for each node that has him.
                Wait.until("all users are known", () -> node.users().getUserCount() == 3);
                Wait.until("and all their sessions", () -> node.users().getUser("ann").getSessions().size() == 2
                        && node.users().getUser("ann").getSessions().stream().allMatch(session -> session.getSubscriptions().size() == 1)
                        && node.users().getUser("bob").getSessions().size() == 1);
            }
            one.template().convertAndSendToUser("ann", "/queue/pos", "to both");
            one.template().convertAndSendToUser("bob", "/queue/pos", "to bob");
            assertThat(first.inbox.message().text()).isEqualTo("to both");
            assertThat(second.inbox.message().text()).isEqualTo("to both");
            Frame message = other.inbox.message();
            assertThat(message.text()).isEqualTo("to bob");
            assertThat(message.header("destination")).isEqualTo("/user/queue/pos");
            for (Browser page : List.of(first, second, other)) {
                page.acknowledged("UNSUBSCRIBE", "id:u");
                assertThat(page.inbox.rest()).isEmpty();
                page.close();
            }
        }
    }
}
