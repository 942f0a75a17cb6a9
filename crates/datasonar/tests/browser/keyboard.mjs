// By keyboard alone: signing in, reaching everything from the top of a page in order, seeing where one is, and making a key.
import assert from 'node:assert/strict';
import { given, open, run } from './browser.mjs';

/** What has the focus: its name, whether one can see that it has, and whether it is on the screen. */
const focus = (page) => page.evaluate(() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  const isSeen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  const isThere = box.width > 1 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  const label = element.labels?.[0]?.textContent ?? element.getAttribute('aria-label') ?? element.textContent;
  return { name: label.trim().replace(/\s+/g, ' '), tag: element.tagName, isSeen, isThere };
});

/** Goes on until something has the focus; everything on the way must be seen to have it. */
async function reach(page, name, most = 60) {
  const passed = [];
  for (let step = 0; step < most; step += 1) {
    await page.keyboard.press('Tab');
    const at = await focus(page);
    if (at.tag === 'BODY') continue;
    assert(at.isSeen, `${page.url()}: one does not see that ${at.tag} "${at.name}" has the focus`);
    assert(at.isThere, `${page.url()}: ${at.tag} "${at.name}" has the focus out of sight`);
    passed.push(at.name);
    if (at.name === name || (name instanceof RegExp && name.test(at.name))) return passed;
  }
  throw new Error(`${name} is not reached; only ${passed.join(', ')}`);
}

await run(async (browser, wrong) => {
  const { page } = await open(browser, wrong, { viewport: { width: 1024, height: 700 } });
  await page.goto(given.link);
  // The first field has the focus.
  assert.equal((await focus(page)).name, 'E-mail');
  await page.keyboard.type('ada@example.com');
  await page.keyboard.press('Tab');
  await page.keyboard.type(given.password);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();

  // The first stop leads past everything that is on every page.
  await page.keyboard.press('Tab');
  assert.deepEqual(await focus(page), { name: 'Skip to content', tag: 'A', isSeen: true, isThere: true });
  await page.keyboard.press('Enter');
  assert.equal((await focus(page)).tag, 'MAIN');
  await reach(page, 'New job', 1);

  // From the top: environment, menu, navigation, in the order in which they are seen.
  await page.reload();
  const passed = await reach(page, /^Account menu/);
  assert.deepEqual(passed.slice(0, 4), ['Skip to content', 'Datasonar', 'Production', 'Sandbox']);
  await page.keyboard.press('Enter');
  await reach(page, 'Password and sessions', 1);
  await page.keyboard.press('Escape');
  assert.match((await focus(page)).name, /^Account menu/);
  assert.equal(await page.locator('details.menu[open]').count(), 0);
  const places = await reach(page, 'Settings');
  assert.deepEqual(places, ['Overview', 'Jobs', 'Deliveries', 'Dead letters', 'Schedules', 'Settings']);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Webhooks' }).waitFor();
  await reach(page, 'API keys');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'API keys' }).waitFor();
  await reach(page, 'Name');
  await page.keyboard.type('by hand');
  await page.keyboard.press('Enter');
  await page.locator('#key').waitFor();

  // Every stop of every page is seen, on a narrow screen too.
  for (const width of [1024, 360]) {
    await page.setViewportSize({ width, height: 700 });
    for (const path of ['', '/jobs', '/jobs/new?kind=crawl', '/deliveries', '/dead-letters', '/schedules', '/schedules/new', '/settings/members', '/settings/webhooks', '/settings/profile']) {
      await page.goto(`/production${path}`);
      const count = await page.locator('a:visible, button:visible:enabled, input:visible, select:visible, textarea:visible, summary:visible, [tabindex="0"]:visible').count();
      const seen = await everyStop(page);
      assert(seen >= count - 1, `${path} at ${width}: ${seen} of ${count} are reached`);
    }
  }
});

/** Goes through all stops of a page and answers how many there are. */
async function everyStop(page) {
  let count = 0;
  for (;;) {
    await page.keyboard.press('Tab');
    const at = await focus(page);
    if (at.tag === 'BODY') return count;
    assert(at.isSeen && at.isThere, `${page.url()}: ${JSON.stringify(at)}`);
    count += 1;
    assert(count < 200, `${page.url()} has no end`);
  }
}
