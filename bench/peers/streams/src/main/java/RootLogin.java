import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.FileInputStream;
import java.io.IOException;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The root rule on Kafka Streams: a record is parsed once by Jackson, and what matches goes out with the rule's name.
 * Arguments: a file of properties, the topic to read, the topic to write.
 */
public final class RootLogin {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ObjectReader READER = JSON.reader();

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            properties.load(file);
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .mapValues(RootLogin::finding)
                .filter((key, finding) -> finding != null)
                .to(arguments[2], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        CountDownLatch end = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            end.countDown();
        }));
        streams.start();
        end.await();
    }

    /** The finding of a record, or null. */
    private static byte[] finding(byte[] record) {
        try {
            JsonNode event = READER.readTree(record);
            if (!isRootSignIn(event)) {
                return null;
            }
            ObjectNode finding = JSON.createObjectNode();
            finding.put("rule", "RTM-001");
            finding.set("record", event);
            return JSON.writeValueAsBytes(finding);
        } catch (IOException malformed) {
            return null;
        }
    }

    private static boolean isRootSignIn(JsonNode event) {
        JsonNode identity = event.path("userIdentity");
        return event.path("eventName").asText().equals("ConsoleLogin")
                && identity.path("type").asText().equals("Root")
                && event.path("responseElements").path("ConsoleLogin").asText().equals("Success")
                && !identity.path("sessionContext").path("assumedRoot").asText().equalsIgnoreCase("true");
    }
}
