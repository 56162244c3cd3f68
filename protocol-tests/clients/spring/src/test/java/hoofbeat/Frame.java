package hoofbeat;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.springframework.messaging.Message;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompDecoder;
import org.springframework.messaging.simp.stomp.StompHeaderAccessor;
import org.springframework.messaging.support.MessageHeaderAccessor;

/** A STOMP frame as Spring's decoder reads it. {@code command} is null for a heart-beat. */
record Frame(StompCommand command, Map<String, List<String>> headers, byte[] body) {

    static Frame of(Message<?> message) {
        StompHeaderAccessor accessor = MessageHeaderAccessor.getAccessor(message, StompHeaderAccessor.class);
        return new Frame(accessor.getCommand(), accessor.toNativeHeaderMap(), (byte[]) message.getPayload());
    }

    /** The octets of a frame; header lines are `name:value`, escaped by the caller where they have to be. */
    static byte[] octets(byte[] body, String command, String... headers) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes((command + "\n").getBytes(StandardCharsets.UTF_8));
        for (String header : headers) {
            out.writeBytes((header + "\n").getBytes(StandardCharsets.UTF_8));
        }
        if (body.length > 0) {
            out.writeBytes(("content-length:" + body.length + "\n").getBytes(StandardCharsets.UTF_8));
        }
        out.write('\n');
        out.writeBytes(body);
        out.write(0);
        return out.toByteArray();
    }

    static byte[] octets(String command, String... headers) {
        return octets(new byte[0], command, headers);
    }

    /** A body with every octet there is, over and over. */
    static byte[] everyOctet(int size) {
        byte[] body = new byte[size];
        for (int at = 0; at < size; at++) {
            body[at] = (byte) at;
        }
        return body;
    }

    /** What Spring's decoder makes of octets that are whole frames. */
    static List<Message<byte[]>> decode(byte[] octets) {
        return new StompDecoder().decode(ByteBuffer.wrap(octets));
    }

    String header(String name) {
        List<String> values = headers.get(name);
        return values == null ? null : values.get(0);
    }

    String text() {
        return new String(body, StandardCharsets.UTF_8);
    }

    @Override
    public String toString() {
        return command + " " + headers + " " + (body.length > 300 ? body.length + " octets" : text());
    }
}
