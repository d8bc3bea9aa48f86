// The desk: which session is shown, and everything that follows from it. The address keeps the session (#2018-03-29).

import { seen, tell, unseen } from "./age.js";
import { Refused, askOrNull, fetchJson, forget, oldest } from "./api.js";
import { draw } from "./chart.js";
import { openDecision, openHealth } from "./decision.js";
import { byId, dayLong, dayShort, el, fill, percent, plural, short } from "./format.js";
import * as panels from "./panels.js";
import { figuresAt, monthTable } from "./series.js";

const POLL = 10_000; // ms between looks at a running service
const PLAY = 420; // ms a decision is shown while playing
const LISTED = 6; // decisions in the list

const state = { curve: null, index: 0, year: null, log: false, health: null, drawn: "", looking: false, playing: null, turn: 0 };

async function start() {
  theme(localStorage.getItem("theme"));
  wire();
  await look();
  setInterval(look, POLL);
  setInterval(tell, 1000);
}

// One look at a time; a service that is slow is not asked again meanwhile.
async function look() {
  if (state.looking) return;
  state.looking = true;
  await refresh().catch(lost);
  state.looking = false;
}

// Look at the service again; keep the session that is shown unless it was the latest one.
async function refresh() {
  const health = await fetchJson("/health");
  const found = JSON.stringify(health);
  state.health = health;
  showHealth(health);
  if (found !== state.drawn || oldest() !== null) {
    forget();
    await redrawAll(health);
    state.drawn = found;
  }
  const trouble = troubleOf(health);
  seen(oldest() ?? (trouble ? null : performance.now()), trouble);
}

// Why the journal cannot be looked at now; nothing if it can.
const troubleOf = (health) => (health.checks.some((check) => check.name === "journal" && check.passed) ? "" : sentence(health.checks.find((check) => !check.passed)?.reason ?? ""));

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

async function redrawAll(health) {
  const equity = await askOrNull("/equity");
  if (!equity || !equity.days.length) return showEmpty(health);
  const follow = !state.curve || state.index === state.curve.days.length - 1;
  const day = state.curve?.days[state.index];
  state.curve = { days: equity.days, equity: equity.equity.map(Number), benchmark: equity.benchmark.map(Number), decisions: new Set(equity.decisions) };
  byId("empty").hidden = true;
  byId("main").hidden = false;
  years();
  await showBundle();
  const wanted = follow ? location.hash.slice(1) : day;
  state.index = wanted ? indexOf(wanted) : equity.days.length - 1;
  await show();
}

const indexOf = (day) => {
  const at = state.curve.days.findLastIndex((d) => d <= day);
  return at < 0 ? state.curve.days.length - 1 : at;
};

// A look that failed: what is shown stays and says how old it is; with nothing to show, say what is wrong.
function lost(error) {
  const refused = error instanceof Refused;
  if (!refused) {
    byId("health").className = "health failed";
    byId("health").lastElementChild.textContent = "No answer";
  }
  const why = refused ? sentence(error.message) : "The service does not answer.";
  if (state.curve) return unseen(why);
  byId("empty").hidden = false;
  byId("empty-title").textContent = refused ? "The journal cannot be read" : "The service does not answer";
  byId("empty-text").textContent = refused ? `${why} ${sentence(error.remedy)}` : "This page looks again every ten seconds.";
  byId("empty-command").hidden = true;
  fill("empty-checks", ...checkList((refused ? state.health?.checks ?? [] : []).filter((check) => sentence(check.reason) !== why)));
}

const checkList = (checks) => checks.map((check) => el(`li${check.passed ? "" : ".failed"}`, {}, el("i.mark"), el("b", {}, check.name), el("span", {}, check.reason)));

function showHealth(health) {
  byId("health").className = `health ${health.ready ? "fine" : "failed"}`;
  byId("health").lastElementChild.textContent = health.ready ? "Ready" : "Not ready";
}

