// Where the time between the user's last word and the first audible one went. Pure; the same sums as the command line's.

export const STEPS = [
  ["vad_stop_s", "silence heard", "wait"],
  ["commit_s", "turn over", "wait"],
  ["stt_s", "transcript", "stt"],
  ["first_token_s", "first word", "llm"],
  ["first_clause_s", "first clause", "clause"],
  ["first_audio_s", "first audio", "tts"],
  ["audible_s", "audible", "sink"],
];

/** @typedef {{key: string, name: string, kind: string, doneMs: number, partMs: number, startMs: number}} Step */

/**
 * The steps of a turn; their parts sum to the latest of them. Work that was done before something else that had to be
 * waited for adds nothing: its part is 0.
 * @param {Record<string, number|null>} timings of a `turn_ended` event, in seconds
 * @returns {Step[]} nothing where the end of speech is not known
 */
export function waterfall(timings) {
  const zero = timings?.speech_end_s;
  if (zero == null) return [];
  const steps = [];
  let covered = 0;
  for (const [key, name, kind] of STEPS) {
    const at = timings[key];
    if (at == null) continue;
    const doneMs = (at - zero) * 1000;
    const partMs = Math.max(0, doneMs - covered);
    covered = Math.max(covered, doneMs);
    steps.push({ key, name, kind, doneMs, partMs, startMs: doneMs - partMs });
  }
  return steps;
}

/** The whole: the sum of the parts. */
export const totalMs = (steps) => steps.reduce((sum, step) => sum + step.partMs, 0);

/** From the last word to the first audible one; null where one of them is not known. */
export function answeredMs(timings) {
  const from = timings?.speech_end_s;
  const to = timings?.audible_s;
  return from == null || to == null ? null : (to - from) * 1000;
}

/** The value below which a share of the sorted numbers lies; null of none. */
export function percentile(numbers, share) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}
