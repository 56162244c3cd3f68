package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.function.Function;
import org.springframework.messaging.simp.stomp.StompCommand;

/** Pages of one broker on which one act of the script is played, and what they were told. */
final class Stage implements AutoCloseable {
    /** Markers after an act: with messages in several subscriptions at a time, a broker may serve these in turn. */
    private static final int MARKERS = 4;
    private static final String MARKS = "/topic/marks";

    private final Function<String, URI> url;
    private final Map<String, Browser> pages = new LinkedHashMap<>();
    private final Browser clerk;
    private int marks;

    Stage(Function<String, URI> url) {
        this.url = url;
        clerk = page("the clerk");
        pages.clear();
    }

    /** A page of this user, connected with 1.2. */
    Browser page(String user) {
        Browser page = bare(user);
        page.send("CONNECT", "accept-version:1.2", "heart-beat:0,0", "login:" + user);
        page.inbox.next(StompCommand.CONNECTED);
        page.send("SUBSCRIBE", "id:mark", "destination:" + MARKS);
        mark(page, List.of(page));
        return page;
    }

    /** A page that has sent nothing. */
    Browser bare(String user) {
        Browser page = new Browser(url.apply(user.replace(" ", "%20")), "v12.stomp");
        pages.put(user, page);
        return page;
    }

    /** Waits until everything that {@code actor} has sent is done, and what came of it has reached the others; or until it was closed. */
    void settle(Browser actor) {
        List<Browser> all = new ArrayList<>(pages.values());
        for (int n = 0; n < MARKERS && actor.open(); n++) {
            mark(actor, all);
        }
        for (int n = 0; n < MARKERS; n++) {
            List<Browser> others = new ArrayList<>(all);
            others.remove(actor);
            others.add(clerk);
            mark(clerk, others);
        }
    }

    /** Waits until {@code page} has been told something, or {@code other} was closed. */
    void await(Browser page, Browser other) {
        Wait.until("something comes", () -> !said(page).isEmpty() || !other.open());
    }

    /** Waits until {@code page} has got a message. */
    void awaitMessage(Browser page) {
        Wait.until("a message comes", () -> said(page).stream().anyMatch(frame -> frame.command() == StompCommand.MESSAGE));
    }

    /** Everything that the pages were told, and with which code they were closed, page by page. */
    List<Told> told() {
        List<Told> all = new ArrayList<>();
        pages.forEach((user, page) -> {
            said(page).forEach(frame -> all.add(Told.frame(user, frame)));
            if (!page.open()) {
                all.add(Told.closed(user, page.closeCode()));
            }
        });
        return all;
    }

    @Override
    public void close() {
        pages.values().forEach(Browser::drop);
        clerk.drop();
    }

    private void mark(Browser from, List<Browser> to) {
        String mark = "mark " + ++marks + " of " + System.identityHashCode(this);
        try {
            from.send(mark.getBytes(UTF_8), "SEND", "destination:" + MARKS, "content-type:text/plain");
        } catch (CompletionException closed) {
            return;
        }
        for (Browser page : to) {
            Wait.until(mark, () -> !page.open() || !from.open() || page.inbox.rest().stream().anyMatch(frame -> frame.text().equals(mark)));
        }
    }

    private static List<Frame> said(Browser page) {
        return page.inbox.rest().stream().filter(frame -> !"mark".equals(frame.header("subscription"))).toList();
    }
}
