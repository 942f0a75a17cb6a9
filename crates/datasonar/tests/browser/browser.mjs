// A real browser that lets nothing pass: any error on the console, any exception, any request that fails and any breach of the content policy
// ends the test. With TEST_STYLE=file, that stylesheet is shown instead of the one that was built in, for working on it. The Rust test that starts a script tells it what there is in the variable TEST_GIVEN, and does what it is asked for on standard output.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const given = JSON.parse(process.env.TEST_GIVEN);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the Rust side do something, and answers what it says. */
export async function ask(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
  const { value, done } = await lines.next();
  assert(!done, `nobody answers ${what}`);
  return JSON.parse(value);
}

/** Starts the browser, runs a test, and takes everything down. */
export async function run(test) {
  const args = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', '--disable-gpu', '--disable-quic'];
  // The superuser has no sandbox to be in; whoever else runs the tests has.
  const chromiumSandbox = process.getuid() !== 0;
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args, chromiumSandbox });
  const wrong = [];
  try {
    await test(browser, wrong);
  } finally {
    await browser.close();
  }
  assert.deepEqual(wrong, []);
  process.exit(0);
}

/** A browser window of its own, with its own cookies. What goes wrong in it is added to `wrong`. */
export async function open(browser, wrong, options = {}) {
  const context = await browser.newContext({ baseURL: given.server, locale: 'en-GB', timezoneId: 'UTC', ...options });
  context.setDefaultTimeout(30_000);
  if (options.javaScriptEnabled !== false) {
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: given.server });
    await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`content policy: ${event.violatedDirective} forbids ${event.blockedURI || event.sample}`);
    }));
  }
  // What is expected to be refused, while it is.
  const expected = new Set();
  context.on('console', (message) => {
    const text = message.text();
    const isExpected = [...expected].some((status) => text.includes(`status of ${status}`));
    if (['error', 'warning', 'assert'].includes(message.type()) && !isExpected) wrong.push(`console: ${text} at ${message.page()?.url()}`);
  });
  context.on('weberror', (error) => wrong.push(`exception: ${error.error().stack}`));
  context.on('requestfailed', (request) => {
    // A page that is left ends its requests; a download leaves none.
    if (request.failure().errorText !== 'net::ERR_ABORTED') wrong.push(`request: ${request.url()} ${request.failure().errorText}`);
  });
  context.on('response', (response) => {
    const status = response.status();
    if (status >= 400 && !expected.has(status)) wrong.push(`response: ${status} of ${response.url()}`);
  });
  context.on('request', (request) => {
    if (new URL(request.url()).origin !== given.server && !request.url().startsWith('data:')) wrong.push(`elsewhere: ${request.url()}`);
  });
  const style = process.env.TEST_STYLE;
  if (style) await context.route('**/assets/*.css', (route) => route.fulfill({ path: style, contentType: 'text/css' }));
  const page = await context.newPage();
  const refused = async (status, act) => {
    expected.add(status);
    await act();
    // The console tells a little later than the page.
    await page.waitForLoadState('networkidle');
    expected.delete(status);
  };
  return { context, page, refused };
}

/** Follows a sign-in link and chooses a password. */
export async function signIn(page, link, email) {
  await page.goto(link);
  const field = page.getByLabel('E-mail');
  if (await field.isEditable()) await field.fill(email);
  await page.getByLabel('Password').fill(given.password);
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}
