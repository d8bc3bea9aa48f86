// The one door to the service: JSON in, problem texts out, answers kept while the journal has not moved.

const PATIENCE = 15_000; // ms that an answer is waited for
const kept = new Map();
const aged = new Map(); // address -> when its answer was known to be right, ms of performance.now()

export class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.remedy = problem.remedy || "";
    this.status = status;
  }
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined));
  const url = query.size ? `${path}?${query}` : path;
  if (kept.has(url)) return kept.get(url);
  const answer = fetchJson(url);
  kept.set(url, answer);
  answer.catch(() => kept.delete(url));
  return answer;
}

// Null instead of an error when there is nothing to show yet (404).
export async function askOrNull(path, parameters = {}) {
  try {
    return await ask(path, parameters);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

export async function fetchJson(url) {
  const reply = await fetch(url, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE) });
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok && !("ready" in body)) throw new Refused(body, reply.status);
  if (reply.headers.has("age")) aged.set(url, performance.now() - 1000 * Number(reply.headers.get("age")));
  return body;
}

// When the oldest answer that the service could not renew was right; null if all were right when they came.
export const oldest = () => (aged.size ? Math.min(...aged.values()) : null);

export function forget() {
  kept.clear();
  aged.clear();
}
