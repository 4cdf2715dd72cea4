// What is done with the console. Each scenario returns what it found; the tests say what that has to be.

const LONG = { timeout: 40_000 };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const begin = (page, name = 'Talk') => page.locator('.start').getByRole('button', { name, exact: true }).click();
const listening = (page) => page.locator('.phase', { hasText: /Listening|Ready/ }).waitFor(LONG);
const turn = (page, text) => page.locator('.turn', { has: page.locator('.line.you', { hasText: text }) });
const go = (page, name) => page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name }).click();

/** All turns as they stand on the page. */
const turns = (page) =>
  page.locator('.talk .turn').evaluateAll((all) =>
    all.map((one) => {
      const text = (selector) => one.querySelector(selector)?.textContent ?? null;
      return {
        user: text('.line.you .said'),
        heard: [...one.querySelectorAll('.line.them .heard')].map((piece) => piece.textContent).join(''),
        coming: text('.line.them .coming'),
        unheard: text('.line.them .unheard')?.replace(/^ \(not heard:\) /, '') ?? null,
        cut: text('.note.cut'),
        took: text('.took'),
        calls: [...one.querySelectorAll('.call')].map((call) => call.textContent),
        approvals: [...one.querySelectorAll('.approval')].map((approval) => approval.textContent),
      };
    }),
  );

/** The steps of a turn's waterfall, as told to a screen reader. */
async function steps(page, one) {
  const fall = one.locator('.fall');
  if ((await fall.getAttribute('aria-expanded')) === 'false') await fall.click();
  return one.locator('.falls tr').evaluateAll((rows) => rows.map((row) => [...row.querySelectorAll('th, td:not(.track)')].map((cell) => cell.textContent)));
}

/** Spoken turns, a tool, an interruption and an approval, all by the microphone. */
export async function conversation({ open, check, shoot }) {
  const page = await open();
  await page.evaluate(() => {
    window.loudest = [0, 0];
    const meters = [...document.querySelectorAll('.voice .meter')];
    const look = () => meters.forEach((one, index) => (window.loudest[index] = Math.max(window.loudest[index], Number(one.getAttribute('aria-valuenow')))));
    meters.forEach((one) => new MutationObserver(look).observe(one, { attributes: true }));
  });
  await begin(page);
  await turn(page, 'What time is it?').locator('.heard', { hasText: 'It is noon.' }).waitFor(LONG);
  const weather = turn(page, 'What is the weather in Oslo?').first();
  await weather.locator('.call', { hasText: 'was called' }).waitFor(LONG);
  const story = turn(page, 'Tell me a long story.').first();
  await story.locator('.heard').first().waitFor(LONG);
  const live = await page.locator('.beside .falls tr').count();
  await story.locator('.unheard').waitFor(LONG);
  await turn(page, 'What time is it?').last().locator('.fall').waitFor(LONG);
  await page.getByRole('article', { name: /Waiting for a yes/ }).waitFor(LONG);
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
  await pause(400);
  await shoot(page, 'approval');
  await check(page, 'talk, with a question');
  await page.getByRole('button', { name: 'Grant' }).click();
  const account = turn(page, 'Delete my account.').first();
  await account.locator('.heard', { hasText: 'The account is gone' }).waitFor(LONG);
  await account.locator('.approval', { hasText: 'Granted' }).waitFor(LONG);
  await page.locator('.phase', { hasText: 'Listening' }).waitFor(LONG);
  const waterfall = await steps(page, turn(page, 'What time is it?').first());
  const all = await turns(page);
  const captions = await page.locator('#live p').allTextContents();
  const alerts = await page.locator('#alert p').allTextContents();
  const loudest = await page.evaluate(() => window.loudest);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.getByRole('heading', { name: 'The conversation is over' }).waitFor();
  await check(page, 'talk, over');
  return { turns: all, waterfall, live, captions, alerts, meters: loudest };
}

