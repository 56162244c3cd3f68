package chat;

import org.springframework.messaging.Message;
import org.springframework.messaging.MessageChannel;
import org.springframework.messaging.MessageDeliveryException;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompHeaderAccessor;
import org.springframework.messaging.support.ChannelInterceptor;
import org.springframework.messaging.support.MessageHeaderAccessor;

/** Looks at every frame of a page: who it is, and that it speaks to the application only. */
class Door implements ChannelInterceptor {
    @Override
    public Message<?> preSend(Message<?> message, MessageChannel channel) {
        StompHeaderAccessor frame = MessageHeaderAccessor.getAccessor(message, StompHeaderAccessor.class);
        if (frame == null) {
            return message;
        }
        if (frame.getCommand() == StompCommand.CONNECT) {
            // A real application would look at a password or a token here.
            String name = frame.getLogin();
            if (name == null || !name.matches("[\\p{L}\\p{N}][\\p{L}\\p{N} ._-]{0,29}")) {
                throw new MessageDeliveryException(message, "a name has 1 to 30 letters, digits, blanks, dots or dashes");
            }
            frame.setUser(() -> name);
        }
        // Else a page could write to /topic/said in anybody's name.
        String destination = frame.getDestination();
        if (frame.getCommand() == StompCommand.SEND && (destination == null || !destination.startsWith("/app/"))) {
            throw new MessageDeliveryException(message, "pages send to /app only");
        }
        return message;
    }
}
