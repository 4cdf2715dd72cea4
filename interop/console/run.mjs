// The server's console in a headless browser, with a recording as its microphone.
//   node run.mjs chromium|firefox EXECUTABLE ADDRESS SCENARIO MICROPHONE.wav FOLDER_FOR_PICTURES
// Prints one JSON object: what the scenario found, and on every page what no page may do.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { launch } from '../browsers.mjs';
import * as scenarios from './scenarios.mjs';

const [kind, executablePath, address, scenario, microphone, folder] = process.argv.slice(2);
const base = `http://${address}`;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const env = { ...process.env, FONTCONFIG_FILE: new URL('fonts.conf', import.meta.url).pathname };
const { browser, prepare, speak, loudest, close } = await launch(kind, executablePath, microphone, { env });
const complaints = [];

/** A page of the console, watched. */
async function open({ phone = false, dark = false, expected = [], calm = true } = {}) {
  const context = await browser.newContext({
    viewport: phone ? { width: 360, height: 740 } : { width: 1280, height: 800 },
    hasTouch: phone,
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: calm ? 'reduce' : 'no-preference',
    ...(kind === 'chromium' ? { permissions: ['microphone'] } : {}), // Firefox knows no such permission
    locale: 'en-GB',
  });
  await prepare(context);
  const page = await context.newPage();
  page.on('console', (message) => {
    const text = message.text();
    if (['error', 'warning'].includes(message.type()) && !expected.some((one) => text.includes(one))) complaints.push(`${message.type()}: ${text}`);
  });
  page.on('pageerror', (error) => complaints.push(`thrown: ${error.stack}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['blob:', 'data:'].includes(url.protocol) && url.origin !== base) complaints.push(`asked elsewhere: ${url}`);
  });
  await page.goto(`${base}/console/`);
  await page.locator('.pill', { hasText: /\w/ }).waitFor();
  return page;
}

/** What axe finds, and whether the page is too wide. */
async function check(page, where) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) complaints.push(`${where}: ${wide} px too wide`);
  await page.evaluate(AXE); // by the debugger: the page's policy lets no script in
  // What is fading in has less contrast than it will have.
  await page.waitForFunction(() => document.getAnimations().every((one) => one.effect.getComputedTiming().endTime === Infinity || one.playState === 'finished'));
  const { violations } = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags }), RULES);
  for (const { id, help, nodes } of violations) complaints.push(`${where}: ${id}: ${help}: ${nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ''}`).slice(0, 3).join('; ')}`);
}

/** A picture for the docs. In Firefox there are none: to take one, a style is put into the page, which its policy refuses. */
const shoot = async (page, name) => kind === 'chromium' && page.screenshot({ path: `${folder}/console-${name}.png` });

/** The name of the file that a button gives. Playwright hears of downloads in Chromium only. */
async function saved(page, button) {
  if (kind === 'chromium') {
    const download = page.waitForEvent('download');
    await button.click();
    return (await download).suggestedFilename();
  }
  await page.evaluate(() => {
    HTMLAnchorElement.prototype.click = function () {
      window.saved = this.download;
    };
  });
  await button.click();
  return (await page.waitForFunction(() => window.saved)).jsonValue();
}

let failure = null;
let found = {};
const pages = [];
const tools = {
  base, check, shoot, saved,
  open: async (options) => {
    pages.push(await open(options));
    return pages.at(-1);
  },
};
/** Chromium's microphone begins to speak when it is opened, Firefox's once it is listened to. */
async function speakInTime() {
  while (!closing && !(await pages.at(-1)?.locator('.phase', { hasText: 'Listening' }).isVisible().catch(() => false))) await pause(100);
  if (!closing) await speak();
}
let closing = false;
const speaking = speakInTime().catch((error) => complaints.push(`the microphone: ${error}`));
try {
  found = await scenarios[scenario](tools);
} catch (error) {
  failure = String(error.stack ?? error);
  for (const [index, page] of pages.entries()) await page.screenshot({ path: `${folder}/failed-${scenario}-${index}.png` }).catch(() => {});
}
closing = true;
await speaking;
console.log(JSON.stringify({ ...found, failure, loudest: loudest(), complaints, version: browser.version() }));
await close();
process.exit(failure ? 1 : 0);
