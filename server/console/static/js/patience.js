// How long to wait before one tries again, and for how long one goes on trying. Pure: the clock is given.

const FIRST_MS = 500;
const MOST_MS = 15_000;
/** A server that is upgraded is back by then; somebody who waits longer has gone. */
export const GIVE_UP_MS = 180_000;

const LIMITED_MS = 15_000;
const LOOK_MOST_MS = 60_000;

/** Refusals that another try would meet again: no key, no right, no such thing here. */
const FINAL = new Set([400, 401, 403, 404, 413, 415, 501]);

/**
 * @param {number} tries that failed, 0 at first
 * @param {number} spentMs since the connection broke
 * @param {{status?: number, retryAfterS?: number|null}|null} error of the last try
 * @param {number} chance 0 to 1, so that all pages of a server that comes back do not come at once
 * @returns {number|null} in how many ms to try; null: not any more
 */
export function nextTryMs(tries, spentMs, error, chance = Math.random()) {
  if (error && FINAL.has(error.status)) return null;
  const backoff = Math.min(MOST_MS, FIRST_MS * 2 ** tries) * (0.75 + chance / 2);
  const wait = Math.max(backoff, Math.min(MOST_MS, (error?.retryAfterS ?? 0) * 1000));
  return spentMs + wait > GIVE_UP_MS ? null : wait;
}

/**
 * When a page that looks now and then looks again, after it was refused. One with a key that is gone would soon have its
 * address locked out, and one that is asked to slow down does.
 * @param {number} soonMs where nothing speaks against it
 * @param {{status: number, retryAfterS?: number|null}} error of the last look
 */
export function nextLookMs(soonMs, error) {
  if (error.status === 401) return LOOK_MOST_MS;
  const least = error.status === 429 ? Math.max(soonMs, LIMITED_MS) : soonMs;
  return Math.min(LOOK_MOST_MS, Math.max(least, (error.retryAfterS ?? 0) * 1000));
}
