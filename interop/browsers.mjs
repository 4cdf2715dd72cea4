// Chromium and Firefox, headless, each with a recording as its microphone.
//
// Chromium has a switch for that. Firefox has none: it gets a sound system of its own (PulseAudio, of no device), in which
// the recording is played into its microphone and its loudspeaker is listened to. It is Mozilla's own Firefox, driven
// over WebDriver BiDi, as Playwright does for the channels `moz-...`.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { chromium, firefox } from 'playwright-core';

const NOWHERE = 'http://127.0.0.1:9';
const FIREFOX = {
  'media.navigator.permission.disabled': true, // the microphone is given without a question
  'media.autoplay.default': 0, // sound needs no click first
  'media.autoplay.blocking_policy': 0,
  // What it would ask Mozilla for is not part of any test.
  'services.settings.server': `${NOWHERE}/v1`,
  'app.normandy.enabled': false,
  'app.update.disabledForTesting': true,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.startup.homepage': 'about:blank',
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'datareporting.healthreport.uploadEnabled': false,
  'extensions.getAddons.cache.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'extensions.update.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'toolkit.telemetry.server': NOWHERE,
};
const WITHIN_MS = 30_000;
const SAMPLE_BYTES = 2;

/**
 * @param {string} kind chromium or firefox
 * @param {string} microphone the path of a recording (WAV). Chromium's microphone begins with it when it is opened,
 *   Firefox's when `speak` is called
 * @returns `browser`; `prepare(context)`, before pages are opened in it; `speak()`; `loudest()`: the loudest sample of what came out of the loudspeaker so far, 0 to 1, where
 *   there is one (Firefox), else null; `close()`, which ends all of it
 */
export async function launch(kind, executablePath, microphone, { env = process.env } = {}) {
  if (kind === 'chromium') {
    const args = [
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-audio-capture=${microphone}%noloop`,
      '--autoplay-policy=no-user-gesture-required',
      '--no-sandbox',
    ];
    const browser = await chromium.launch({ executablePath, env, args });
    return { browser, prepare: async () => {}, speak: async () => {}, loudest: () => null, close: () => browser.close() };
  }
  const room = await soundRoom();
  try {
    const browser = await firefox.launch({
      channel: 'moz-firefox', executablePath, firefoxUserPrefs: FIREFOX, env: { ...env, ...room.env },
    });
    const close = async () => {
      await browser.close();
      room.close();
    };
    const prepare = (context) => context.addInitScript(withoutEchoCanceller);
    return { browser, prepare, speak: () => room.play(microphone), loudest: room.loudest, close };
  } catch (error) {
    room.close();
    throw error;
  }
}

/**
 * In the page. There is no echo in a room of no device, and the tests' questions and answers are tones: the canceller would
 * take some of the ones for an echo of the others. Noise suppression and gain control stay.
 */
function withoutEchoCanceller() {
  const media = navigator.mediaDevices;
  if (!media) return; // about:blank
  const open = media.getUserMedia.bind(media);
  media.getUserMedia = ({ audio, ...rest }) => open({ ...rest, audio: { ...(audio === true ? {} : audio), echoCancellation: false } });
}

/** A sound system of its own: a microphone into which recordings are played, and a loudspeaker that is listened to. */
async function soundRoom() {
  const folder = mkdtempSync(join(tmpdir(), 'antiphon-sound-'));
  const socket = join(folder, 'native');
  const env = { PULSE_SERVER: `unix:${socket}`, PULSE_RUNTIME_PATH: folder, PULSE_STATE_PATH: folder };
  const options = { env: { ...process.env, ...env, HOME: folder }, stdio: ['ignore', 'pipe', 'ignore'] };
  const modules = [
    `module-native-protocol-unix socket=${socket} auth-anonymous=1`,
    'module-null-sink sink_name=loudspeaker rate=48000 channels=2',
    'module-null-sink sink_name=voice rate=48000 channels=1',
    'module-remap-source master=voice.monitor source_name=microphone',
  ];
  const running = [];
  const run = (program, ...args) => {
    const child = spawn(program, args, options);
    child.on('error', () => {}); // its exit code says it
    running.push(child);
    return child;
  };
  const close = () => {
    for (const child of running.reverse()) child.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  process.on('exit', close); // Playwright ends the process when it is told to end
  const daemon = run('pulseaudio', '-n', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no', '--disable-shm=yes', ...modules.flatMap((one) => ['-L', one]));
  const until = async (what, isSo, ...asked) => {
    const ends = Date.now() + WITHIN_MS;
    while (!isSo(await told('pactl', ['--format=json', 'list', ...asked], options))) {
      if (daemon.exitCode !== null || daemon.pid === undefined || Date.now() > ends) {
        throw new Error(`${what} (PulseAudio's status: ${daemon.exitCode}); apt-get install pulseaudio pulseaudio-utils`);
      }
      await pause(100);
    }
  };
  try {
    await until('there is no microphone', (sources) => sources.some(({ name }) => name === 'microphone'), 'sources');
  } catch (error) {
    close();
    throw error;
  }
  let peak = 0;
  run('parec', '--device=loudspeaker.monitor', '--latency-msec=20', '--format=s16le', '--channels=1', '--rate=16000').stdout.on('data', (bytes) => {
    for (let at = 0; at + SAMPLE_BYTES <= bytes.length; at += SAMPLE_BYTES) peak = Math.max(peak, Math.abs(bytes.readInt16LE(at)));
  });
  const play = async (path) => {
    const isListening = ({ corked, properties: { 'application.name': name } }) => !corked && name && name !== 'parec';
    await until('nobody listens to the microphone', (streams) => streams.some(isListening), 'source-outputs');
    run('paplay', '--device=voice', '--latency-msec=20', path);
  };
  return { env, play, loudest: () => peak / 32768, close };
}

/** What a program prints as JSON, a list; an empty one where it fails. */
const told = (program, args, options) =>
  new Promise((resolve) => {
    execFile(program, args, { env: options.env }, (error, out) => resolve(error ? [] : JSON.parse(out || '[]')));
  });
