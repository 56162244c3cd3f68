package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/** The acts that Differential plays with every broker. */
final class Script {
    /** One act: each begins with pages of its own and with destinations that no other has. */
    record Act(String name, Consumer<Stage> play) {
        /** It asks an application, and a relay of ours has none. */
        boolean asks() {
            return name.startsWith("/app");
        }
    }

    static final List<Act> ACTS = List.of(
            new Act("connect", stage -> {
                Browser ann = stage.bare("ann");
                ann.send("CONNECT", "accept-version:1.1,1.2", "heart-beat:0,0", "login:ann");
                stage.await(ann, ann);
            }),
            new Act("heart-beats", stage -> {
                Browser ann = stage.bare("ann");
                ann.send("CONNECT", "accept-version:1.2", "heart-beat:50000,60000", "login:ann");
                stage.await(ann, ann);
            }),
            new Act("unknown version", stage -> {
                Browser ann = stage.bare("ann");
                ann.send("CONNECT", "accept-version:3.0", "login:ann");
                // Some do not answer.
                Wait.pause(Duration.ofMillis(500));
            }),
            new Act("frame before CONNECT", stage -> {
                Browser ann = stage.bare("ann");
                ann.send("SUBSCRIBE", "id:0", "destination:/topic/early");
                stage.await(ann, ann);
                Wait.until("closed", () -> !ann.open());
            }),
            new Act("second CONNECT", stage -> {
                Browser ann = stage.page("ann");
                ann.send("CONNECT", "accept-version:1.2", "login:ann");
                stage.settle(ann);
            }),
            new Act("topic", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/talk", "receipt:r1");
                stage.settle(ann);
                bob.send("hello".getBytes(UTF_8), "SEND", "destination:/topic/talk", "content-type:text/plain", "receipt:r2");
                stage.settle(bob);
                ann.send("UNSUBSCRIBE", "id:a", "receipt:r3");
                stage.settle(ann);
                bob.send("gone".getBytes(UTF_8), "SEND", "destination:/topic/talk");
                stage.settle(bob);
            }),
            new Act("headers", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/headers");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/headers", "foo:one", "foo:two", "esc\\c:a\\cb\\\\c\\nd", "empty:", "말:🐎",
                        "content-type:application/json;charset=utf-8");
                stage.settle(ann);
            }),
            new Act("no content-type", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/untyped");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/untyped");
                stage.settle(ann);
            }),
            new Act("body of 60 KB, with NULs", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/large");
                ann.split("\0".repeat(60_000), "SEND", "destination:/topic/large");
                stage.settle(ann);
            }),
            new Act("two subscriptions to one topic", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/twice");
                ann.send("SUBSCRIBE", "id:b", "destination:/topic/twice");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/twice");
                stage.settle(ann);
            }),
            new Act("topic with a slash in its name", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/deep/down");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/deep/down");
                stage.settle(ann);
            }),
            new Act("wildcard, segments parted by dots", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/price.*");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/price.HOOF");
                stage.settle(ann);
            }),
            new Act("wildcard, segments parted by slashes", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/stock/*");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/stock/HOOF");
                stage.settle(ann);
            }),
            new Act("wildcard in the middle of a name", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/part*");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/parting");
                stage.settle(ann);
            }),
            new Act("selector", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/picked", "selector:colour = 'red'");
                ann.send("red".getBytes(UTF_8), "SEND", "destination:/topic/picked", "colour:red");
                ann.send("blue".getBytes(UTF_8), "SEND", "destination:/topic/picked", "colour:blue");
                stage.settle(ann);
            }),
            new Act("queue with a consumer", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                ann.send("SUBSCRIBE", "id:a", "destination:/queue/jobs");
                stage.settle(ann);
                bob.send("job".getBytes(UTF_8), "SEND", "destination:/queue/jobs");
                stage.settle(bob);
            }),
            new Act("queue that nobody reads yet", stage -> {
                Browser ann = stage.page("ann");
                ann.send("kept".getBytes(UTF_8), "SEND", "destination:/queue/later");
                stage.settle(ann);
                ann.send("SUBSCRIBE", "id:a", "destination:/queue/later");
                stage.settle(ann);
            }),
            new Act("two consumers of a queue, one of them with two subscriptions", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/queue/shared");
                ann.send("SUBSCRIBE", "id:b", "destination:/queue/shared");
                stage.settle(ann);
                ann.send("1".getBytes(UTF_8), "SEND", "destination:/queue/shared");
                ann.send("2".getBytes(UTF_8), "SEND", "destination:/queue/shared");
                stage.settle(ann);
            }),
            new Act("ACK that names no message", stage -> {
                Browser ann = stage.page("ann");
                ann.send("ACK", "id:none", "receipt:r1");
                stage.settle(ann);
            }),
            new Act("NACK", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/queue/back", "ack:client-individual");
                ann.send("job".getBytes(UTF_8), "SEND", "destination:/queue/back");
                stage.settle(ann);
                ann.inbox.rest().stream()
                        .filter(frame -> "a".equals(frame.header("subscription")) && frame.header("ack") != null)
                        .findFirst()
                        .ifPresent(frame -> ann.send("NACK", "id:" + frame.header("ack").replace(":", "\\c"), "receipt:r1"));
                stage.settle(ann);
            }),
            new Act("transaction that is committed", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/committed");
                ann.send("BEGIN", "transaction:t", "receipt:r1");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/committed", "transaction:t");
                ann.send("COMMIT", "transaction:t", "receipt:r2");
                stage.settle(ann);
            }),
            new Act("transaction that is aborted", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/aborted");
                ann.send("BEGIN", "transaction:t");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/aborted", "transaction:t");
                ann.send("ABORT", "transaction:t");
                stage.settle(ann);
            }),
            new Act("SUBSCRIBE without id", stage -> refused(stage, "SUBSCRIBE", "destination:/topic/a", "receipt:r")),
            new Act("SUBSCRIBE without destination", stage -> refused(stage, "SUBSCRIBE", "id:a", "receipt:r")),
            new Act("SUBSCRIBE with an id in use", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/first");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/second", "receipt:r");
                stage.settle(ann);
            }),
            new Act("SEND without destination", stage -> refused(stage, "SEND", "receipt:r")),
            new Act("SEND to what is no destination", stage -> refused(stage, "SEND", "destination:/nothing/here", "receipt:r")),
            new Act("UNSUBSCRIBE of what was none", stage -> refused(stage, "UNSUBSCRIBE", "id:none", "receipt:r")),
            new Act("unknown command", stage -> refused(stage, "SHOUT", "receipt:r")),
            new Act("MESSAGE from a client", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                bob.send("SUBSCRIBE", "id:b", "destination:/topic/forged");
                stage.settle(bob);
                ann.send("x".getBytes(UTF_8), "MESSAGE", "destination:/topic/forged", "message-id:1", "subscription:b");
                stage.settle(ann);
            }),
            new Act("forged message-id and subscription", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/named");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/named", "message-id:mine", "subscription:other");
                stage.settle(ann);
            }),
            new Act("destination of a user, sent to by another", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                ann.send("SUBSCRIBE", "id:u", "destination:/user/queue/whispers");
                stage.settle(ann);
                bob.send("x".getBytes(UTF_8), "SEND", "destination:/user/ann/queue/whispers", "foo:bar");
                stage.await(ann, bob);
                stage.settle(bob);
            }),
            new Act("patterns of queues", stage -> {
                Browser ann = stage.page("ann");
                Browser eve = stage.page("eve");
                ann.send("SUBSCRIBE", "id:q", "destination:/queue/secret.ann");
                stage.settle(ann);
                eve.send("SUBSCRIBE", "id:e", "destination:/queue/secret.*", "ack:client");
                stage.settle(eve);
                // Two, because consumers take turns.
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/queue/secret.ann");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/queue/secret.ann");
                stage.settle(ann);
            }),
            new Act("/app: answered at a topic", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                ann.send("SUBSCRIBE", "id:a", "destination:/topic/shouts");
                stage.settle(ann);
                bob.send("hello".getBytes(UTF_8), "SEND", "destination:/app/shout", "content-type:text/plain");
                stage.await(ann, bob);
                stage.settle(bob);
            }),
            new Act("/app: answered to the one who asks", stage -> {
                Browser ann = stage.page("ann");
                Browser bob = stage.page("bob");
                ann.send("SUBSCRIBE", "id:w", "destination:/user/queue/whispers");
                bob.send("SUBSCRIBE", "id:w", "destination:/user/queue/whispers");
                stage.settle(ann);
                stage.settle(bob);
                ann.send("psst".getBytes(UTF_8), "SEND", "destination:/app/whisper", "content-type:text/plain");
                stage.await(ann, ann);
                stage.settle(bob);
            }),
            new Act("/app: what fails", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:e", "destination:/user/queue/errors");
                stage.settle(ann);
                ann.send("SEND", "destination:/app/fail");
                stage.await(ann, ann);
                stage.settle(ann);
            }),
            new Act("/app: SEND with receipt", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:w", "destination:/user/queue/whispers");
                stage.settle(ann);
                ann.send("psst".getBytes(UTF_8), "SEND", "destination:/app/whisper", "content-type:text/plain", "receipt:r");
                stage.awaitMessage(ann);
                stage.settle(ann);
            }),
            new Act("/app: SUBSCRIBE is answered once, and its id is free again", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:n", "destination:/app/now");
                stage.await(ann, ann);
                ann.send("SUBSCRIBE", "id:n", "destination:/topic/free");
                ann.send("x".getBytes(UTF_8), "SEND", "destination:/topic/free");
                stage.settle(ann);
            }),
            new Act("/app: UNSUBSCRIBE behind the answer", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:n", "destination:/app/now");
                stage.await(ann, ann);
                ann.send("UNSUBSCRIBE", "id:n");
                stage.settle(ann);
            }),
            new Act("/app: SUBSCRIBE with receipt", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:n", "destination:/app/now", "receipt:r");
                stage.awaitMessage(ann);
                stage.settle(ann);
            }),
            new Act("/app: SUBSCRIBE to what nobody answers", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SUBSCRIBE", "id:n", "destination:/app/nobody");
                stage.settle(ann);
                // We answer for who is not there, when our patience is over.
                Wait.pause(Duration.ofSeconds(1));
            }),
            new Act("/app: SEND to what nobody answers", stage -> {
                Browser ann = stage.page("ann");
                ann.send("SEND", "destination:/app/nobody");
                stage.settle(ann);
            }),
            new Act("DISCONNECT with receipt", stage -> {
                Browser ann = stage.page("ann");
                ann.send("DISCONNECT", "receipt:bye");
                stage.await(ann, ann);
                // Who says more than the RECEIPT has the time to.
                Wait.pause(Duration.ofMillis(500));
                ann.close();
            }),
            new Act("DISCONNECT without receipt", stage -> {
                Browser ann = stage.page("ann");
                ann.send("DISCONNECT");
                Wait.pause(Duration.ofMillis(500));
                ann.close();
            }));

    private Script() {}

    private static void refused(Stage stage, String command, String... headers) {
        Browser ann = stage.page("ann");
        ann.send(command, headers);
        stage.settle(ann);
    }
}