/** What was kept of it: found by words, read, and heard again; what was decided; how the server is. */
export async function afterwards({ open, check, shoot, saved }) {
  const page = await open();
  await go(page, 'Conversations');
  await page.locator('.sessions a').first().waitFor(LONG);
  await page.getByRole('searchbox', { name: 'Search' }).fill('oslo sky');
  await page.getByText(/conversations? with “oslo sky”/).waitFor();
  const hits = await page.locator('.sessions .hit').allTextContents();
  const marks = await page.locator('.sessions mark').allTextContents();
  await page.locator('.sessions a').first().click();
  const detail = page.locator('.detail');
  await detail.locator('.unheard').waitFor(LONG);
  const audio = detail.locator('audio');
  await audio.waitFor(LONG);
  await detail.getByRole('button', { name: /^Play from/ }).nth(1).click();
  await page.waitForFunction(() => document.querySelector('audio').currentTime > 0.5 && !document.querySelector('audio').paused, undefined, LONG);
  const playing = await detail.locator('.turn.playing .line.you').innerText();
  const seconds = await audio.evaluate((one) => one.duration);
  await audio.evaluate((one) => one.pause());
  await page.evaluate(() => scrollTo(0, 0));
  await shoot(page, 'conversations');
  await check(page, 'conversations');
  const file = await saved(page, detail.getByRole('button', { name: 'Text' }));
  await page.getByRole('searchbox', { name: 'Search' }).fill('zebra');
  await page.getByRole('heading', { name: 'Nothing was found' }).waitFor();
  await check(page, 'conversations, nothing found');
  await go(page, 'Approvals');
  const decided = page.locator('.cards .approval', { hasText: 'Granted by console' }).first();
  await decided.waitFor(LONG);
  await check(page, 'approvals');
  await go(page, 'Server');
  await page.locator('.engine').nth(4).waitFor(LONG);
  await page.getByText('conversations', { exact: true }).waitFor(LONG);
  await check(page, 'server');
  return { hits, marks, playing, seconds, file, engines: await page.locator('.engine h3').allTextContents(), figures: await page.locator('.tiles dt').allTextContents() };
}

