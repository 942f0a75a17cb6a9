import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Verifies a webhook of Datasonar. Copy the first three functions.
 *
 * <pre>{@code
 * // Spring
 * @PostMapping("/hook")
 * ResponseEntity<Void> hook(@RequestBody byte[] body, @RequestHeader HttpHeaders headers) throws GeneralSecurityException {
 *     verifySignature(secret, body, headers.getFirst("X-Datasonar-Signature"));
 *     verifyStandard(secret, body, headers::getFirst, Instant.now());
 * }</pre>
 *
 * The Standard Webhooks library (com.standardwebhooks:standardwebhooks) does the second as well; it throws when
 * something is wrong: {@code new Webhook(secret).verify(payload, headers)}, with the payload as a string and the headers
 * as a java.net.http.HttpHeaders.
 */
public final class Verify {
    /** Whether one of the signatures in X-Datasonar-Signature is that of the body. */
    static boolean verifySignature(String secret, byte[] body, String header) throws GeneralSecurityException {
        byte[] tag = hmac(secret.getBytes(StandardCharsets.UTF_8), body);
        byte[] expected = ("sha256=" + HexFormat.of().formatHex(tag)).getBytes(StandardCharsets.UTF_8);
        for (String one : header == null ? new String[0] : header.split(",")) {
            if (MessageDigest.isEqual(one.trim().getBytes(StandardCharsets.UTF_8), expected)) {
                return true;
            }
        }
        return false;
    }

    /** HMAC-SHA256 over the parts, one after the other. */
    static byte[] hmac(byte[] key, byte[]... parts) throws GeneralSecurityException {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        for (byte[] part : parts) {
            mac.update(part);
        }
        return mac.doFinal();
    }

    /** Whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes of now. */
    static boolean verifyStandard(String secret, byte[] body, UnaryOperator<String> header, Instant now)
            throws GeneralSecurityException {
        String id = header.apply("webhook-id");
        String timestamp = header.apply("webhook-timestamp");
        String signatures = header.apply("webhook-signature");
        if (id == null || timestamp == null || signatures == null || !timestamp.matches("[0-9]{1,18}")
                || Math.abs(now.getEpochSecond() - Long.parseLong(timestamp)) > 300) {
            return false;
        }
        byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
        byte[] tag = hmac(key, (id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8), body);
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(tag)).getBytes(StandardCharsets.UTF_8);
        for (String one : signatures.split(" ")) {
            if (MessageDigest.isEqual(one.getBytes(StandardCharsets.UTF_8), expected)) {
                return true;
            }
        }
        return false;
    }

    private static int run(String[] args) throws IOException, GeneralSecurityException {
        if (args.length != 3 && args.length != 4) {
            System.err.println("usage: Verify SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]");
            return 2;
        }
        Map<String, String> headers = new TreeMap<>();
        for (String line : Files.readAllLines(Path.of(args[1]))) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                headers.put(line.substring(0, colon).trim().toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
            }
        }
        byte[] body = Files.readAllBytes(Path.of(args[2]));
        if (!verifySignature(args[0], body, headers.get("x-datasonar-signature"))) {
            System.out.println("invalid: X-Datasonar-Signature does not verify");
            return 1;
        }
        Instant now = args.length == 4 ? Instant.ofEpochSecond(Long.parseLong(args[3])) : Instant.now();
        if (!verifyStandard(args[0], body, headers::get, now)) {
            System.out.println("invalid: webhook-signature does not verify");
            return 1;
        }
        System.out.println("valid");
        return 0;
    }

    public static void main(String[] args) throws IOException, GeneralSecurityException {
        System.exit(run(args));
    }
}
