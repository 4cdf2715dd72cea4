// Reads recorded server events (one JSON object a line) and checks each against the schemas of OpenAI's JavaScript client.
// An event that fails there would be taken for an unknown one, and ignored without a word.
//   node zod.mjs events.jsonl
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// The package does not export its schemas; its files are imported by their place.
const schemas = new URL('../node_modules/@openai/agents-realtime/dist/openaiRealtimeEvents.mjs', import.meta.url);
const items = new URL('../node_modules/@openai/agents-realtime/dist/items.mjs', import.meta.url);
const { realtimeServerEventSchema } = await import(fileURLToPath(schemas));
const { realtimeMessageItemSchema } = await import(fileURLToPath(items));

// Events that this client knows nothing of, and takes for generic ones by design.
const unknown = new Set([
  'conversation.item.input_audio_transcription.segment',
  'input_audio_buffer.timeout_triggered',
  'input_audio_buffer.dtmf_event_received',
  'response.mcp_call.failed',
]);
const parts = (item) =>
  item.content.map((part) => (item.role === 'assistant' && part.type === 'audio' ? { ...part, type: 'output_audio' } : part));

const counts = {};
const failures = [];
for (const line of readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  const event = JSON.parse(line);
  if (unknown.has(event.type)) continue;
  counts[event.type] = (counts[event.type] ?? 0) + 1;
  const parsed = realtimeServerEventSchema.safeParse(event);
  if (!parsed.success) failures.push({ event, issues: parsed.error.issues });
  // The client reads messages a second time, and throws where this fails.
  if (event.item?.type === 'message' && event.type !== 'conversation.item.created') {
    const { id: itemId, type, role, status } = event.item;
    const message = realtimeMessageItemSchema.safeParse({
      itemId, type, role, content: parts(event.item), status: status ?? 'completed', previousItemId: event.previous_item_id,
    });
    if (!message.success) failures.push({ event, issues: message.error.issues });
  }
}
console.log(JSON.stringify({ counts, failures: failures.slice(0, 20) }));
process.exit(failures.length ? 1 : 0);
