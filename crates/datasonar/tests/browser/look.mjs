// Every page, in both themes, for everybody: the automated accessibility check finds no serious violation, and nothing is wider than the screen at
// 360, 1,024 and 1,600 pixels. Pages are found by following links, one of each kind in each environment, and by sending the forms that answer with a page.
// With TEST_SCREENSHOTS=directory, a picture of each page at each width in each theme is written there; TEST_PAGES=regular expression looks at some only.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import axe from 'axe-core';
import { given, open, run, signIn } from './browser.mjs';

const WIDTHS = [360, 1024, 1600];
const directory = process.env.TEST_SCREENSHOTS;
const some = new RegExp(process.env.TEST_PAGES ?? '');
const found = [];
const looked = new Set();

/** A kind of page: ids and other values do not make another. */
const kind = (href) => {
  const url = new URL(href);
  const path = url.pathname.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'ID').replace(/frame\/.*/, 'frame');
  const query = [...url.searchParams].map(([name, value]) => (/^[a-z]{1,10}$/.test(value) ? `${name}=${value}` : name));
  return [path, ...query].join('?');
};

/** Follows links from a page: answers one address of each kind, in the order found. */
async function crawl(page, start) {
  const kinds = new Map([[kind(start), start]]);
  for (const [, href] of kinds) {
    const answer = await page.context().request.get(href);
    if (!answer.headers()['content-type']?.includes('text/html')) { kinds.set(kind(href), null); continue; }
    const texts = [...(await answer.text()).matchAll(/href="([^"]+)"/g)].map(([, text]) => text.replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(code)));
    const hrefs = texts.map((text) => new URL(text.split('#')[0], href).href);
    for (const next of hrefs) {
      const isPage = next.startsWith(new URL(start).origin + new URL(start).pathname) && !/\.jsonl?$|\/payload$|\/frame\//.test(next);
      if (isPage && !kinds.has(kind(next))) kinds.set(kind(next), next);
    }
  }
  return [...kinds.values()].filter(Boolean);
}

/** Looks at the page that is open, in a theme. */
async function look(page, name, theme) {
  if (!some.test(name)) return;
  looked.add(name);
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 });
    const wide = await page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= width) return [];
      const far = [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > width + 1);
      return far.slice(0, 5).map((element) => element.outerHTML.slice(0, 120));
    });
    if (wide.length) found.push(`${name} is wider than ${width} pixels: ${wide.join('\n    ')}`);
    if (directory) await page.screenshot({ path: `${directory}/${name}-${width}-${theme}.png`, fullPage: true, animations: 'disabled' });
    // All that can be opened is looked at, too.
    if (width === WIDTHS[theme === 'light' ? 1 : 0]) {
      await page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      for (const { id, impact, nodes } of violations) {
        const told = `${name}, ${theme}, ${width}: ${impact} ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.failureSummary.split('\n').slice(1, 2).join('').trim()})`).join('\n    ')}`;
        if (['serious', 'critical'].includes(impact)) found.push(told);
        else console.error(`less than serious: ${told}`);
      }
      await page.evaluate(() => document.querySelectorAll('details:not([id^=at],[id^=attempt])').forEach((details) => { details.open = false; }));
    }
  }
}

const name = (href) => kind(href).replace(/^\//, '').replace(/[^a-z0-9]+/gi, '_').replace(/_$/, '');

/** Pages that are the answers to forms. */
const answers = {
  key_made: async (page) => {
    await page.goto('/production/settings/keys');
    await page.getByLabel('Name').fill('a laptop');
    await page.getByRole('button', { name: 'Make a key' }).click();
    await page.locator('#key').waitFor();
  },
  secret_shown: async (page) => {
    await page.goto('/production/settings/webhooks');
    await page.getByRole('button', { name: 'Show' }).first().click();
    await page.locator('.secret code').waitFor();
  },
  link_made: async (page) => {
    await page.goto('/production/settings/members');
    await page.getByLabel('E-mail').fill('grace.hopper.with.a.long.name@department.example.org');
    await page.getByRole('button', { name: 'Make a link' }).click();
    await page.locator('#link').waitFor();
  },
  job_wrong: async (page) => {
    await page.goto('/production/jobs/new?kind=batch');
    await page.getByLabel('URLs, one a line').fill('not a URL');
    await page.getByRole('button', { name: 'Queue it' }).click();
    await page.getByRole('alert').waitFor();
  },
  schedule_wrong: async (page) => {
    await page.goto('/production/schedules/new');
    await page.getByLabel('Name').fill('Never');
    await page.getByLabel('Cron line').fill('99 99 * * *');
    await page.getByRole('button', { name: 'Make the schedule' }).click();
    await page.getByRole('alert').waitFor();
  },
  noticed: async (page) => {
    await page.goto('/production/schedules');
    await page.getByRole('main').getByRole('table').getByRole('link').first().click();
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByText('A run has started').waitFor();
  },
  menu_open: async (page) => {
    await page.goto('/production/jobs');
    await page.locator('details.menu summary').click();
  },
  nothing_here: async (page) => { await page.goto('/sandbox/jobs/00000000-0000-7000-8000-000000000000'); },
  no_page: async (page) => { await page.goto('/production/nowhere'); },
};

if (directory) mkdirSync(directory, { recursive: true });
await run(async (browser, wrong) => {
  const { context, page, refused } = await open(browser, wrong);
  await signIn(page, given.link, 'ada@example.com');
  const pages = new Map();
  for (const environment of ['production', 'sandbox']) {
    for (const href of await crawl(page, `${given.server}/${environment}`)) pages.set(name(href), href);
  }
  for (const [title, path] of Object.entries(given.pages)) pages.set(title, given.server + path);
  assert(pages.size > 30, `only ${[...pages.keys()]}`);

  for (const theme of ['light', 'dark']) {
    await context.addCookies([{ name: 'theme', value: theme, url: given.server }]);
    for (const [title, href] of [...pages].filter(([title]) => some.test(title))) {
      await page.goto(href);
      await look(page, title, theme);
    }
    for (const [title, act] of Object.entries(answers)) {
      const status = { job_wrong: 422, schedule_wrong: 422, nothing_here: 404, no_page: 404 }[title] ?? 200;
      await refused(status, async () => { await act(page); await look(page, title, theme); });
    }
    // Outside, where nobody is signed in.
    const outside = await open(browser, wrong, { colorScheme: theme });
    for (const [title, path, status] of [['sign_in', '/sign-in', 200], ['link', given.invitation, 200], ['link_used', given.link, 410], ['outside_nowhere', '/production/nowhere', 404], ['docs', '/docs', 200]]) {
      await outside.refused(status, async () => { await outside.page.goto(path); await look(outside.page, title, theme); });
    }
    await outside.context.close();
  }
  console.error(`${looked.size} pages were looked at in both themes`);
  assert.deepEqual(found, []);
});
