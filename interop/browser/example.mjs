// The vendor's example for browsers, with only the URL changed; and a report of what happened, for the test.
import { RealtimeSession } from '@openai/agents-realtime';
import { deskAgent, report, said, watch } from '../desk.mjs';

const agent = deskAgent();
const session = new RealtimeSession(agent, { model: 'gpt-realtime-2' });
const watched = watch(session);

window.start = async ({ apiKey, url }) => {
  await session.connect({ apiKey, url });
  return session.transport.callId ?? '';
};

window.scenarios = {
  spoken: () => watched.until('an answer to its end', () => watched.count('server:output_audio_buffer.stopped') >= 1, 60000),
  tool: () => watched.until('an answer', () => said(watched.seen).at(-1) === 'I looked: Sunny.', 30000),
  handoff: () => watched.until('an answer', () => said(watched.seen).at(-1) === 'The refund desk is here.', 30000),
  async interruption() {
    await watched.until('silence', () => watched.count('server:output_audio_buffer.cleared') > 0, 30000);
    await watched.until('another answer', () => watched.count('server:response.done') >= 2, 30000);
  },
  async interrupt() {
    await watched.until('sound', () => watched.count('server:output_audio_buffer.started') > 0);
    session.interrupt();
    await watched.until('silence', () => watched.count('server:output_audio_buffer.cleared') > 0);
  },
};

// The other way from a browser: a WebSocket, where the key travels as a subprotocol.
window.overWebSocket = async ({ apiKey, url }) => {
  const session = new RealtimeSession(deskAgent(), { transport: 'websocket', model: 'gpt-realtime-2' });
  const watched = watch(session);
  await session.connect({ apiKey, url });
  session.sendMessage('What is the weather in Oslo?');
  await watched.until('an answer', () => said(watched.seen).at(-1) === 'I looked: Sunny.');
  const told = report(session, watched);
  session.close();
  return told;
};

// How loud what comes from the server is, from the browser's own statistics of the call.
window.heard = async () => {
  const stats = await session.transport.connectionState.peerConnection.getStats();
  for (const one of stats.values()) {
    if (one.type === 'inbound-rtp' && one.kind === 'audio') {
      return { energy: one.totalAudioEnergy, seconds: one.totalSamplesDuration, packets: one.packetsReceived, lost: one.packetsLost };
    }
  }
  return null;
};

// Which way the packets go: the kinds of address at this end and at the server's.
window.path = async () => {
  const stats = await session.transport.connectionState.peerConnection.getStats();
  const pair = [...stats.values()].find((one) => one.type === 'candidate-pair' && one.nominated && one.state === 'succeeded');
  return [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => stats.get(id)?.candidateType ?? '');
};
window.report = () => report(session, watched);
window.finish = () => session.close();
