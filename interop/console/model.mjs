// The console's own sums, without a page: reads cases as JSON on standard input, prints what comes out.
//   {"timings": [{...}, ...]}  ->  {"falls": [[[key, doneMs, partMs], ...], ...]}
//   {"events": [[{...}, ...], ...]}  ->  {"turns": [[...], ...]}
import { readFileSync } from 'node:fs';

/** A module of the page, which no package.json tells Node to be one. */
const load = (name) => import(`data:text/javascript;base64,${readFileSync(new URL(`../../server/console/static/js/${name}.js`, import.meta.url)).toString('base64')}`);
const { answerPieces, Conversation } = await load('conversation');
const { figures, parse } = await load('metrics');
const { nextLookMs, nextTryMs } = await load('patience');
const { waterfall } = await load('waterfall');

const { timings = [], events = [], metrics = [], tries = [], looks = [] } = JSON.parse(readFileSync(0, 'utf8'));

function told(list) {
  const conversation = new Conversation();
  for (const event of list) {
    if (event.type === 'typed') conversation.type(event.text);
    else if (event.type === 'went on') conversation.goOn(event.text, 'broken');
    else conversation.apply(event);
  }
  const turns = conversation.turns.map((turn) => ({
    number: turn.number, user: turn.user, status: turn.status, pieces: answerPieces(turn).map(({ text, kind }) => [kind, text]),
    calls: turn.calls, approvals: turn.approvals.map(({ state, by }) => [state, by]), fillers: turn.fillers, errors: turn.errors,
    warnings: turn.warnings, seam: turn.seam,
  }));
  const copy = new Conversation();
  copy.restore(JSON.parse(JSON.stringify(conversation.turns)));
  const told = conversation.told().map(({ role, text }) => [role, text]);
  if (JSON.stringify(copy.told().map(({ role, text }) => [role, text])) !== JSON.stringify(told)) throw new Error('what a page keeps is not what it had');
  return { told, turns, phase: conversation.phase, interruptions: conversation.interruptions, answers: conversation.answers() };
}

console.log(JSON.stringify({
  falls: timings.map((one) => waterfall(one).map(({ key, doneMs, partMs }) => [key, doneMs, partMs])),
  conversations: events.map(told),
  waits: tries.map(([many, spentMs, error, chance]) => nextTryMs(many, spentMs, error, chance)),
  looks: looks.map(([soonMs, error]) => nextLookMs(soonMs, error)),
  figures: metrics.map((text) => Object.fromEntries(figures(parse(text)).map(({ name, value }) => [name, value]))),
}));
