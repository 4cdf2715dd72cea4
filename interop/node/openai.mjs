// The `openai` package for JavaScript, its realtime client: a spoken question.
//   node openai.mjs BASE_URL KEY QUESTION.wav        (mono PCM16 at 24 kHz; BASE_URL by https)
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const [baseURL, apiKey, recording] = process.argv.slice(2);
const told = { heard: '', said: '', audioBytes: 0, errors: [], failure: null };
const finish = (failure = null) => {
  console.log(JSON.stringify({ ...told, failure }));
  process.exit(failure ? 1 : 0);
};
setTimeout(() => finish('no answer came'), 30000);

const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime-2' }, new OpenAI({ baseURL, apiKey }));
realtime.on('error', (error) => finish(String(error)));
realtime.on('session.created', () => {
  realtime.send({ type: 'session.update', session: { type: 'realtime', instructions: 'Be brief.' } });
});
realtime.on('session.updated', () => {
  const question = Buffer.concat([readFileSync(recording).subarray(44), Buffer.alloc(48000)]);
  for (let at = 0; at < question.length; at += 9600) {
    realtime.send({ type: 'input_audio_buffer.append', audio: question.subarray(at, at + 9600).toString('base64') });
  }
});
realtime.on('conversation.item.input_audio_transcription.completed', (event) => (told.heard = event.transcript));
realtime.on('response.output_audio.delta', (event) => (told.audioBytes += Buffer.from(event.delta, 'base64').length));
realtime.on('response.output_audio_transcript.done', (event) => (told.said = event.transcript));
realtime.on('response.done', () => finish());
