<?php

// Verifies a webhook of Datasonar. Copy the first two functions.
//
// Laravel: verify_signature($secret, $request->getContent(), $request->header('X-Datasonar-Signature'));
//          verify_standard($secret, $request->getContent(), $request->header(...));
// Plain:   verify_signature($secret, file_get_contents('php://input'), $_SERVER['HTTP_X_DATASONAR_SIGNATURE'] ?? null);
//
// The Standard Webhooks library does the second as well; it throws when something is wrong:
//
//   (new \StandardWebhooks\Webhook($secret))->verify($body, $headers);

declare(strict_types=1);

/** Whether one of the signatures in X-Datasonar-Signature is that of the body. */
function verify_signature(string $secret, string $body, ?string $header): bool
{
    $expected = 'sha256=' . hash_hmac('sha256', $body, $secret);
    foreach (explode(',', $header ?? '') as $one) {
        if (hash_equals($expected, trim($one))) {
            return true;
        }
    }
    return false;
}

/**
 * Whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes of now.
 *
 * @param callable(string): ?string $header a header's value by its name
 */
function verify_standard(string $secret, string $body, callable $header, ?int $now = null): bool
{
    $id = $header('webhook-id') ?? '';
    $timestamp = $header('webhook-timestamp') ?? '';
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if ($id === '' || !ctype_digit($timestamp) || !$key || abs(($now ?? time()) - (int) $timestamp) > 300) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $header('webhook-signature') ?? '') as $one) {
        if (hash_equals($expected, $one)) {
            return true;
        }
    }
    return false;
}

/** @param string[] $arguments */
function main(array $arguments): int
{
    if (!in_array(count($arguments), [3, 4], true)) {
        fwrite(STDERR, "usage: verify.php SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]\n");
        return 2;
    }
    [$secret, $headersFile, $bodyFile] = $arguments;
    $headers = [];
    foreach (file($headersFile, FILE_IGNORE_NEW_LINES) as $line) {
        [$name, $value] = explode(':', $line, 2) + ['', ''];
        $headers[strtolower(trim($name))] = trim($value);
    }
    $body = file_get_contents($bodyFile);
    if (!verify_signature($secret, $body, $headers['x-datasonar-signature'] ?? null)) {
        echo "invalid: X-Datasonar-Signature does not verify\n";
        return 1;
    }
    $now = isset($arguments[3]) ? (int) $arguments[3] : null;
    if (!verify_standard($secret, $body, fn (string $name): ?string => $headers[$name] ?? null, $now)) {
        echo "invalid: webhook-signature does not verify\n";
        return 1;
    }
    echo "valid\n";
    return 0;
}

if (realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    exit(main(array_slice($argv, 1)));
}
