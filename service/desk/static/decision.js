// The drawer: one decision with inputs, guardrails, routes and fills, and the way back to the notebook cell.

import { ask } from "./api.js";
import { byId, dayLong, el, moment, percent, plural, quantity, ratio, short, usd, usdCents } from "./format.js";
import { dots, howShort, outcome, terms } from "./panels.js";
import { python } from "./python.js";

// Open the drawer on a decision; with a symbol its order is unfolded and comes into view.
export async function openDecision(id, symbol = null) {
  const drawer = byId("drawer");
  drawer.replaceChildren(el("p.waiting", {}, "Reading the journal"));
  if (!drawer.open) drawer.showModal();
  try {
    const [decision, origin] = await Promise.all([ask(`/decisions/${id}`), ask(`/decisions/${id}/origin`).catch((error) => error)]);
    drawer.replaceChildren(head(decision), body(decision, origin, symbol));
    drawer.querySelector("details.order[open]")?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    drawer.replaceChildren(titleBar("This decision cannot be shown"), el("p.waiting", {}, `${error.message} ${error.remedy ?? ""}`));
  }
}

export function openHealth(health) {
  const drawer = byId("drawer");
  const item = (check) => el(`li${check.passed ? "" : ".failed"}`, {}, el("i.mark"), el("b", {}, check.name), el("span", {}, check.reason));
  drawer.replaceChildren(titleBar(health.ready ? "Ready" : "Not ready"), el("div.drawer-body", {}, el("ul.health-list", {}, ...health.checks.map(item))));
  if (!drawer.open) drawer.showModal();
}

function titleBar(title, ...more) {
  const close = el("button.icon-button.close", { type: "button", "aria-label": "Close", onclick: () => byId("drawer").close() }, "×");
  return el("header.drawer-head", {}, el("div", {}, el("h2", { id: "drawer-title" }, title), ...more), close);
}

function head(decision) {
  return titleBar(dayLong(decision.tick), el("p", {}, `Decided ${moment(decision.decided_at)} by `, el("b", {}, decision.study), `, on data known by ${moment(decision.known_at)}`));
}

function body(decision, origin, symbol) {
  return el("div.drawer-body", {},
    section("Where it comes from", trail(decision, origin)),
    origin instanceof Error ? null : section("The cell that decided", cell(origin.cell)),
    section(`Orders`, el("div.orders", {}, ...decision.lines.map((line) => orderCard(line, line.symbol === symbol))), ...decision.notes.map((note) => el("p.reason", {}, note)), decision.lines.length || decision.notes.length ? null : el("p.quiet-text", {}, "The portfolio already was where the decision wanted it. No order was needed.")),
    section("What it saw", el("div.inputs", {}, ...decision.inputs.map((input) => inputCard(input, decision.symbols)))),
    section("Fingerprints", fingerprints(decision)));
}

const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);

function trail(decision, origin) {
  if (origin instanceof Error) return el("p.quiet-text", {}, `${origin.message} ${origin.remedy ?? ""}`);
  const step = (name, value, note) => el("li", {}, el("span.step", {}, name), el("div", {}, value, note ? el("p", {}, note) : null));
  const code = (text, length = 12) => el("code", { title: text }, short(text, length));
  const { bundle, trial, cell: place } = origin;
  const parameters = Object.entries(trial.parameters).map(([name, value]) => `${name} = ${value}`).join(", ");
  const gates = origin.verdicts.map((v) => el(`span.gate${v.passed ? "" : ".failed"}`, { title: v.reason }, el("i.mark"), `${v.gate}${v.statistic === null ? "" : ` ${ratio(v.statistic, 3)}`}`));
  return el("ol.trail", {},
    step("Decision", code(decision.decision_id), `${plural(decision.lines.length, "planned order")}`),
    step("Bundle", code(bundle.hash), `version ${bundle.version}, ${bundle.stage}, signed by ${bundle.signer} on ${bundle.signed_at.slice(0, 10)}`),
    step("Study", el("b", {}, origin.study), `researched ${origin.research_window.join(" to ")}, sealed ${origin.holdout_window.join(" to ")}`),
    step("Gates", el("div.gates", {}, ...gates), null),
    step("Trial", code(trial.key), `${parameters}; one of ${plural(trial.of, "trial")} counted`),
    trial.run ? step("Run", el("code", { title: trial.run }, short(trial.run, 20)), trial.opened_at ? `opened ${trial.opened_at.slice(0, 19).replace("T", " ")}` : null) : null,
    step("Cell", el("b", {}, place.notebook), `cell ${place.cell + 1}${place.heading ? `, under “${place.heading}”` : ""}`));
}

