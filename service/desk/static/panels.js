// The panels below the chart: signals, plan, guardrails, positions, months, decisions.

import { dayShort, el, percent, plural, quantity, ratio, short, signedUsd, tone, usd, usdCents } from "./format.js";

export function figure(name, value, note, mood = "") {
  return el("div.figure", {}, el("span.figure-name", {}, name), el(`strong.figure-value${mood ? `.${mood}` : ""}`, {}, value), el("span.figure-note", {}, note));
}

const breakText = (one) => `${one.kind}, ${one.symbol || "cash"} at ${one.venue}`;

export function figures(at, positions, session) {
  const excess = at.total - at.benchmark;
  const broken = session ? session.breaks.length : 0;
  const cash = positions ? `${usd(positions.cash)} in cash` : "";
  return [
    figure("Equity", usd(at.equity.toFixed(0)), cash),
    figure("Return", percent(at.total, 1, true), `benchmark ${percent(at.benchmark, 1, true)}`),
    figure("Over benchmark", percent(excess, 1, true), `on the day ${percent(at.dayReturn, 2, true)}`, tone(excess)),
    figure("Drawdown", percent(at.drawdown), `worst ${percent(at.worst)}`),
    figure("Sharpe ratio", ratio(at.sharpe), `benchmark ${ratio(at.benchmarkSharpe)}`),
    figure("Information ratio", ratio(at.information), "excess, annualised"),
    session ? figure("Books", broken ? plural(broken, "break") : "$0.00", broken ? breakText(session.breaks[0]) : "apart from the venues", broken ? "down" : "") : figure("Books", "–", "not known"),
  ];
}

// Bars from the middle: held now (outline) against what the decision wants (solid).
export function signals(answer) {
  const widest = Math.max(0.01, ...answer.signals.flatMap((s) => [Math.abs(s.weight), Math.abs(s.current)]));
  const shorts = answer.signals.some((s) => s.weight < 0 || s.current < 0);
  const wide = (weight) => `${(Math.abs(weight) / widest) * (shorts ? 50 : 100)}%`;
  const bar = (s) => el(`span.bar${shorts ? ".both" : ""}`, { title: `held ${percent(s.current)}, wanted ${percent(s.weight)}` },
    el(`i.held${s.current < 0 ? ".short" : ""}`, { vars: { "--w": wide(s.current) } }),
    el(`i.want${s.weight < 0 ? ".short" : ""}`, { vars: { "--w": wide(s.weight) } }));
  const row = (s) => el(`tr${s.weight || s.current ? "" : ".idle"}`, {},
    el("th", { scope: "row" }, s.symbol),
    el("td.num", {}, ratio(s.score, 3)),
    el("td.bar-cell", {}, bar(s)),
    el("td.num", {}, percent(s.weight)),
    el(`td.num${round(s.weight - s.current) ? "" : ".none"}`, {}, s.weight === s.current ? "" : percent(s.weight - s.current, 1, true)));
  const head = el("tr", {}, ...[["Symbol"], ["Score", "num"], ["Held to wanted", "bar-cell"], ["Target", "num"], ["Change", "num"]].map(([text, name]) => el(name ? `th.${name}` : "th", { scope: "col" }, text)));
  return el("table.grid.signals", {}, el("thead", {}, head), el("tbody", {}, ...answer.signals.map(row)));
}

const round = (value) => Math.round(value * 1000) / 1000;

// One chip per guardrail: how many of the plan's orders it let through.
export function checks(lines) {
  const tally = new Map();
  for (const line of lines) {
    for (const verdict of line.verdicts) {
      const count = tally.get(verdict.check) ?? { passed: 0, all: 0, why: "" };
      count.all += 1;
      if (verdict.passed) count.passed += 1;
      else count.why ||= `${line.symbol}: ${verdict.reason}`;
      tally.set(verdict.check, count);
    }
  }
  return [...tally].map(([name, count]) => {
    const fine = count.passed === count.all;
    const title = fine ? `${name}: every order within its limit` : count.why;
    return el(`span.check${fine ? "" : ".failed"}`, { title }, el("i.mark"), el("span", {}, name.replace(/^\d+\s*/, "")), el("em", {}, `${count.passed}/${count.all}`));
  });
}

export function dots(verdicts) {
  const failed = verdicts.filter((v) => !v.passed);
  const title = failed.length ? failed.map((v) => `${v.check}: ${v.reason}`).join("\n") : `${verdicts.length} guardrails passed`;
  return el("span.dots", { title, "aria-label": title }, ...verdicts.map((v) => el(`i${v.passed ? "" : ".failed"}`)));
}

