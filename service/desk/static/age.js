// How old what is shown is: the service says so of an answer it could not renew, and the page counts on from there.

import { byId, el, fill, plural } from "./format.js";

const LIMIT = 45_000; // ms; above it the page warns: four looks at the service have brought nothing newer

const shown = { known: null, why: "" }; // when what is shown was known to be right, on the page's own clock

// Everything on the page was right at `at` (ms of performance.now()); `why` it may not be any more, or nothing.
export function seen(at, why = "") {
  shown.known = at ?? shown.known ?? performance.now();
  shown.why = why;
  tell();
}

// What was last known stays as it is, and grows older.
export function unseen(why) {
  shown.why = why;
  tell();
}

export function words(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return plural(Math.round(seconds / 60), "minute");
  return plural(Math.round(seconds / 3600), "hour");
}

export function tell() {
  if (shown.known === null) return;
  const age = performance.now() - shown.known;
  byId("age").textContent = age < 1500 ? "as of now" : `as of ${words(age)} ago`;
  const old = age > LIMIT;
  byId("age").classList.toggle("old", old);
  byId("stale").hidden = !old;
  if (old) fill("stale-text", el("b", {}, `What is shown is ${words(age)} old. `), `${shown.why || "The service has not confirmed it since."} Orders and positions may have changed.`);
}
