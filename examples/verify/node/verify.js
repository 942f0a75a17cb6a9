// Verifies a webhook of Datasonar. Copy the first two functions; they check as TypeScript, by their JSDoc types, too.
//
// Express: app.post('/hook', express.raw({ type: 'application/json', limit: '1gb' }), (req, res) => {
//            verifySignature(secret, req.body, req.get('X-Datasonar-Signature'))
//            verifyStandard(secret, req.body, req.headers)
// Fetch API (Next.js, Hono, workers): const body = Buffer.from(await request.arrayBuffer());
//            verifySignature(secret, body, request.headers.get('X-Datasonar-Signature') ?? undefined)
//            verifyStandard(secret, body, Object.fromEntries(request.headers))

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

import { Webhook } from 'standardwebhooks';

/**
 * Whether one of the signatures in X-Datasonar-Signature is that of the body.
 * @type {(secret: string, body: Buffer, header?: string) => boolean}
 */
export function verifySignature(secret, body, header = '') {
  const expected = Buffer.from('sha256=' + createHmac('sha256', secret).update(body).digest('hex'));
  return header.split(',').some((one) => {
    const given = Buffer.from(one.trim());
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

/**
 * Whether webhook-signature is that of id, timestamp and body, and the timestamp within 5 minutes of now.
 * @type {(secret: string, body: Buffer, headers: Record<string, any>) => boolean}
 */
export function verifyStandard(secret, body, headers) {
  try {
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

/** @type {(args: string[]) => number} */
function main(args) {
  const [secret, headersFile, bodyFile, now] = args;
  if (args.length < 3 || args.length > 4) {
    console.error('usage: verify.js SECRET HEADERS_FILE BODY_FILE [NOW_SECONDS]');
    return 2;
  }
  /** @type {Record<string, string>} */
  const headers = {};
  for (const line of readFileSync(headersFile, 'utf8').split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
  }
  const body = readFileSync(bodyFile);
  // The library reads the machine's clock. This stops it, for tests only.
  if (now !== undefined) Date.now = () => Number(now) * 1000;
  if (!verifySignature(secret, body, headers['x-datasonar-signature'])) {
    console.log('invalid: X-Datasonar-Signature does not verify');
    return 1;
  }
  if (!verifyStandard(secret, body, headers)) {
    console.log('invalid: webhook-signature does not verify');
    return 1;
  }
  console.log('valid');
  return 0;
}

if (realpathSync(argv[1]) === fileURLToPath(import.meta.url)) process.exitCode = main(argv.slice(2));