/** Everything by the keyboard; single keys, focus that is seen, and a conversation that is typed. */
export async function keyboard({ open, check }) {
  const page = await open();
  const focused = () =>
    page.evaluate(() => {
      const one = document.activeElement;
      const shown = one.matches('input[type=radio]') ? one.nextElementSibling : one;
      const style = getComputedStyle(shown);
      return { name: one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent ?? one.textContent.trim(), seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
    });
  const stops = [];
  for (let at = 0; at < 14; at += 1) {
    await page.keyboard.press('Tab');
    stops.push(await focused());
    if (stops.at(-1).name.startsWith('Type instead')) break;
  }
  await page.keyboard.press('Enter');
  await page.locator('.phase', { hasText: 'Ready' }).waitFor(LONG);
  await page.locator('body').press('t');
  await page.keyboard.type('Tell me a long story.');
  await page.keyboard.press('Enter');
  const story = turn(page, 'Tell me a long story.').first();
  await story.locator('.line.them .heard').first().waitFor(LONG);
  await pause(1200);
  await page.keyboard.press('Escape'); // leaves the field
  await page.keyboard.press('Escape'); // stops the reply
  await story.locator('.unheard').waitFor(LONG);
  await page.keyboard.press('t');
  await page.keyboard.type('What time is it?');
  await page.keyboard.press('Enter');
  await turn(page, 'What time is it?').locator('.heard', { hasText: 'It is noon.' }).waitFor(LONG);
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  const dialog = page.getByRole('dialog', { name: 'Signs, keys and captions' });
  await dialog.waitFor();
  await check(page, 'the dialog');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  const all = await turns(page);
  await page.keyboard.press('c');
  await page.getByRole('heading', { name: 'The conversation is over' }).waitFor();
  const titles = [];
  for (const key of ['2', '3', '4', '1']) {
    await page.keyboard.press(key);
    await pause(150);
    titles.push(await page.title());
  }
  await page.keyboard.press('2');
  await page.locator('.sessions a').first().waitFor(LONG);
  await page.keyboard.press('/');
  await page.keyboard.type('story');
  await page.getByText(/with “story”/).waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.locator('.detail .turn').first().waitFor(LONG);
  return { stops, turns: all, titles };
}

/** Push to talk: what is said while the key is held is a turn, and nothing else is. */
export async function push({ open, check }) {
  const page = await open();
  await page.getByRole('radio', { name: 'Push to talk' }).check();
  await begin(page);
  await listening(page);
  await pause(2600); // a question goes by unheard
  const before = (await turns(page)).length;
  await page.locator('body').press('Shift'); // the focus is on nothing that takes the space bar
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.down(' ');
  await page.locator('.hold.on').waitFor();
  await check(page, 'talk, pushed');
  await pause(2200);
  await page.keyboard.up(' ');
  const first = page.locator('.turn .heard', { hasText: 'It is noon.' }).first();
  await first.waitFor(LONG);
  const all = await turns(page);
  await page.getByRole('button', { name: 'Push to talk' }).click();
  await page.getByRole('button', { name: 'Hands-free' }).waitFor();
  return { before, turns: all };
}

/** What is too small for a finger: less than 44 pixels either way. */
const small = (page) =>
  page.evaluate(() => {
    const touched = 'main button, main summary, main input:not([type=radio]), main select, .switch label, nav a, .tools button, .sessions a, .back';
    const shown = [...document.querySelectorAll(touched)].filter((one) => one.checkVisibility());
    return shown.map((one) => [one, one.getBoundingClientRect()]).filter(([, { width, height }]) => Math.min(width, height) < 43.5).map(([one, { width, height }]) => `${one.className} ${one.textContent.slice(0, 20)}: ${width}x${height}`);
  });

/** A phone's screen, light and dark, page by page. */
export async function phone({ open, check, shoot, kind }) {
  const tiny = [];
  const measure = async (page) => kind === 'chromium' && tiny.push(...(await small(page))); // Firefox does not play a finger
  for (const dark of [false, true]) {
    const page = await open({ phone: true, dark });
    const name = dark ? 'dark' : 'light';
    await check(page, `phone, ${name}, start`);
    await measure(page);
    await begin(page, 'Type instead');
    await listening(page);
    for (const said of ['What is the weather in Oslo?', 'Tell me a long story.']) {
      await page.getByRole('textbox').fill(said);
      await page.getByRole('button', { name: 'Send' }).click();
      await turn(page, said).locator('.heard').first().waitFor(LONG);
    }
    await pause(1000);
    await page.getByRole('button', { name: 'Stop the reply' }).click();
    await turn(page, 'Tell me a long story.').locator('.unheard').waitFor(LONG);
    await page.evaluate(() => document.activeElement.blur());
    await page.getByRole('textbox').fill('Delete my account.');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByRole('button', { name: 'Refuse' }).waitFor(LONG);
    await page.evaluate(() => document.activeElement.blur());
    await pause(300);
    await check(page, `phone, ${name}, talk`);
    await measure(page);
    if (dark) await shoot(page, 'phone-talk');
    await page.getByRole('button', { name: 'Refuse' }).click();
    await page.locator('.approval', { hasText: 'Refused by console' }).waitFor(LONG);
    await page.getByRole('button', { name: 'End', exact: true }).click();
    for (const tab of ['Conversations', 'Approvals', 'Server']) {
      await go(page, tab);
      await pause(700);
      await check(page, `phone, ${name}, ${tab}`);
      await measure(page);
    }
    await go(page, 'Conversations');
    await page.locator('.sessions a').first().click();
    await page.locator('.detail .turn').first().waitFor(LONG);
    await pause(500);
    await check(page, `phone, ${name}, a conversation`);
    await measure(page);
    for (const tab of ['Conversations', 'Approvals', 'Server', 'Talk']) {
      await page.setViewportSize({ width: 320, height: 600 });
      await go(page, tab);
      await pause(300);
      await check(page, `320 px, ${name}, ${tab}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await go(page, 'Conversations');
    await page.locator('.sessions a').first().click();
    await page.getByRole('link', { name: 'All conversations' }).click();
    await page.locator('.sessions a').first().waitFor();
    await page.context().close();
  }
  return { small: [...new Set(tiny)] };
}

/** No microphone, no server, no room: each is said, and the way on is offered. */
export async function states({ open, check, base }) {
  const found = {};
  const heading = async (page) => (await page.locator('.start h2').innerText()).trim();
  const page = await open({ expected: ['ERR_FAILED', '503', 'Failed to load'] });
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  });
  await begin(page);
  await page.getByRole('heading', { name: 'No microphone' }).waitFor();
  found.denied = await page.locator('.start > p').first().innerText();
  await check(page, 'no microphone');
  await begin(page, 'Type instead');
  await listening(page);
  found.typed = await page.locator('.turns').getAttribute('data-empty');

  const other = await open({ expected: ['503', 'Failed to load'] });
  await other.getByRole('heading', { name: 'All lines are taken' }).waitFor(LONG);
  await begin(other);
  await other.getByRole('button', { name: 'Try again' }).waitFor(LONG);
  found.full = await heading(other);
  found.wait = await other.locator('.start > p').first().innerText();
  await check(other, 'full');
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await pause(500);
  await begin(other, 'Try again');
  await listening(other);
  await other.getByRole('button', { name: 'End', exact: true }).click();

  await page.reload();
  await page.evaluate(() => {
    const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await getUserMedia(wanted);
      const [track] = stream.getAudioTracks();
      const listen = track.addEventListener.bind(track);
      track.addEventListener = (type, listener) => {
        listen(type, listener);
        if (type === 'ended') window.pullOut = listener; // Firefox dispatches no such event that a script made
      };
      return stream;
    };
  });
  await begin(page);
  await listening(page);
  await page.evaluate(() => window.pullOut());
  await page.getByRole('button', { name: 'Use a microphone' }).click();
  await page.getByRole('button', { name: 'Mute' }).waitFor(LONG);
  found.gone = await page.locator('.toast').innerText();
  await page.getByRole('textbox').fill('What time is it?');
  await page.keyboard.press('Enter');
  await page.locator('.heard', { hasText: 'It is noon.' }).waitFor(LONG);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.getByRole('heading', { name: 'The conversation is over' }).waitFor();

  await page.route(`${base}/v1/**`, (route) => route.abort());
  await page.getByRole('button', { name: 'Look now' }).waitFor({ timeout: 20_000 });
  found.away = await heading(page);
  await check(page, 'away');
  await page.getByRole('button', { name: 'Look now' }).click();
  await page.unroute(`${base}/v1/**`);
  await page.locator('.pill', { hasText: 'Ready' }).waitFor(LONG);
  return found;
}

/** A server with keys: the page asks, keeps the key in this tab, and says what it is not for. */
export async function keys({ open, check }) {
  const page = await open({ expected: ['401', '403', 'Failed to load'] });
  await page.getByRole('button', { name: 'Enter the key' }).click();
  const dialog = page.getByRole('dialog', { name: 'Key of this server' });
  await check(page, 'the key');
  await dialog.getByLabel('API key').fill(process.env.CONSOLE_KEY);
  await page.keyboard.press('Enter');
  await page.locator('.pill', { hasText: 'Ready' }).waitFor(LONG);
  await begin(page, 'Type instead');
  await listening(page);
  await page.getByRole('textbox').fill('What time is it?');
  await page.keyboard.press('Enter');
  await page.locator('.heard', { hasText: 'It is noon.' }).waitFor(LONG);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await go(page, 'Approvals');
  await page.getByRole('heading', { name: 'This key is not for approvals' }).waitFor(LONG);
  const kept = await page.evaluate(() => [localStorage, sessionStorage].map((store) => JSON.stringify({ ...store })));
  return { local: kept[0], session: kept[1], url: page.url() };
}

/** One spoken turn on real engines, and how they stand. */
export async function real({ open, check, shoot }) {
  const page = await open();
  await begin(page);
  await page.locator('.turn .line.them .heard').first().waitFor({ timeout: 60_000 });
  await page.locator('.talk .turn .fall').first().waitFor(LONG);
  await page.locator('.phase', { hasText: 'Listening' }).waitFor({ timeout: 60_000 });
  const waterfall = await steps(page, page.locator('.talk .turn').first());
  await shoot(page, 'waterfall');
  await page.locator('.talk .turn .fall').first().click();
  await page.getByRole('textbox').fill('Tell me a story about a lighthouse.');
  await page.keyboard.press('Enter');
  const story = turn(page, 'lighthouse').last();
  await page.locator('.phase', { hasText: 'Speaking' }).waitFor({ timeout: 60_000 });
  await page.waitForFunction(() => document.querySelectorAll('.voice .meter')[1].getAttribute('aria-valuenow') > 40, undefined, LONG);
  await pause(2500); // a picture of some words that were heard, and of some that were not
  await page.keyboard.press('Escape'); // leaves the field
  await page.keyboard.press('Escape'); // stops the reply
  await story.locator('.unheard').waitFor(LONG);
  await page.locator('.phase', { hasText: /Listening|Ready/ }).waitFor(LONG);
  await shoot(page, 'interrupted');
  const all = await turns(page);
  await go(page, 'Server');
  await page.getByText('conversations', { exact: true }).waitFor(LONG);
  await pause(300);
  await shoot(page, 'server');
  await check(page, 'server, real engines');
  return { turns: all, waterfall };
}

/** A connection that breaks comes back by itself, a reload forgets nothing, and the assistant knows what was said. */
export async function regained({ open, check, base, shoot }) {
  const page = await open({ expected: ['404', 'Failed to load'] });
  page.on('dialog', (dialog) => dialog.accept());
  const watch = () =>
    page.evaluate(() => {
      const Real = RTCPeerConnection;
      window.RTCPeerConnection = function (...options) {
        return (window.connection = new Real(...options));
      };
    });
  const snap = () =>
    page.evaluate(() => {
      Object.defineProperty(window.connection, 'connectionState', { get: () => 'failed' });
      window.connection.dispatchEvent(new Event('connectionstatechange'));
    });
  const ask = async (text, answer) => {
    await page.getByRole('textbox').fill(text);
    await page.keyboard.press('Enter');
    await turn(page, text).last().locator('.heard', { hasText: answer }).waitFor(LONG);
  };
  await watch();
  await begin(page, 'Type instead');
  await listening(page);
  await ask('What time is it?', 'It is noon.');
  await snap();
  await page.locator('#alert p', { hasText: 'Connected again.' }).waitFor(LONG);
  await ask('What did I say first?', 'You said: What time is it?');
  const seam = await page.locator('.seam').innerText();
  await check(page, 'regained');

  await page.reload();
  await page.getByRole('heading', { name: 'Go on where you were?' }).waitFor(LONG);
  await check(page, 'reloaded');
  await watch();
  await begin(page, 'Type instead');
  await listening(page);
  await ask('What did I say first?', 'You said: What time is it?');
  const kept = (await turns(page)).map(({ heard }) => heard);

  await page.route(`${base}/v1/realtime/calls`, (route) => route.fulfill({ status: 404, json: { error: { message: 'not any more' } } }));
  await snap();
  await page.getByRole('heading', { name: 'The connection broke' }).waitFor(LONG);
  await check(page, 'lost');
  await page.unroute(`${base}/v1/realtime/calls`);
  await begin(page, 'New conversation');
  await listening(page);
  const anew = (await turns(page)).length;
  await page.getByRole('button', { name: 'End', exact: true }).click();
  return { seam, kept, anew };
}

/** After its end a conversation goes on where it was, by the microphone, too. */
export async function resumed({ open }) {
  const page = await open();
  const ask = async (text, answer) => {
    await page.getByRole('textbox').fill(text);
    await page.keyboard.press('Enter');
    await turn(page, text).last().locator('.heard', { hasText: answer }).waitFor(LONG);
  };
  await begin(page, 'Type instead');
  await listening(page);
  await ask('What time is it?', 'It is noon.');
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.getByRole('heading', { name: 'The conversation is over' }).waitFor();
  await begin(page, 'Go on');
  await listening(page);
  await ask('What did I say first?', 'You said: What time is it?');
  const seams = await page.locator('.seam').allInnerTexts();
  const heard = (await turns(page)).map((one) => one.heard);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  return { seams, heard };
}

/** However a microphone is asked for in the middle of a conversation, none stays on that is not heard. */
export async function microphones({ open }) {
  const page = await open();
  await page.evaluate(() => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    Object.assign(window, { tracks: [], held: [], holds: 'microphone' });
    const hold = () => new Promise((goOn) => window.held.push(goOn));
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await ask(wanted);
      window.tracks.push(...stream.getTracks());
      if (window.holds === 'microphone') await hold();
      return stream;
    };
    const replace = RTCRtpSender.prototype.replaceTrack;
    RTCRtpSender.prototype.replaceTrack = async function (track) {
      if (window.holds === 'connection') await hold();
      if (window.holds === 'nothing, and it fails') throw new DOMException('no', 'InvalidModificationError');
      return replace.call(this, track);
    };
  });
  const holds = (what) => page.evaluate((one) => (window.holds = one), what);
  const held = (many) => page.waitForFunction((least) => window.held.length >= least, many, LONG);
  const letGo = () => page.evaluate(() => window.held.splice(0).forEach((goOn) => goOn()));
  const on = () => page.evaluate(() => window.tracks.filter((track) => track.readyState === 'live').length);
  const use = () => page.getByRole('button', { name: 'Use a microphone' }).click();
  const type = async () => {
    await begin(page, 'Type instead');
    await listening(page);
  };
  const end = () => page.getByRole('button', { name: 'End', exact: true }).click();
  const found = {};
  await type();
  await use();
  await use();
  await held(2);
  await letGo();
  await page.getByRole('button', { name: 'Mute' }).waitFor(LONG);
  found.twice = await on();
  await end();
  found.ended = await on();

  for (const what of ['microphone', 'connection']) {
    await holds(what);
    await type();
    await use();
    await held(1);
    await end();
    await letGo();
    await pause(300);
    found[what] = await on();
  }

  await holds('nothing, and it fails');
  await type();
  await use();
  await page.locator('.toast', { hasText: 'could not be put into the conversation' }).waitFor(LONG);
  found.failed = await on();
  await holds('nothing');
  await use();
  await page.getByRole('button', { name: 'Mute' }).waitFor(LONG);
  found.again = await on();
  await end();
  return found;
}

/** A call whose connection broke is hung up with the conversation, and with the page: it holds a place. */
export async function hungUp({ open, base }) {
  const page = await open({ expected: ['503', 'ERR_FAILED', 'Failed to load'] });
  await page.evaluate(() => {
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = function (...options) {
      return (window.connection = new Real(...options));
    };
  });
  const calls = `${base}/v1/realtime/calls`;
  const taken = [];
  const ended = [];
  page.on('response', (response) => response.url() === calls && response.ok() && taken.push(response.headers().location.split('/').pop()));
  page.on('request', (request) => request.url().endsWith('/hangup') && ended.push(request.url().split('/').at(-2)));
  const snap = () =>
    page.evaluate(() => {
      Object.defineProperty(window.connection, 'connectionState', { get: () => 'failed' });
      window.connection.dispatchEvent(new Event('connectionstatechange'));
    });
  const end = () => page.getByRole('button', { name: 'End', exact: true }).click();
  const over = () => page.getByRole('heading', { name: 'The conversation is over' }).waitFor();
  const type = async () => {
    await begin(page, 'Type instead');
    await listening(page);
  };
  await type();
  await end();
  await over();
  await pause(300);
  const whole = [...ended]; // one that says goodbye needs nothing else

  await type();
  await page.route(`${calls}/*/hangup`, (route) => route.abort()); // not reached before the first try, either
  await page.route(calls, (route) => route.fulfill({ status: 503, headers: { 'Retry-After': '15' }, json: { error: { code: 'full', message: 'full' } } }));
  await snap();
  await page.locator('.hint', { hasText: /Trying again in 1\d s/ }).waitFor(LONG);
  await page.unroute(`${calls}/*/hangup`);
  ended.length = 0;
  await end();
  await over();
  await pause(300);
  const byEnd = [...ended];

  await page.unroute(calls);
  await type();
  ended.length = 0;
  await page.evaluate(() => {
    Object.defineProperty(window.connection, 'connectionState', { get: () => 'failed' });
    window.connection.dispatchEvent(new Event('connectionstatechange'));
    dispatchEvent(new Event('pagehide'));
  });
  await pause(300);
  const byLeaving = [...ended];
  await end();
  return { taken, whole, byEnd, byLeaving };
}

/** A server that refuses is not one that is gone: the page says why, and asks less often. */
export async function refused({ open, check, base }) {
  const page = await open({ expected: ['401', '429', '503', 'Failed to load'] });
  await page.locator('.pill', { hasText: 'Ready' }).waitFor(LONG);
  let asked = [];
  let answer = null;
  const refuse = (status, code, message, wait) => (answer = { status, headers: wait ? { 'Retry-After': String(wait) } : {}, json: { error: { code, message } } });
  const watched = (url) => /^\/(v1\/|metrics)/.test(url.pathname);
  await page.route(watched, (route) => {
    asked.push(new URL(route.request().url()).pathname);
    return route.fulfill(answer);
  });
  const pill = (name) => page.locator('.pill', { hasText: name }).waitFor(LONG);
  const silence = async () => {
    await pause(500); // what was under way
    asked = [];
    await pause(9000);
    return [...asked];
  };
  const found = {};
  refuse(429, 'rate_limit_exceeded', 'this key may send 60 requests a minute; try again in 13.0 s', 13);
  await go(page, 'Server');
  await pill('Limited');
  found.whileLimited = await silence();
  found.limited = [await page.locator('.lamp p').first().innerText(), await page.locator('#banner').innerText()];
  await check(page, 'limited');
  refuse(503, 'audit', 'the audit log cannot be written', 1);
  await pill('No audit log');
  found.audit = await page.locator('#banner').innerText();
  refuse(500, 'internal_error', 'the server broke here; its log says how', 0);
  await pill('Trouble');
  await go(page, 'Talk');
  found.trouble = await page.locator('.start > p').first().innerText();
  await check(page, 'trouble');
  refuse(401, 'invalid_api_key', 'this key is not valid', 0);
  await go(page, 'Server');
  await pill('Needs a key');
  found.withoutKey = await silence();
  await page.unroute(watched);
  await go(page, 'Talk');
  await go(page, 'Server');
  await pill('Ready');
  await page.waitForResponse((response) => response.url() === `${base}/v1/approvals`, LONG);
  return found;
}

/** Words are words, whoever says them: markup is none, long ones break, and those from right to left do. */
export async function words({ open, check }) {
  const markup = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b> javascript:window.hacked=1';
  const others = ['שלום עולם, מה השעה עכשיו?', '今日はとても良い天気ですね。散歩に行きましょう。', 'W'.repeat(300)];
  const page = await open({ phone: true });
  await page.evaluate(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));
  });
  await begin(page, 'Type instead');
  await listening(page);
  for (const said of [`Repeat: ${markup}`, `Weather: ${markup}`, ...others.map((one) => `Repeat: ${one}`)]) {
    await page.getByRole('textbox').fill(said);
    await page.keyboard.press('Enter');
    await page.locator('.talk .turn').last().locator('.line.them .heard').first().waitFor(LONG);
    await listening(page);
  }
  await check(page, 'words, talk');
  const all = await turns(page);
  const toTheRight = await turn(page, 'שלום').locator('.line.them .said').evaluate((one) => getComputedStyle(one).direction);
  const harm = () => page.evaluate(() => ({ hacked: window.hacked ?? null, made: document.querySelectorAll('main img, main script, .said b').length, violations: window.violations ?? [] }));
  const harms = [await harm()];
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.reload();
  await page.getByRole('heading', { name: 'Go on where you were?' }).waitFor(LONG);
  await go(page, 'Conversations');
  await page.getByRole('searchbox', { name: 'Search' }).fill('onerror');
  await page.locator('.sessions mark').first().waitFor(LONG);
  await page.locator('.sessions a').first().click();
  await page.locator('.detail .turn').nth(4).waitFor(LONG);
  await check(page, 'words, read');
  harms.push(await harm());
  return { markup, heard: all.map(({ heard }) => heard), call: all[1].calls[0], toTheRight, harms, others };
}
