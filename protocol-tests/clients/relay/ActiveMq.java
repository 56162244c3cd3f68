import java.io.File;
import org.apache.activemq.broker.BrokerService;

/** An ActiveMQ that keeps persistent messages in the folder of the second argument and takes STOMP at the port of the first. */
public class ActiveMq {
    public static void main(String[] arguments) throws Exception {
        BrokerService broker = new BrokerService();
        broker.setBrokerName("behind");
        broker.setUseJmx(false);
        broker.setAdvisorySupport(false);
        broker.setDataDirectoryFile(new File(arguments[1]));
        broker.setPersistent(true);
        broker.getSystemUsage().getStoreUsage().setLimit(1L << 30);
        broker.getSystemUsage().getTempUsage().setLimit(1L << 30);
        broker.addConnector("stomp://127.0.0.1:" + arguments[0] + "?transport.hbGracePeriodMultiplier=2");
        broker.start();
        broker.waitUntilStarted();
        System.out.println("started");
        broker.waitUntilStopped();
    }
}
