// A headless browser with a recording as its microphone, and the page of this folder.
//   node run.mjs chromium|firefox EXECUTABLE PAGE_ORIGIN URL KEY SCENARIO MICROPHONE.wav [RELAY]
// PAGE_ORIGIN is where this script serves the page, such as http://localhost:5173; the calls go to another origin.
// RELAY, a TURN server as JSON ({urls, username, credential}), is then the only way out of the browser.
import { build } from 'esbuild';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { launch } from '../browsers.mjs';

const [kind, executablePath, origin, url, apiKey, scenario, microphone, relay] = process.argv.slice(2);
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

const { browser, prepare, speak, loudest, close } = await launch(kind, executablePath, microphone);
let failure = null;
let result = {};
const console_ = [];
const context = await browser.newContext();
await prepare(context);
const onlyBy = JSON.parse(relay ?? 'null');
if (onlyBy) await context.addInitScript(relayed, onlyBy);
const page = await context.newPage();
try {
  page.on('console', (message) => console_.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => console_.push(`thrown: ${error}`));
  await page.goto(`${origin}/`);
  await page.waitForFunction(() => window.start !== undefined);
  if (scenario === 'websocket') {
    result = await page.evaluate((options) => window.overWebSocket(options), { apiKey, url });
  } else {
    const callId = await page.evaluate((options) => window.start(options), { apiKey, url });
    if (kind === 'firefox') await page.waitForFunction(async () => (await window.heard())?.seconds > 1); // its loudspeaker is on
    await speak();
    await page.evaluate((name) => window.scenarios[name](), scenario);
    result = { callId, heard: await page.evaluate(() => window.heard()), path: await page.evaluate(() => window.path()), loudest: loudest() };
  }
} catch (error) {
  failure = String(error.stack ?? error);
}
result = { ...(await page.evaluate(() => window.report?.() ?? {}).catch(() => ({}))), ...result };
console.log(JSON.stringify({ ...result, failure, console: console_.slice(-20), version: browser.version() }));
await page.evaluate(() => window.finish?.()).catch(() => {});
await close();
server.close();
process.exit(failure ? 1 : 0);

/** In the page: what an application does that knows a relay, `new RTCPeerConnection({ iceServers })`. */
function relayed(server) {
  const Direct = RTCPeerConnection;
  window.RTCPeerConnection = class extends Direct {
    constructor(options) {
      super({ ...options, iceServers: [server], iceTransportPolicy: 'relay' });
    }
  };
}