export function outcome(line) {
  if (!line.passed) return el("span.state.denied", {}, "denied");
  const filled = line.orders.reduce((sum, order) => sum + Number(order.filled), 0);
  const whole = Number(line.quantity);
  if (filled >= whole) return el("span.state.filled", {}, "filled");
  if (filled > 0) return el("span.state.part", {}, `${Math.round((filled / whole) * 100)}\u202f% filled`);
  const states = [...new Set(line.orders.map((order) => order.state))];
  return el("span.state", {}, states.join(", ") || "not sent");
}

export function averagePrice(line) {
  const filled = line.orders.filter((order) => order.average_price !== null);
  const units = filled.reduce((sum, order) => sum + Number(order.filled), 0);
  if (!units) return null;
  return filled.reduce((sum, order) => sum + Number(order.filled) * Number(order.average_price), 0) / units;
}

const TYPES = { market: "Market", limit: "Limit", mid_peg: "Mid peg", stop: "Stop", stop_limit: "Stop limit" };
const TIMES = { day: "for the day", gtc: "until cancelled", ioc: "at once, the rest cancelled", fok: "all at once or nothing", opg: "in the opening auction", cls: "in the closing auction" };

// "Stop 48.20, GTC": the price that matters of an order, and how long it may rest.
export function howShort(order) {
  const price = order.stop_price ?? (order.order_type === "limit" ? order.limit_price : null);
  return `${TYPES[order.order_type] ?? order.order_type}${price === null ? "" : ` ${usdCents(price)}`}, ${order.time_in_force.toUpperCase()}`;
}

// The same in full, with the collar of what has no limit of its own.
export function terms(order) {
  const limit = { market: "collar", stop: "collar", mid_peg: "no worse than" }[order.order_type] ?? "limit";
  const stop = order.stop_price === null ? "" : ` woken at ${usdCents(order.stop_price)}`;
  return `${TYPES[order.order_type] ?? order.order_type}${stop}, ${limit} ${usdCents(order.limit_price)}, ${TIMES[order.time_in_force] ?? order.time_in_force} (${order.time_in_force.toUpperCase()})`;
}

export function plan(answer, open) {
  const head = [["Order"], ["Symbol"], ["Units", "num"], ["Reference", "num"], ["Filled at", "num"], ["Notional", "num"], ["How"], ["Venues"], ["Guardrails"], ["State"]];
  const row = (line) => {
    const price = averagePrice(line);
    const venues = [...new Set(line.orders.map((order) => order.venue))].join(" + ");
    return el("tr.pick", { tabindex: "0", role: "button", "aria-label": `${line.side} ${line.symbol}, details`, title: line.reason, onclick: () => open(line.symbol), onkeydown: (event) => event.key === "Enter" && open(line.symbol) },
      el("td", {}, el(`span.side.${line.side}`, {}, line.side)),
      el("th", { scope: "row" }, line.symbol),
      el("td.num", {}, quantity(line.quantity)),
      el("td.num", {}, usdCents(line.reference_price)),
      el("td.num", {}, price === null ? "–" : usdCents(price.toFixed(6))),
      el("td.num", {}, usd(line.notional)),
      el("td", { title: terms(line) }, howShort(line)),
      el("td.soft", {}, venues || "–"),
      el("td", {}, dots(line.verdicts)),
      el("td", {}, outcome(line)));
  };
  return el("table.grid.plan", {}, el("thead", {}, el("tr", {}, ...head.map(([text, name]) => el(name ? `th.${name}` : "th", { scope: "col" }, text)))), el("tbody", {}, ...answer.lines.map(row)));
}

export function positions(answer) {
  const widest = Math.max(0.01, ...answer.positions.map((p) => Math.abs(p.weight)));
  const row = (p) => el("tr", {},
    el("th", { scope: "row" }, p.symbol),
    el("td.num", {}, quantity(p.quantity)),
    el("td.num", {}, usdCents(p.mark)),
    el("td.num", {}, usd(p.value)),
    el("td.bar-cell", {}, el("span.bar", {}, el(`i.want${p.weight < 0 ? ".short" : ""}`, { vars: { "--w": `${(Math.abs(p.weight) / widest) * 100}%` } }))),
    el("td.num", {}, percent(p.weight)),
    el(`td.num.${tone(Number(p.unrealised)) || "none"}`, {}, p.unrealised === null ? "–" : signedUsd(p.unrealised)));
  const head = [["Symbol"], ["Units", "num"], ["Mark", "num"], ["Value", "num"], ["", "bar-cell"], ["Weight", "num"], ["Gain", "num"]];
  return el("table.grid.positions", {}, el("thead", {}, el("tr", {}, ...head.map(([text, name]) => el(name ? `th.${name}` : "th", { scope: "col" }, text)))), el("tbody", {}, ...answer.positions.map(row)));
}

