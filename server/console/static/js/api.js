// The server's calls, with the key if it wants one. The key lives as long as this tab, and goes to this server alone.

const NAME = "antiphon.key";
let held = null;

export const key = {
  get() {
    if (held !== null) return held;
    try {
      held = sessionStorage.getItem(NAME) ?? "";
    } catch {
      held = "";
    }
    return held;
  },
  set(value) {
    held = value.trim();
    try {
      if (held) sessionStorage.setItem(NAME, held);
      else sessionStorage.removeItem(NAME);
    } catch {
      return; // a browser that keeps nothing: it holds until the page is left
    }
  },
};

export const auth = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

/** An answer that is none: `status` 0 where the server was not reached. */
export class ApiError extends Error {
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** What a response says that went wrong. */
export async function errorOf(response) {
  let told = {};
  try {
    told = (await response.json()).error ?? {};
  } catch {
    told = {}; // no JSON: the status says enough
  }
  const wait = Number(response.headers.get("Retry-After"));
  return new ApiError(response.status, told.code ?? "", told.message || `the server answered ${response.status}`, wait > 0 ? wait : null);
}

/**
 * @param {string} path from the server's root
 * @param {{body?: unknown, signal?: AbortSignal, timeoutS?: number}} options a body makes it a POST of JSON
 * @throws {ApiError}
 */
export async function request(path, { body, signal, timeoutS = 20 } = {}) {
  const limit = AbortSignal.timeout(timeoutS * 1000);
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: { Accept: "application/json", ...auth(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "offline", limit.aborted ? "the server takes too long to answer" : "the server cannot be reached");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export const json = async (path, options) => (await request(path, options)).json();
