package hoofbeat;

import java.net.URI;
import java.security.Principal;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.core.env.Environment;
import org.springframework.http.server.ServerHttpRequest;
import org.springframework.messaging.handler.annotation.MessageExceptionHandler;
import org.springframework.messaging.handler.annotation.MessageMapping;
import org.springframework.messaging.handler.annotation.SendTo;
import org.springframework.messaging.simp.SimpMessageHeaderAccessor;
import org.springframework.messaging.simp.SimpMessageType;
import org.springframework.messaging.simp.SimpMessagingTemplate;
import org.springframework.messaging.simp.annotation.SendToUser;
import org.springframework.messaging.simp.annotation.SubscribeMapping;
import org.springframework.messaging.simp.broker.AbstractBrokerMessageHandler;
import org.springframework.messaging.simp.config.MessageBrokerRegistry;
import org.springframework.messaging.simp.config.StompBrokerRelayRegistration;
import org.springframework.messaging.simp.user.SimpUserRegistry;
import org.springframework.stereotype.Controller;
import org.springframework.web.socket.WebSocketHandler;
import org.springframework.web.socket.config.annotation.EnableWebSocketMessageBroker;
import org.springframework.web.socket.config.annotation.StompEndpointRegistry;
import org.springframework.web.socket.config.annotation.WebSocketMessageBrokerConfigurer;
import org.springframework.web.socket.server.support.DefaultHandshakeHandler;

/** A Spring Boot application as its users write them; of us it knows the port of the relay only. */
final class App implements AutoCloseable {
    private final ConfigurableApplicationContext context;
    private final List<Browser> pages = new CopyOnWriteArrayList<>();

    private App(ConfigurableApplicationContext context) {
        this.context = context;
    }

    /** Starts a node of it, with the topics by which Spring's nodes tell each other of users, or without. */
    static App start(Broker broker, boolean registry, boolean unresolved) {
        return start(broker.tcp(), registry, unresolved, false, "guest");
    }

    /** As {@link #start(Broker, boolean, boolean)}, with a user of the broker whose passcode is his name. */
    static App start(Broker broker, boolean registry, boolean unresolved, String login) {
        return start(broker.tcp(), registry, unresolved, false, login);
    }

    /** Starts a node of it that has Spring's own simple broker instead of a relay, and takes frames in their order. */
    static App alone() {
        return start(0, false, false, true, "guest");
    }

    /** Starts a node of it whose relay has the broker at this port, and which takes frames in their order. */
    static App before(int port) {
        return start(port, false, false, true, "guest");
    }

    private static App start(int port, boolean registry, boolean unresolved, boolean ordered, String login) {
        ConfigurableApplicationContext context = new SpringApplicationBuilder(Code.class)
                .web(WebApplicationType.SERVLET)
                .properties(Map.of(
                        "server.port", "0",
                        "relay.port", Integer.toString(port),
                        "relay.login", login,
                        "relay.ordered", ordered,
                        "relay.registry", registry,
                        "relay.unresolved", unresolved,
                        "spring.main.banner-mode", "off",
                        "spring.jmx.enabled", "false",
                        "logging.level.root", "WARN"))
                .run();
        AbstractBrokerMessageHandler broker = context.getBean(
                port == 0 ? "simpleBrokerMessageHandler" : "stompBrokerRelayMessageHandler", AbstractBrokerMessageHandler.class);
        Wait.until("the broker is there", broker::isBrokerAvailable);
        return new App(context);
    }

    URI url(String user) {
        String port = context.getEnvironment().getProperty("local.server.port");
        return URI.create("ws://127.0.0.1:" + port + "/ws?user=" + user);
    }

    /** A page of this user, connected. */
    Browser browser(String user) {
        Browser page = Browser.connected(url(user));
        pages.add(page);
        return page;
    }

    /** Drops all pages that were opened here, open or not. */
    void dropPages() {
        pages.forEach(Browser::drop);
        pages.clear();
    }

    SimpMessagingTemplate template() {
        return context.getBean(SimpMessagingTemplate.class);
    }

    /** Sends to one session by its id, as {@code @SendToUser(broadcast = false)} does. */
    void sendToSession(String session, String destination, String text) {
        SimpMessageHeaderAccessor headers = SimpMessageHeaderAccessor.create(SimpMessageType.MESSAGE);
        headers.setSessionId(session);
        headers.setLeaveMutable(true);
        template().convertAndSendToUser(session, destination, text, headers.getMessageHeaders());
    }

    SimpUserRegistry users() {
        return context.getBean(SimpUserRegistry.class);
    }

    @Override
    public void close() {
        context.close();
    }

    /** The application's code: nothing in it is for us but the port. */
    @SpringBootConfiguration
    @EnableAutoConfiguration
    @EnableWebSocketMessageBroker
    static class Code implements WebSocketMessageBrokerConfigurer {
        private final Environment environment;

        Code(Environment environment) {
            this.environment = environment;
        }

        @Override
        public void configureMessageBroker(MessageBrokerRegistry registry) {
            registry.setApplicationDestinationPrefixes("/app");
            // Else Spring itself may deliver out of order.
            registry.setPreservePublishOrder(true);
            int port = environment.getRequiredProperty("relay.port", Integer.class);
            if (port == 0) {
                registry.enableSimpleBroker("/topic", "/queue");
                return;
            }
            StompBrokerRelayRegistration relay = registry.enableStompBrokerRelay("/topic", "/queue").setRelayPort(port);
            String login = environment.getRequiredProperty("relay.login");
            relay.setSystemLogin(login).setSystemPasscode(login).setClientLogin(login).setClientPasscode(login);
            if (environment.getRequiredProperty("relay.registry", Boolean.class)) {
                relay.setUserRegistryBroadcast("/topic/simp-user-registry");
            }
            if (environment.getRequiredProperty("relay.unresolved", Boolean.class)) {
                relay.setUserDestinationBroadcast("/topic/unresolved-user-destination");
            }
        }

        @Override
        public void registerStompEndpoints(StompEndpointRegistry endpoints) {
            endpoints.setPreserveReceiveOrder(environment.getRequiredProperty("relay.ordered", Boolean.class));
            endpoints.addEndpoint("/ws").setHandshakeHandler(new UserFromQuery());
        }

        @Bean
        Answers answers() {
            return new Answers();
        }
    }

    @Controller
    static class Answers {
        @MessageMapping("/shout")
        @SendTo("/topic/shouts")
        String shout(String text) {
            return text.toUpperCase(java.util.Locale.ROOT);
        }

        @MessageMapping("/whisper")
        @SendToUser("/queue/whispers")
        String whisper(String text, Principal user) {
            return user.getName() + ":" + text;
        }

        @MessageMapping("/fail")
        void fail() {
            throw new IllegalStateException("on purpose");
        }

        @MessageExceptionHandler
        @SendToUser(value = "/queue/errors", broadcast = false)
        String failed(IllegalStateException failure) {
            return failure.getMessage();
        }

        @SubscribeMapping("/now")
        String now() {
            return "here";
        }
    }

    private static final class UserFromQuery extends DefaultHandshakeHandler {
        @Override
        protected Principal determineUser(ServerHttpRequest request, WebSocketHandler handler, Map<String, Object> attributes) {
            String name = request.getURI().getQuery().replaceFirst("^user=", "");
            return () -> name;
        }
    }
}
