package chat;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Configuration;
import org.springframework.messaging.simp.config.ChannelRegistration;
import org.springframework.messaging.simp.config.MessageBrokerRegistry;
import org.springframework.web.socket.config.annotation.EnableWebSocketMessageBroker;
import org.springframework.web.socket.config.annotation.StompEndpointRegistry;
import org.springframework.web.socket.config.annotation.WebSocketMessageBrokerConfigurer;

/** Pages speak STOMP to Spring at /ws, and Spring to the broker behind its relay. */
@Configuration
@EnableWebSocketMessageBroker
class Messaging implements WebSocketMessageBrokerConfigurer {
    @Value("${relay.host}")
    private String host;

    @Value("${relay.port}")
    private int port;

    @Override
    public void configureMessageBroker(MessageBrokerRegistry registry) {
        registry.enableStompBrokerRelay("/topic", "/queue").setRelayHost(host).setRelayPort(port);
        registry.setApplicationDestinationPrefixes("/app");
        // Without it Spring may hand messages to a page in another order than they came in.
        registry.setPreservePublishOrder(true);
        // The registry of users hears of an arrival before Room does.
        registry.setUserRegistryOrder(0);
    }

    @Override
    public void registerStompEndpoints(StompEndpointRegistry endpoints) {
        endpoints.addEndpoint("/ws");
    }

    @Override
    public void configureClientInboundChannel(ChannelRegistration channel) {
        channel.interceptors(new Door());
    }
}
