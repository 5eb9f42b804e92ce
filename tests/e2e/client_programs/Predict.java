import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Asks for each customer of a file, as Java's own client does by default: it offers h2c with every new connection. */
public class Predict {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI uri = URI.create(arguments[0] + "/predict");
        List<CompletableFuture<String>> answers = new ArrayList<>();
        int asked = 0;
        for (String customer : Files.readAllLines(Path.of(arguments[1]))) {
            HttpRequest request = HttpRequest.newBuilder(uri)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\"customer_id\": \"" + customer + "\"}"))
                .build();
            CompletableFuture<String> answer = client.sendAsync(request, HttpResponse.BodyHandlers.ofString())
                .thenApply(response -> customer + "\t" + response.statusCode() + "\t" + response.body());
            answers.add(answer);
            if (++asked % 10 == 0) {
                answer.join();
            }
        }
        for (CompletableFuture<String> answer : answers) {
            System.out.println(answer.join());
        }
    }
}
