"""Verifies a webhook of Datasonar. Copy the first two functions.

Flask:   verify_signature(secret, request.get_data(), request.headers.get("X-Datasonar-Signature", ""))
Django:  verify_signature(secret, request.body, request.headers.get("X-Datasonar-Signature", ""))
FastAPI: verify_signature(secret, await request.body(), request.headers.get("X-Datasonar-Signature", ""))
"""

import hashlib
import hmac
import sys
from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError


def verify_signature(secret: str, body: bytes, header: str) -> bool:
    """Whether one of the signatures in X-Datasonar-Signature is that of the body."""
    expected = b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
    return any(hmac.compare_digest(one.strip().encode(), expected) for one in header.split(","))


def verify_standard(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes of now."""
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
        return True
    except (WebhookVerificationError, ValueError):
        return False


def stop_clock(seconds: int) -> None:
    """Lets the library, which reads the machine's clock, take this for the present time. For tests only."""
    import standardwebhooks.webhooks as library

    class Stopped(library.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(seconds, tz)

    library.datetime = Stopped


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4):
        print("usage: verify.py SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]", file=sys.stderr)
        return 2
    secret, headers_file, body_file, *now = arguments
    with open(headers_file, encoding="utf-8") as file:
        lines = [line.split(":", 1) for line in file if ":" in line]
    headers = {name.strip().lower(): value.strip() for name, value in lines}
    with open(body_file, "rb") as file:
        body = file.read()
    if now:
        stop_clock(int(now[0]))
    if not verify_signature(secret, body, headers.get("x-datasonar-signature", "")):
        print("invalid: X-Datasonar-Signature does not verify")
        return 1
    if not verify_standard(secret, body, headers):
        print("invalid: webhook-signature does not verify")
        return 1
    print("valid")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