function cell(place) {
  return el("figure.cell", {}, el("figcaption", {}, el("span", {}, place.notebook), el("span", {}, `cell ${place.cell + 1}`)), el("pre", {}, el("code", {}, ...python(place.source))));
}

function orderCard(line, open) {
  const summary = el("summary", {},
    el(`span.side.${line.side}`, {}, line.side),
    el("b", {}, line.symbol),
    el("span.num", {}, `${quantity(line.quantity)} at ${usdCents(line.reference_price)}`),
    el("span.num.soft", {}, usd(line.notional)),
    el("span.soft", {}, howShort(line)),
    dots(line.verdicts),
    outcome(line));
  const verdict = (v) => el(`tr${v.passed ? "" : ".failed"}`, {}, el("td", {}, el("i.mark")), el("th", { scope: "row" }, v.check), el("td", {}, v.reason), el("td.num", {}, v.observed), el("td.num.soft", {}, v.limit));
  return el("details.order", { open }, summary,
    el("p.reason", {}, `${line.reason}\n${terms(line)}`),
    el("table.grid.verdicts", {}, el("thead", {}, el("tr", {}, el("th"), el("th", {}, "Guardrail"), el("th", {}, "Reason"), el("th.num", {}, "Observed"), el("th.num", {}, "Limit"))), el("tbody", {}, ...line.verdicts.map(verdict))),
    line.route ? el("p.reason", {}, line.route) : null,
    ...line.orders.map(child));
}

function child(order) {
  const row = (fill) => el("tr", {}, el("td", {}, moment(fill.executed_at)), el("td.num", {}, quantity(fill.quantity)), el("td.num", {}, usdCents(fill.price)), el("td.num", {}, usdCents(fill.fee)), el("td.soft", {}, el("code", { title: fill.execution_id }, short(fill.execution_id, 14))));
  return el("div.child", {},
    el("p", {}, el("b", {}, order.venue), ` ${quantity(order.quantity)} units. ${terms(order)}. ${order.state[0].toUpperCase()}${order.state.slice(1)}`, order.note ? `: ${order.note}` : "", " ", el("code", { title: order.order_id }, short(order.order_id, 12))),
    order.fills.length ? el("table.grid.fills", {}, el("thead", {}, el("tr", {}, el("th", {}, "Executed"), el("th.num", {}, "Units"), el("th.num", {}, "Price"), el("th.num", {}, "Fee"), el("th", {}, "Execution"))), el("tbody", {}, ...order.fills.map(row))) : el("p.quiet-text", {}, "No fill."));
}

function inputCard(input, symbols) {
  const windowed = input.shape.length > 1;
  const row = (symbol, i) => {
    const values = windowed ? input.values[i] : [input.values[i]];
    return el("tr", {}, el("th", { scope: "row" }, symbol), windowed ? el("td.spark-cell", {}, spark(values)) : null, el("td.num", {}, figure(values[0], input)), windowed ? el("td.num", {}, figure(values.at(-1), input)) : null);
  };
  const head = windowed ? [["Symbol"], ["Window", "spark-cell"], ["Oldest", "num"], ["Newest", "num"]] : [["Symbol"], ["Value", "num"]];
  return el("details.input", {},
    el("summary", {}, el("b", {}, input.name), el("span.soft", {}, `${input.source}, ${input.shape.join(" × ")}`)),
    el("table.grid", {}, el("thead", {}, el("tr", {}, ...head.map(([text, name]) => el(name ? `th.${name}` : "th", { scope: "col" }, text)))), el("tbody", {}, ...symbols.map(row))));
}

const figure = (value, input) => (input.unit === "fraction" ? percent(value, 2) : Number(value).toLocaleString("en-US", { maximumSignificantDigits: 7 }));

function spark(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((value, i) => `${((i / Math.max(1, values.length - 1)) * 118 + 1).toFixed(1)},${(19 - ((value - low) / (high - low || 1)) * 18).toFixed(1)}`);
  const NS = "http://www.w3.org/2000/svg";
  const root = document.createElementNS(NS, "svg");
  const line = document.createElementNS(NS, "polyline");
  root.setAttribute("viewBox", "0 0 120 20");
  root.setAttribute("class", "spark");
  line.setAttribute("points", points.join(" "));
  root.append(line);
  return root;
}

function fingerprints(decision) {
  const row = (name, value) => [el("dt", {}, name), el("dd", {}, el("code", {}, value))];
  return el("dl.prints", {}, ...[["Decision", decision.decision_id], ["Bundle", decision.bundle], ["Inputs", decision.inputs_hash], ["Data snapshot", decision.snapshot_hash], ["Guardrail policy", decision.policy_hash]].flatMap(([name, value]) => row(name, value)));
}
