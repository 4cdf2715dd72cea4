// OpenAI's Agents SDK for JavaScript in Node, over a WebSocket, with recordings as its microphone.
//   node agents.mjs URL KEY SCENARIO FOLDER        (FOLDER holds time.wav, story.wav, ...: mono PCM16 at 24 kHz)
import { RealtimeSession } from '@openai/agents-realtime';
import { deskAgent, guardrails, report, said, watch } from '../desk.mjs';
import { microphone } from '../microphone.mjs';

const [url, apiKey, scenario, folder] = process.argv.slice(2);

const session = new RealtimeSession(deskAgent(), {
  transport: 'websocket', model: 'gpt-realtime-2', tracingDisabled: true, ...guardrails,
});
const watched = watch(session);
const { count, until, seen } = watched;
await session.connect({ apiKey, url });
const { say, stop } = microphone(session, folder);

const scenarios = {
  async spoken() {
    say('time');
    await until('an answer', () => count('server:response.done') === 1);
    await until('the words of the user', () => report(session, watched).user[0]);
  },
  async tool() {
    say('weather');
    await until('an answer', () => said(seen).at(-1) === 'I looked: Sunny.');
  },
  async handoff() {
    say('refund');
    await until('an answer', () => said(seen).at(-1) === 'The refund desk is here.');
  },
  async approval() {
    say('account');
    await until('a question', () => count('approval') === 1);
    if (count('tool') > 0) throw new Error('it ran before it was approved');
    await session.approve(seen.find((one) => one.type === 'approval').approvalItem);
    await until('an answer', () => said(seen).at(-1) === 'I looked: Deleted.');
  },
  async guardrail() {
    say('secret');
    await until('the guardrail', () => count('guardrail') === 1);
    await until('another answer', () => said(seen).at(-1) === 'Let us talk about something else.');
    await until('its end', () => count('server:response.done') === 2);
  },
  async interruption() {
    say('story');
    await until('the story', () => count('audio') > 0);
    await new Promise((resolve) => setTimeout(resolve, 700));
    say('time');
    await until('an interruption', () => count('audio_interrupted') > 0);
    await until('another answer', () => count('server:response.done') === 2);
  },
  async history() {
    session.sendMessage('What time is it?');
    await until('an answer', () => count('server:response.done') === 1);
    const kept = session.history.filter((item) => item.role === 'user');
    session.updateHistory(kept);
    await until('a deletion', () => count('server:conversation.item.deleted') === 1);
    session.updateHistory([
      ...kept,
      { itemId: 'mine', type: 'message', role: 'user', status: 'completed', content: [{ type: 'input_text', text: 'Hi.' }] },
    ]);
    await until('an item of ours', () =>
      seen.some((one) => one.type === 'server:conversation.item.added' && one.event.item.id === 'mine'));
  },
};

let failure = null;
try {
  await scenarios[scenario]();
} catch (error) {
  failure = String(error.stack ?? error);
}
stop();
console.log(JSON.stringify({ ...report(session, watched), failure }));
session.close();
process.exit(failure ? 1 : 0);
