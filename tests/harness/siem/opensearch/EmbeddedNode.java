// A single OpenSearch node for tests. Each argument is a setting, `key=value`. Prints `listening ADDRESS:PORT` once it
// takes requests; runs until it is killed.

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** A subclass, because the constructor that takes plugins is protected. */
final class EmbeddedNode extends Node {
    private EmbeddedNode(Environment environment) {
        super(environment, List.of(Netty4Plugin.class), false);
    }

    public static void main(String[] arguments) throws Exception {
        Settings.Builder settings = Settings.builder();
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        Path none = null;
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), none, () -> "test");
        EmbeddedNode node = new EmbeddedNode(environment);
        node.start();
        HttpServerTransport http = node.injector().getInstance(HttpServerTransport.class);
        System.out.println("listening " + http.boundAddress().publishAddress());
        System.out.flush();
        new CountDownLatch(1).await();
    }
}
