# frozen_string_literal: true

# Verifies a webhook of Datasonar. Copy the first two functions.
#
# Rails:   verify_signature(secret, request.raw_post, request.headers["X-Datasonar-Signature"])
#          verify_standard(secret, request.raw_post, request.headers)
# Sinatra: verify_signature(secret, request.body.read, request.get_header("HTTP_X_DATASONAR_SIGNATURE"))
#
# The Standard Webhooks library (gem "standardwebhooks") does the second as well; it raises when something is wrong:
#
#   StandardWebhooks::Webhook.new(secret).verify(request.raw_post, headers)

require "openssl"

# Whether one of the signatures in X-Datasonar-Signature is that of the body.
def verify_signature(secret, body, header)
  expected = "sha256=#{OpenSSL::HMAC.hexdigest("SHA256", secret, body)}"
  header.to_s.split(",").any? { |one| OpenSSL.secure_compare(one.strip, expected) }
end

# Whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes of now.
def verify_standard(secret, body, headers, now = Time.now)
  id, timestamp, signatures = %w[webhook-id webhook-timestamp webhook-signature].map { |name| headers[name].to_s }
  seconds = Integer(timestamp, 10, exception: false)
  return false if id.empty? || seconds.nil? || (now.to_i - seconds).abs > 300

  key = secret.delete_prefix("whsec_").unpack1("m0")
  expected = "v1,#{[OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{timestamp}.".b + body.b)].pack("m0")}"
  signatures.split.any? { |one| OpenSSL.secure_compare(one, expected) }
end

def main(arguments)
  unless [3, 4].include?(arguments.length)
    warn "usage: verify.rb SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]"
    return 2
  end
  secret, headers_file, body_file, now = arguments
  lines = File.readlines(headers_file, chomp: true).map { |line| line.split(":", 2) }
  headers = lines.select { |line| line.length == 2 }.to_h { |name, value| [name.strip.downcase, value.strip] }
  body = File.binread(body_file)
  unless verify_signature(secret, body, headers["x-datasonar-signature"])
    puts "invalid: X-Datasonar-Signature does not verify"
    return 1
  end
  unless verify_standard(secret, body, headers, now ? Time.at(Integer(now)) : Time.now)
    puts "invalid: webhook-signature does not verify"
    return 1
  end
  puts "valid"
  0
end

exit main(ARGV) if $PROGRAM_NAME == __FILE__
