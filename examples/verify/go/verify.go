// Verifies a webhook of Datasonar. Copy the first two functions.
//
// net/http:
//
//	body, err := io.ReadAll(r.Body)
//	VerifySignature(secret, body, r.Header.Get("X-Datasonar-Signature"))
//	VerifyStandard(secret, body, r.Header.Get, time.Now())
//
// The Standard Webhooks library does the second as well, with an error that says what is wrong:
//
//	wh, err := standardwebhooks.NewWebhook(secret)
//	err = wh.Verify(body, r.Header)
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// VerifySignature tells whether one of the signatures in X-Datasonar-Signature is that of the body.
func VerifySignature(secret string, body []byte, header string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	expected := []byte("sha256=" + hex.EncodeToString(mac.Sum(nil)))
	for _, one := range strings.Split(header, ",") {
		if hmac.Equal([]byte(strings.TrimSpace(one)), expected) {
			return true
		}
	}
	return false
}

// VerifyStandard tells whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes
// of now.
func VerifyStandard(secret string, body []byte, header func(name string) string, now time.Time) bool {
	id, timestamp := header("webhook-id"), header("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := now.Unix() - seconds; err != nil || id == "" || age > 300 || age < -300 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for _, one := range strings.Fields(header("webhook-signature")) {
		if hmac.Equal([]byte(one), expected) {
			return true
		}
	}
	return false
}

func run(args []string) (string, int) {
	if len(args) != 3 && len(args) != 4 {
		return "usage: verify SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]", 2
	}
	lines, err := os.ReadFile(args[1])
	if err != nil {
		return err.Error(), 2
	}
	body, err := os.ReadFile(args[2])
	if err != nil {
		return err.Error(), 2
	}
	now := time.Now()
	if len(args) == 4 {
		seconds, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err.Error(), 2
		}
		now = time.Unix(seconds, 0)
	}
	headers := map[string]string{}
	for _, line := range strings.Split(string(lines), "\n") {
		if name, value, found := strings.Cut(line, ":"); found {
			headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	if !VerifySignature(args[0], body, headers["x-datasonar-signature"]) {
		return "invalid: X-Datasonar-Signature does not verify", 1
	}
	if !VerifyStandard(args[0], body, func(name string) string { return headers[name] }, now) {
		return "invalid: webhook-signature does not verify", 1
	}
	return "valid", 0
}

func main() {
	line, code := run(os.Args[1:])
	fmt.Println(line)
	os.Exit(code)
}
