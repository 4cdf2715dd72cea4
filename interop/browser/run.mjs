// Headless Chromium with a recording as its microphone, and the page of this folder.
//   node run.mjs CHROMIUM PAGE_ORIGIN URL KEY SCENARIO MICROPHONE.wav
// PAGE_ORIGIN is where this script serves the page, such as http://localhost:5173; the calls go to another origin.
import { build } from 'esbuild';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [executablePath, origin, url, apiKey, scenario, microphone] = process.argv.slice(2);
const bundled = await build({
  entryPoints: [new URL('example.mjs', import.meta.url).pathname],
  bundle: true, format: 'esm', platform: 'browser', write: false, logLevel: 'error',
});
const files = {
  '/': ['text/html', readFileSync(new URL('index.html', import.meta.url), 'utf8')],
  '/example.js': ['text/javascript', bundled.outputFiles[0].text],
};
// A server as a developer has one; what a page may reach depends on where it came from.
const server = createServer((request, response) => {
  const [type, body] = files[request.url] ?? ['text/plain', ''];
  response.writeHead(files[request.url] ? 200 : 404, { 'Content-Type': type }).end(body);
});
await new Promise((resolve) => server.listen(new URL(origin).port, 'localhost', resolve));

const browser = await chromium.launch({
  executablePath,
  args: [
    '--use-fake-ui-for-media-stream',
    '--use-fake-device-for-media-stream',
    `--use-file-for-fake-audio-capture=${microphone}%noloop`,
    '--autoplay-policy=no-user-gesture-required',
    '--no-sandbox',
  ],
});
let failure = null;
let result = {};
const console_ = [];
const page = await browser.newPage();
try {
  page.on('console', (message) => console_.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => console_.push(`thrown: ${error}`));
  await page.goto(`${origin}/`);
  await page.waitForFunction(() => window.start !== undefined);
  if (scenario === 'websocket') {
    result = await page.evaluate((options) => window.overWebSocket(options), { apiKey, url });
  } else {
    const callId = await page.evaluate((options) => window.start(options), { apiKey, url });
    await page.evaluate((name) => window.scenarios[name](), scenario);
    result = { callId, heard: await page.evaluate(() => window.heard()) };
  }
} catch (error) {
  failure = String(error.stack ?? error);
}
result = { ...(await page.evaluate(() => window.report?.() ?? {}).catch(() => ({}))), ...result };
console.log(JSON.stringify({ ...result, failure, console: console_.slice(-20), version: browser.version() }));
await page.evaluate(() => window.finish?.()).catch(() => {});
await browser.close();
server.close();
process.exit(failure ? 1 : 0);
