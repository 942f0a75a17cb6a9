// The way of a new owner: from the first link to a callback that arrives in the end, and through the settings. With scripts and without: then the
// same forms do the same, and pages are loaded again to see what has changed.
import assert from 'node:assert/strict';
import { ask, given, open, run, signIn } from './browser.mjs';

const isScripted = given.scripts;

/** Waits for something to be on the page: with scripts it comes by itself, and the page is never loaded again. */
async function appears(page, locator) {
  if (!isScripted) {
    for (const end = Date.now() + 60_000; Date.now() < end && !(await locator.first().isVisible());) await page.reload();
    return assert(await locator.first().isVisible(), `${locator} does not come`);
  }
  await page.evaluate(() => { window.same = true; });
  await locator.first().waitFor({ timeout: 60_000 });
  assert(await page.evaluate(() => window.same), 'the page was loaded again');
}

/** Answers the question that comes before what cannot be undone. */
const agree = (page) => isScripted && page.once('dialog', (dialog) => dialog.accept());
const menu = (page, name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();
const tab = async (page, name) => {
  await menu(page, 'Settings');
  await page.getByRole('navigation', { name: 'Settings' }).getByRole('link', { name }).click();
};
const heading = (page, name) => page.getByRole('heading', { name, level: 1 }).waitFor();

await run(async (browser, wrong) => {
  const { page, refused } = await open(browser, wrong, { javaScriptEnabled: isScripted });

  // Nobody is let in; the first link lets the owner in.
  await page.goto('/production/jobs');
  await heading(page, 'Sign in');
  await signIn(page, given.link, 'ada@example.com');
  await page.getByRole('heading', { name: 'Welcome' }).waitFor();
  assert.match(page.url(), /\/production$/);

  // A key, shown this once, that the API takes.
  await page.getByRole('main').getByRole('link', { name: 'API keys' }).click();
  await page.getByLabel('Name').fill('laptop <b>');
  await page.getByRole('button', { name: 'Make a key' }).click();
  const key = await page.locator('#key').textContent();
  assert.match(key, /^osk_[0-9a-f]{48}$/);
  if (isScripted) {
    await page.locator('[data-copy=key]').click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
  }
  const me = () => fetch(`${given.server}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await me()).status, 200);
  await tab(page, 'API keys');
  assert.equal(await page.getByText(key).count(), 0);

  // A batch, by the form; what is wrong with it is said beside what was typed.
  await menu(page, 'Jobs');
  await page.getByRole('heading', { name: 'No jobs yet' }).waitFor();
  await page.getByRole('main').getByRole('link', { name: 'New job' }).first().click();
  await page.getByRole('link', { name: 'A list' }).click();
  await page.getByLabel('URLs, one a line').fill(given.urls.join('\n'));
  await page.getByLabel('Callback').fill('https://127.0.0.1.example:99999/');
  if (isScripted) {
    await page.locator('#call', { hasText: given.urls[0] }).waitFor();
  } else {
    await page.getByRole('button', { name: 'Show the call below' }).click();
    assert((await page.locator('#call').textContent()).includes(given.urls[0]));
  }
  await page.getByLabel('Callback').fill('http://unsafe.example/');
  await refused(422, async () => {
    await page.getByRole('button', { name: 'Queue it' }).click();
    await page.getByRole('alert').getByText('webhook_url').waitFor();
  });
  assert.equal((await page.getByLabel('URLs, one a line').inputValue()).split('\n').length, given.urls.length);
  await page.getByLabel('Callback').fill(given.endpoint);
  await page.getByRole('button', { name: 'Queue it' }).click();
  await page.getByText('Queued. You may leave this page').waitFor();
  const job = page.url();

  // It is seen to go on and to end, with its results.
  await appears(page, page.locator('#progress .badge.started'));
  await appears(page, page.locator('#progress .badge.completed'));
  await appears(page, page.getByText(`${given.urls.length} of ${given.urls.length}`));
  await appears(page, page.locator('details.result, #all-results details'));
  await page.locator('#all-results summary').first().click();
  await page.locator('#all-results details pre').first().waitFor();
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'JSON lines' }).click();
  assert.match((await download).suggestedFilename(), /^job-.*\.jsonl$/);

  // Its callback fails, and fails again, until it is given up.
  await appears(page, page.locator('#told-of .badge.failed, #told-of .badge.pending'));
  await page.locator('#told-of a .badge').click();
  await heading(page, /^Delivery/);
  await appears(page, page.locator('#head .badge.failed'));
  await page.getByText('answered 503').first().waitFor();
  assert.equal(await page.locator('#all-attempts details').count(), 5);
  await page.locator('#attempt-5').getByText('x-datasonar-signature').waitFor();
  await page.locator('#attempt-5').getByText('<script>throw').waitFor();
  await page.locator('#payload ~ pre', { hasText: '{"job_id":"' }).waitFor();
  const delivery = page.url();
  await menu(page, 'Overview');
  await page.getByRole('link', { name: /1 delivery was given up/ }).click();
  await heading(page, 'Dead letters');
  await page.locator('#groups .badge.failed', { hasText: '503' }).waitFor();
  await page.getByRole('link', { name: given.endpoint }).click();
  await page.getByRole('row').getByRole('button', { name: 'Replay' }).waitFor();
  await page.getByRole('link', { name: 'Replay all of this endpoint…' }).click();
  await page.getByText('1 delivery will be sent again').waitFor();

  // The endpoint is mended, and one click sends it again.
  await ask('mend');
  await page.goto(delivery);
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.getByText('Replayed: the same id').waitFor();
  await appears(page, page.locator('#head .badge.delivered'));
  await page.locator('#attempt-6').getByText('answered 200').waitFor();
  await menu(page, 'Dead letters');
  await page.getByText('Nothing waits for you').waitFor();
  await page.goto(job);
  await page.locator('#told-of .badge.delivered').waitFor();

  // A test event.
  await tab(page, 'Webhooks');
  await page.getByLabel('Endpoint (https)').fill(given.endpoint);
  await page.getByRole('button', { name: 'Send a test event' }).click();
  await page.getByText('Your endpoint answered 200').waitFor();

  // The secret is hidden until it is asked for; its successor signs beside it for a day, which is counted down.
  await tab(page, 'Webhooks');
  assert.equal(await page.getByText(/whsec_\S{10}/).count(), 0);
  await page.getByRole('button', { name: 'Show' }).click();
  const secret = await page.locator('.secret code').textContent();
  assert.match(secret, /^whsec_\S{20,}$/);
  await page.getByRole('link', { name: 'Hide' }).click();
  agree(page);
  await page.getByRole('button', { name: 'Rotate the secret' }).click();
  await page.getByText('A new secret signs from now on').waitFor();
  const left = page.locator('time[data-countdown]');
  const before = await left.textContent();
  assert.match(before, /^23 h 59 min \d\d s$/);
  if (isScripted) await left.filter({ hasNotText: before }).waitFor();
  await page.getByRole('button', { name: 'Show' }).first().click();
  assert.notEqual(await page.locator('.secret code').textContent(), secret);
  await page.getByRole('navigation', { name: 'Language' }).getByRole('link', { name: 'Go' }).click();
  await page.locator('#sample', { hasText: 'func VerifySignature' }).waitFor();

  // A schedule: read in plain words while it is typed, edited, run and paused.
  await menu(page, 'Schedules');
  await page.getByRole('main').getByRole('link', { name: 'New schedule' }).first().click();
  await page.getByLabel('Name').fill('Nightly');
  await page.getByLabel('Cron line').fill('15 4 * * 1');
  if (!isScripted) await page.getByRole('button', { name: 'When would it run?' }).click();
  await page.locator('#reading', { hasText: '04:15' }).waitFor();
  assert.equal(await page.locator('#times li').count(), 5);
  await page.getByLabel('Job:').fill(JSON.stringify({ kind: 'scrape', url: given.urls[0] }));
  await page.getByRole('button', { name: 'Make the schedule' }).click();
  await heading(page, 'Nightly');
  await page.getByLabel('Cron line').fill('30 2 * * *');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  await page.locator('#times', { hasText: '02:30' }).waitFor();
  await page.getByRole('button', { name: 'Run now' }).click();
  await page.getByRole('row').getByText('by hand').waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText('The schedule rests.').waitFor();
  await page.locator('.head .badge.paused').waitFor();

  // A colleague comes in by a link, and may not do what owners may.
  await tab(page, 'Members');
  await page.getByLabel('E-mail').fill('bob@example.com');
  await page.getByRole('button', { name: 'Make a link' }).click();
  const link = await page.locator('#link').textContent();
  const bob = await open(browser, wrong, { javaScriptEnabled: isScripted });
  await signIn(bob.page, link, 'bob@example.com');
  await tab(bob.page, 'Webhooks');
  await bob.page.getByText('Only owners rotate secrets.').waitFor();
  assert.equal(await bob.page.getByRole('button', { name: 'Rotate the secret' }).count(), 0);

  // The other environment looks different, and has nothing of this one.
  await page.getByRole('navigation', { name: 'Environment' }).getByRole('link', { name: 'Sandbox' }).click();
  await page.getByText('Sandbox: trials only.').waitFor();
  await menu(page, 'Jobs');
  await page.getByRole('heading', { name: 'No jobs yet' }).waitFor();
  await refused(404, async () => {
    await page.goto(job.replace('/production/', '/sandbox/'));
    await heading(page, 'Nothing here');
  });
  await page.getByText('Sandbox: trials only.').waitFor();

  // The theme is kept.
  await menu(page, 'Overview');
  await page.locator('details.menu summary').click();
  const kept = page.waitForResponse((answer) => new URL(answer.url()).pathname === '/theme');
  await page.getByLabel('Theme').selectOption('dark');
  if (!isScripted) await page.getByRole('button', { name: 'Set' }).click();
  await kept;
  await page.goto('/production');
  await page.locator('html[data-theme=dark]').waitFor();

  // Signed out everywhere, here and in another browser.
  const other = await open(browser, wrong, { javaScriptEnabled: isScripted });
  await other.page.goto('/sign-in');
  await refusedSignIn(other);
  await other.page.getByLabel('E-mail').fill('ada@example.com');
  await other.page.getByLabel('Password').fill(given.password);
  await other.page.getByRole('button', { name: 'Sign in' }).click();
  await heading(other.page, 'Overview');
  await tab(page, 'Profile');
  assert.equal(await page.getByText('another browser').count(), 1);
  agree(page);
  await page.getByRole('button', { name: 'Sign out everywhere', exact: true }).click();
  await heading(page, 'Sign in');
  await other.page.reload();
  await heading(other.page, 'Sign in');
  await bob.page.reload();
  await heading(bob.page, 'Webhooks');
});

/** A wrong password is refused, without saying which part of it was wrong. */
async function refusedSignIn({ page, refused }) {
  await page.getByLabel('E-mail').fill('ada@example.com');
  await page.getByLabel('Password').fill('not the password');
  await refused(422, async () => {
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('The e-mail address or the password is wrong.').waitFor();
  });
}
