// A few figures out of `/metrics` (the text format of Prometheus). Pure.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:\\.|[^"\\])*)"/g;

/**
 * @param {string} text
 * @returns {Map<string, {labels: Record<string, string>, value: number}[]>} samples by name
 */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return found;
}

const sum = (samples = [], wanted = () => true) => samples.filter(({ labels }) => wanted(labels)).reduce((all, { value }) => all + value, 0);

/** The upper bound of the bucket in which a share of a histogram lies, in seconds; null of an empty one. */
export function quantile(buckets = [], share) {
  const bounds = new Map();
  for (const { labels, value } of buckets) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    bounds.set(bound, (bounds.get(bound) ?? 0) + value);
  }
  const sorted = [...bounds].sort(([one], [other]) => one - other);
  const all = sorted.at(-1)?.[1] ?? 0;
  if (!all) return null;
  return sorted.find(([, count]) => count >= share * all)[0];
}

const seconds = (bound) => (bound === null ? "–" : bound === Infinity ? "over 5 s" : `≤ ${bound < 1 ? `${Math.round(bound * 1000)} ms` : `${bound} s`}`);
const number = (value) => Math.round(value).toLocaleString();

/** What is shown, in order; nothing where no metrics of this server are in it. */
export function figures(samples) {
  if (![...samples.keys()].some((name) => name.startsWith("antiphon_"))) return [];
  const answers = samples.get("antiphon_ttfa_seconds_bucket");
  const turns = samples.get("antiphon_turns_total");
  return [
    { name: "answers, half of them", value: seconds(quantile(answers, 0.5)), hint: "from the last word to the first sound, at the server" },
    { name: "answers, 95 %", value: seconds(quantile(answers, 0.95)), hint: "from the last word to the first sound, at the server" },
    { name: "conversations", value: number(sum(samples.get("antiphon_sessions_total"))) },
    { name: "turns", value: number(sum(turns)) },
    { name: "interruptions", value: number(sum(samples.get("antiphon_interruptions_total"))) },
    { name: "cut off, estimated", value: number(sum(samples.get("antiphon_false_cutoffs_estimated_total"))), hint: "turns that were probably taken for finished too early" },
    { name: "turns that failed", value: number(sum(turns, ({ status }) => status === "failed")) },
    { name: "fallbacks", value: number(sum(samples.get("antiphon_fallbacks_total"), ({ kind }) => kind === "switched")), hint: "times another engine of a chain was asked" },
    { name: "refused", value: number(sum(samples.get("antiphon_admission_refused_total"))), hint: "conversations and requests that were not taken" },
  ];
}