function showEmpty(health) {
  byId("main").hidden = true;
  byId("empty").hidden = false;
  byId("empty-title").textContent = "Nothing has traded yet";
  byId("empty-text").textContent = "This host’s journal holds no session. Replay some years, or let the schedule run; the page fills itself.";
  byId("empty-command").hidden = false;
  byId("empty-command").textContent = "sluice replay";
  fill("empty-checks", ...checkList(health.checks));
}

async function showBundle() {
  const [bundles, registry] = await Promise.all([askOrNull("/bundles"), askOrNull("/registry")]);
  const active = bundles?.active;
  fill("bundle", ...(active ? [el("b", {}, active.study), el(`span.stage.${active.stage}`, {}, active.stage, active.stage === "staging" ? el("span.long", {}, ", paper only") : null), el("code", { title: active.bundle }, `v${active.version} ${short(active.bundle, 8)}`)] : []));
  const seats = registry?.seats ?? [];
  byId("seats-panel").hidden = seats.length < 2;
  if (seats.length < 2) return;
  const [shares, arms] = registry.shared ? await Promise.all([askOrNull("/registry/shares"), askOrNull("/registry/arms")]) : [null, null];
  fill("seats", panels.seats(registry, shares, arms));
  byId("seats-note").textContent = registry.shared ? "Several bundles share the live account; arms are judged on what they earned, net of costs" : "The champion has the capital, challengers decide in shadow";
}

// Draw at once what is known; fetch the rest; drop answers that come after the user has moved on.
async function show() {
  const { curve, index } = state;
  const day = curve.days[index];
  const turn = (state.turn += 1);
  byId("day").textContent = dayLong(day);
  history.replaceState(null, "", index === curve.days.length - 1 ? location.pathname : `#${day}`);
  redraw();
  const at = figuresAt(curve, index);
  const [signals, plan, positions, sessions, decisions] = await Promise.all([
    askOrNull("/signals", { day }), askOrNull("/plan", { day }), askOrNull("/positions", { day }),
    askOrNull("/sessions", { day, limit: 1 }), askOrNull("/decisions", { day, limit: LISTED }),
  ]);
  if (turn !== state.turn) return;
  fill("figures", ...panels.figures(at, positions, sessions?.items[0]));
  fill("months", panels.months(monthTable(curve, index), day, (to) => go(indexOf(to))));
  showSignals(signals, day);
  showPlan(plan);
  showPositions(positions);
  fill("decisions", ...(decisions?.items.length ? panels.decisions(decisions.items, signals?.tick, openDecision) : [quiet("No decision up to this session.")]));
  document.documentElement.dataset.day = day;
}

const quiet = (text) => el("p.quiet-text", {}, text);

function showSignals(signals, day) {
  fill("signals", signals ? panels.signals(signals) : quiet("The first decision is still ahead. Step forward to see it."));
  byId("signals-note").textContent = signals ? dayShort(signals.tick) : "";
  byId("day-note").textContent = !signals ? "Before the first decision" : signals.tick === day ? "A decision was taken at this close" : `Holding the decision of ${dayShort(signals.tick)}`;
}

function showPlan(plan) {
  const lines = plan?.lines ?? [];
  fill("checks", ...panels.checks(lines));
  fill("plan", lines.length ? panels.plan(plan, (symbol) => openDecision(plan.decision_id, symbol)) : quiet(!plan ? "Nothing planned yet." : plan.refused ? `Refused, so nothing was ordered: ${plan.refused}` : "Already where the decision wants it: no order was needed."));
  byId("plan-note").textContent = plan ? `${plural(lines.length, "order")} of ${dayShort(plan.tick)}` : "";
}

function showPositions(positions) {
  const held = positions?.positions ?? [];
  fill("positions", held.length ? panels.positions(positions) : quiet("All in cash."));
  const invested = held.reduce((sum, position) => sum + position.weight, 0);
  byId("positions-note").textContent = held.length ? `${held.length} held, ${percent(invested)} invested` : "";
}

function range() {
  const { days } = state.curve;
  if (!state.year) return [0, days.length - 1];
  const first = days.findIndex((day) => day.startsWith(state.year));
  return [Math.max(0, first - 1), days.findLastIndex((day) => day.startsWith(state.year))];
}