// Who sits where: with capital, or in shadow with the evidence so far. `shares` are of the last close.
export function seats(registry, shares, arms) {
  const judged = new Map((arms?.arms ?? []).map((one) => [one.role, one]));
  const control = arms?.arms[0]?.control_role;
  const verdict = (seat) => {
    const stops = bands(seat) ? `stops at ${bands(seat)}` : "";
    const arm = judged.get(seat.role);
    if (!arm) return el("td", {}, seat.comparison ? seat.comparison.words : [seat.role === control ? "the control" : "", stops].filter(Boolean).join("; "));
    const title = `${arm.first ?? "no session"} to ${arm.last ?? "yet"}: ${percent(arm.arm_return, 2, true)} against ${percent(arm.control_return, 2, true)} of ${arm.control_role}; a session ${percent(arm.mean, 3, true)}, between ${percent(arm.low, 3, true)} and ${percent(arm.high, 3, true)}`;
    return el("td", { title }, [arm.words, stops].filter(Boolean).join("; "));
  };
  const own = new Map((shares?.days ?? []).map((one) => [one.role, one]));
  const state = (seat) => (seat.stopped ? "stopped, sells what it holds" : seat.fraction === null ? "in shadow" : `${percent(Number(seat.fraction), 0)} of the capital`);
  const bands = (seat) => Object.entries(seat.bands).map(([name, limit]) => `${name.replaceAll("_", " ").replace("max ", "")} ${percent(Number(limit))}`).join(", ");
  const row = (seat) => {
    const book = own.get(seat.role);
    return el("tr", {},
      el("th", { scope: "row" }, seat.role),
      el("td", { title: seat.bundle }, `${seat.study} v${seat.version}`),
      el("td", {}, el(`span.stage.${seat.stage}`, {}, seat.stage)),
      el("td", {}, state(seat)),
      el("td.num", {}, book ? usd(book.equity) : "–"),
      el(`td.num.${book ? tone(Number(book.profit)) || "none" : "none"}`, {}, book ? signedUsd(book.profit) : "–"),
      verdict(seat));
  };
  const head = [["Seat"], ["Bundle"], ["Stage"], ["Decides"], ["Equity", "num"], ["Last day", "num"], ["Judged by"]];
  return el("table.grid.seats", {}, el("thead", {}, el("tr", {}, ...head.map(([text, name]) => el(name ? `th.${name}` : "th", { scope: "col" }, text)))), el("tbody", {}, ...registry.seats.map(row)));
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function months(rows, chosen, go) {
  const deepest = Math.max(0.02, ...rows.flatMap((row) => row.months.filter(Boolean).map((m) => Math.abs(m.own - m.benchmark))));
  const cell = (month) => {
    if (!month) return el("td");
    const excess = month.own - month.benchmark;
    const title = `${dayShort(month.day)}: strategy ${percent(month.own, 1, true)}, benchmark ${percent(month.benchmark, 1, true)}`;
    const name = `heat.${excess >= 0 ? "gain" : "loss"}${month.day.slice(0, 7) === chosen.slice(0, 7) ? ".chosen" : ""}`;
    return el("td", {}, el(`button.${name}`, { type: "button", title, vars: { "--heat": `${Math.round(8 + 52 * Math.min(1, Math.abs(excess) / deepest))}%` }, onclick: () => go(month.day) }, percent(excess).replace("\u202f%", "")));
  };
  const row = (r) => el("tr", {}, el("th", { scope: "row" }, String(r.year)), ...r.months.map(cell), el("td.num.strong", {}, percent(r.own - r.benchmark, 1, true)), el("td.num.soft", {}, percent(r.own, 1, true)));
  const head = el("tr", {}, el("th"), ...MONTHS.map((name) => el("th.num", { scope: "col" }, name)), el("th.num", { scope: "col" }, "Over"), el("th.num", { scope: "col" }, "Return"));
  return el("table.months", {}, el("thead", {}, head), el("tbody", {}, ...rows.map(row)));
}

export function decisions(items, chosen, open) {
  const row = (d) => el(`button.decision${d.tick === chosen ? ".chosen" : ""}`, { type: "button", onclick: () => open(d.decision_id) },
    el("b", {}, dayShort(d.tick)),
    el("span", {}, `${plural(d.orders, "order")}, ${plural(d.fills, "fill")}`, d.denied ? el("em.down", {}, `, ${d.denied} denied`) : null, d.refused ? el("em.down", { title: d.refused }, ", refused") : null),
    el("span.num", {}, usd(d.traded)),
    el("code", {}, short(d.decision_id, 8)));
  return items.map(row);
}
