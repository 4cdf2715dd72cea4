// OpenAI's Agents SDK for JavaScript in Node, with a hosted MCP tool: the server calls it, the SDK asks for the answer.
//   node mcp.mjs URL KEY SCENARIO FOLDER MCP_URL
import { hostedMcpTool } from '@openai/agents-core';
import { RealtimeAgent, RealtimeSession } from '@openai/agents-realtime';
import { report, said, watch } from '../desk.mjs';
import { microphone } from '../microphone.mjs';

const [url, apiKey, scenario, folder, serverUrl] = process.argv.slice(2);

const weather = hostedMcpTool({
  serverLabel: 'weather',
  serverUrl,
  allowedTools: ['get_weather'],
  headers: { 'X-Desk': 'seven' },
  ...(scenario === 'called' ? {} : { requireApproval: { always: { toolNames: ['get_weather'] } } }),
});
const session = new RealtimeSession(new RealtimeAgent({ name: 'Desk', instructions: 'You are a pirate.', tools: [weather] }), {
  transport: 'websocket', model: 'gpt-realtime-2', tracingDisabled: true,
});
const watched = watch(session);
const { count, until, seen } = watched;
const offered = [];
const results = [];
session.on('mcp_tools_changed', (tools) => offered.push(tools.map((tool) => tool.name)));
session.on('mcp_tool_call_completed', (_context, _agent, call) => results.push({ name: call.name, output: call.output }));
await session.connect({ apiKey, url });
const { say, stop } = microphone(session, folder);
const approval = async () => {
  await until('a question', () => count('approval') === 1);
  if (results.length) throw new Error('it was called before it was approved');
  return seen.find((one) => one.type === 'approval').approvalItem;
};

const scenarios = {
  async called() {},
  async approved() {
    await session.approve(await approval());
  },
  async rejected() {
    await session.reject(await approval());
  },
};

let failure = null;
try {
  await until('the tools', () => seen.some((one) => one.event?.item?.type === 'mcp_list_tools' && one.type.endsWith('.done')));
  say('weather');
  await scenarios[scenario]();
  await until('an answer', () => said(seen).length === 1 && count('server:response.done') === 2);
  await new Promise((resolve) => setTimeout(resolve, 500)); // no other one follows
} catch (error) {
  failure = String(error.stack ?? error);
}
stop();
// Its history may show a quick call as in progress for ever: it asks for the item, and takes any answer for news.
const calls = session.history.filter((item) => item.type === 'mcp_call').map(({ name, output }) => ({ name, output }));
console.log(JSON.stringify({ ...report(session, watched), offered, results, calls, failure }));
session.close();
process.exit(failure ? 1 : 0);