function redraw() {
  if (!state.curve) return;
  const { curve, index } = state;
  if (state.year && !curve.days[index].startsWith(state.year)) {
    state.year = curve.days[index].slice(0, 4);
    years();
  }
  const [from, to] = range();
  const scrub = byId("scrub");
  Object.assign(scrub, { min: from, max: to });
  scrub.value = index;
  scrub.setAttribute("aria-valuetext", dayLong(curve.days[index]));
  draw(byId("chart"), { curve, from, to, index, log: state.log, onPick: go });
  fill("legend", ...[["strategy", "Strategy"], ["benchmark", "Benchmark"]].map(([key, text]) => el("span", {}, el(`i.key.${key}`), text)));
}

function years() {
  const found = [...new Set(state.curve.days.map((day) => day.slice(0, 4)))];
  const choose = (year) => () => {
    state.year = year;
    years();
    const [from, to] = range();
    if (state.index < from || state.index > to) go(to);
    else redraw();
  };
  const button = (text, year) => el("button", { type: "button", "aria-pressed": String(state.year === year), onclick: choose(year) }, text);
  fill("years", button("All", null), ...found.map((year) => button(year, year)));
}

function go(index) {
  state.index = Math.min(state.curve.days.length - 1, Math.max(0, index));
  show().catch(unreadable);
}

// A session that was chosen and cannot be fetched must not stand above the panels of another one.
function unreadable(error) {
  lost(error);
  const why = error instanceof Refused ? sentence(error.message) : "The service does not answer.";
  state.drawn = ""; // the next look that succeeds draws it
  byId("day-note").textContent = why;
  fill("figures", ...panels.figures(figuresAt(state.curve, state.index), null, null));
  fill("checks");
  for (const id of ["signals", "plan", "positions", "decisions"]) fill(id, quiet("This session cannot be read now."));
  for (const id of ["signals-note", "plan-note", "positions-note"]) byId(id).textContent = "";
}

// The next or previous session at which something was decided.
function goDecision(direction) {
  const { days, decisions } = state.curve;
  for (let i = state.index + direction; i >= 0 && i < days.length; i += direction) {
    if (decisions.has(days[i])) return go(i);
  }
  return go(direction < 0 ? 0 : days.length - 1);
}

function play() {
  if (state.playing) {
    clearInterval(state.playing);
    state.playing = null;
  } else {
    if (state.index === state.curve.days.length - 1) go(0);
    state.playing = setInterval(() => (state.index === state.curve.days.length - 1 ? play() : goDecision(1)), PLAY);
  }
  byId("play").textContent = state.playing ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(Boolean(state.playing)));
}

function theme(wanted) {
  if (wanted) document.documentElement.dataset.theme = wanted;
}

function wire() {
  const on = (id, event, act) => byId(id).addEventListener(event, act);
  on("scrub", "input", (event) => go(Number(event.target.value)));
  on("back", "click", () => goDecision(-1));
  on("forth", "click", () => goDecision(1));
  on("latest", "click", () => go(state.curve.days.length - 1));
  on("play", "click", play);
  on("scale", "click", (event) => {
    state.log = !state.log;
    event.target.setAttribute("aria-pressed", String(state.log));
    redraw();
  });
  on("health", "click", () => state.health && openHealth(state.health));
  on("theme", "click", () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    theme(dark ? "light" : "dark");
    localStorage.setItem("theme", dark ? "light" : "dark");
  });
  on("drawer", "click", (event) => event.target === byId("drawer") && byId("drawer").close());
  addEventListener("hashchange", () => state.curve && go(indexOf(location.hash.slice(1))));
  addEventListener("keydown", keys);
  new ResizeObserver(() => redraw()).observe(byId("chart"));
}

function keys(event) {
  if (!state.curve || byId("drawer").open || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
  if (event.key === " " && event.target.matches("button, tr")) return; // the space presses it
  const act = { ArrowLeft: () => go(state.index - 1), ArrowRight: () => go(state.index + 1), "[": () => goDecision(-1), "]": () => goDecision(1), " ": play }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

start();
