package hoofbeat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.messaging.simp.stomp.StompCommand;

/** Frames that came for one client, in order. */
final class Inbox {
    private final String owner;
    private final LinkedBlockingQueue<Frame> frames = new LinkedBlockingQueue<>();

    Inbox(String owner) {
        this.owner = owner;
    }

    void put(Frame frame) {
        if (frame.command() != null) {
            frames.add(frame);
        }
    }

    /** The next frame, which must be of this command. */
    Frame next(StompCommand command) {
        try {
            Frame frame = frames.poll(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            if (frame == null) {
                throw new AssertionError(owner + " got no " + command);
            }
            if (frame.command() != command) {
                throw new AssertionError(owner + " waited for " + command + " and got " + frame);
            }
            return frame;
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }

    /** The next frame, however long it takes. */
    Frame take() throws InterruptedException {
        return frames.take();
    }

    Frame message() {
        return next(StompCommand.MESSAGE);
    }

    List<Frame> messages(int count) {
        List<Frame> all = new ArrayList<>();
        while (all.size() < count) {
            all.add(message());
        }
        return all;
    }

    /** The next frame, which must be the RECEIPT of this id. */
    void receipt(String id) {
        Frame frame = next(StompCommand.RECEIPT);
        if (!id.equals(frame.header("receipt-id"))) {
            throw new AssertionError(owner + " waited for the receipt " + id + " and got " + frame);
        }
    }

    /** What has come and was not asked for yet. */
    List<Frame> rest() {
        return List.copyOf(frames);
    }

    void clear() {
        frames.clear();
    }
}
