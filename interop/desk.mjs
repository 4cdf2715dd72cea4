// What the scripted desk of the tests is asked, by OpenAI's Agents SDK for JavaScript: the same in Node and in a browser.
import { RealtimeAgent, tool } from '@openai/agents-realtime';
import { z } from 'zod';

export const cities = [];

export function deskAgent() {
  const getWeather = tool({
    name: 'get_weather',
    description: 'The weather of a city.',
    parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return 'Sunny.';
    },
  });
  const deleteAccount = tool({
    name: 'delete_account',
    description: 'Deletes it.',
    parameters: z.object({}),
    needsApproval: true,
    execute: async () => 'Deleted.',
  });
  const refunds = new RealtimeAgent({ name: 'Refunds', instructions: 'You answer for the refund desk.' });
  return new RealtimeAgent({
    name: 'Desk',
    instructions: 'You are a pirate.',
    tools: [getWeather, deleteAccount],
    handoffs: [refunds],
  });
}

// Nobody is told the secret.
export const guardrails = {
  outputGuardrails: [
    {
      name: 'no secrets',
      execute: async ({ agentOutput }) => ({ tripwireTriggered: agentOutput.includes('swordfish'), outputInfo: {} }),
    },
  ],
  outputGuardrailSettings: { debounceTextLength: 20 },
};

// Keeps what a session tells, and lets a scenario wait for it.
export function watch(session) {
  const seen = [];
  const waiting = new Set();
  const note = (type, data = {}) => {
    seen.push({ type, ...data });
    for (const look of [...waiting]) look();
  };
  const errors = [];
  session.on('error', (event) => {
    const error = event?.error?.error ?? event?.error ?? event;
    errors.push(typeof error === 'object' ? JSON.stringify(error, Object.getOwnPropertyNames(error)) : String(error));
    note('error');
  });
  session.on('audio', (event) => note('audio', { bytes: event.data.byteLength }));
  session.on('audio_interrupted', () => note('audio_interrupted'));
  session.on('agent_tool_end', (_context, agent, one, result) => note('tool', { agent: agent.name, tool: one.name, result }));
  session.on('agent_handoff', (_context, from, to) => note('handoff', { from: from.name, to: to.name }));
  session.on('tool_approval_requested', (_context, _agent, { approvalItem }) => note('approval', { approvalItem }));
  session.on('guardrail_tripped', () => note('guardrail'));
  session.on('transport_event', (event) => note(`server:${event.type}`, { event }));
  const count = (type) => seen.filter((one) => one.type === type).length;
  const until = (what, wanted, withinMs = 20000) =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (!wanted()) return;
        waiting.delete(look);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        waiting.delete(look);
        reject(new Error(`${what} did not come; there was ${JSON.stringify(kinds(seen))}; errors: ${errors}`));
      }, withinMs);
      waiting.add(look);
      look();
    });
  return { seen, errors, count, until };
}

// Types of events in order; runs of the same count once.
export function kinds(seen) {
  return seen.map((one) => one.type).filter((type, at, all) => all[at - 1] !== type);
}

export function said(seen) {
  return seen
    .filter((one) => one.type === 'server:response.output_audio_transcript.done')
    .map((one) => one.event.transcript.trim());
}

export function report(session, { seen, errors }) {
  const texts = (role) =>
    session.history
      .filter((item) => item.type === 'message' && item.role === role)
      .map((item) => item.content.map((part) => part.transcript ?? part.text ?? '').join(' ').trim());
  return {
    kinds: kinds(seen),
    said: said(seen),
    statuses: seen.filter((one) => one.type === 'server:response.done').map((one) => one.event.response.status),
    tools: seen.filter((one) => one.type === 'tool').map(({ agent, tool: name, result }) => ({ agent, name, result })),
    handoffs: seen.filter((one) => one.type === 'handoff').map(({ from, to }) => ({ from, to })),
    interrupted: seen.filter((one) => one.type === 'audio_interrupted').length,
    audioBytes: seen.filter((one) => one.type === 'audio').reduce((sum, one) => sum + one.bytes, 0),
    user: texts('user'),
    assistant: texts('assistant'),
    cities,
    errors,
  };
}
