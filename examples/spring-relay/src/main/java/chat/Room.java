package chat;

import java.security.Principal;
import java.util.List;
import org.springframework.context.event.EventListener;
import org.springframework.messaging.MessageDeliveryException;
import org.springframework.messaging.handler.annotation.MessageExceptionHandler;
import org.springframework.messaging.handler.annotation.MessageMapping;
import org.springframework.messaging.handler.annotation.SendTo;
import org.springframework.messaging.simp.SimpMessagingTemplate;
import org.springframework.messaging.simp.annotation.SendToUser;
import org.springframework.messaging.simp.annotation.SubscribeMapping;
import org.springframework.messaging.simp.user.SimpUser;
import org.springframework.messaging.simp.user.SimpUserRegistry;
import org.springframework.stereotype.Controller;
import org.springframework.web.socket.messaging.SessionConnectedEvent;
import org.springframework.web.socket.messaging.SessionDisconnectEvent;

/** What is said to all, what is said to one, and who is there. */
@Controller
class Room {
    private static final int LONGEST = 2000;

    private final SimpMessagingTemplate broker;
    private final SimpUserRegistry users;

    Room(SimpMessagingTemplate broker, SimpUserRegistry users) {
        this.broker = broker;
        this.users = users;
    }

    /** What a page sends; {@code to} is somebody's name, or null where all are meant. */
    record Words(String to, String text) {
        Words {
            if (text == null || text.isBlank() || text.length() > LONGEST) {
                throw new IllegalArgumentException("a message has 1 to " + LONGEST + " characters");
            }
        }
    }

    /** What pages get. */
    record Said(String from, String to, String text) {}

    @MessageMapping("/say")
    @SendTo("/topic/said")
    Said say(Words words, Principal who) {
        return new Said(who.getName(), null, words.text());
    }

    /** Goes to every window of the one it is for, and to every window of the one who wrote it. */
    @MessageMapping("/whisper")
    void whisper(Words words, Principal who) {
        if (words.to() == null || users.getUser(words.to()) == null) {
            throw new IllegalArgumentException(words.to() + " is not here");
        }
        Said said = new Said(who.getName(), words.to(), words.text());
        broker.convertAndSendToUser(words.to(), "/queue/whispers", said);
        if (!words.to().equals(who.getName())) {
            broker.convertAndSendToUser(who.getName(), "/queue/whispers", said);
        }
    }

    @MessageExceptionHandler
    @SendToUser(destinations = "/queue/refusals", broadcast = false)
    String refuse(Exception reason) {
        Throwable cause = reason;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        return cause instanceof IllegalArgumentException ? cause.getMessage() : "that was not understood";
    }

    /** The answer to a page that asks who is there; changes come at /topic/people. */
    @SubscribeMapping("/people")
    List<String> people() {
        return users.getUsers().stream().map(SimpUser::getName).sorted().toList();
    }

    @EventListener({SessionConnectedEvent.class, SessionDisconnectEvent.class})
    void tellWhoIsThere() {
        try {
            broker.convertAndSend("/topic/people", people());
        } catch (MessageDeliveryException gone) {
            // With the broker all pages are cut off, and ask again when they are back.
        }
    }
}
