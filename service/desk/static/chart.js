// The hero chart: equity against benchmark above, drawdown below, drawn as SVG at the size it is shown.

import { dayShort, el, percent, svg, usd } from "./format.js";
import { drawdowns } from "./series.js";

const MARGIN = { left: 4, right: 62, top: 12, bottom: 26 };
const DRAWDOWN_SHARE = 0.24; // of the plot's height
const GAP = 26; // px between the two panes

// draw(container, {curve, from, to, index, log, onPick}): curve = {days, equity[], benchmark[], decisions:Set}
export function draw(container, model) {
  const width = Math.max(300, container.clientWidth);
  const height = Math.max(260, container.clientHeight);
  const frame = layout(width, height, model);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label(model) });
  root.append(defs(frame, model), grid(frame), marks(frame, model), lines(frame, model), cursor(frame, model.index, "cursor"));
  const hover = svg("g", { class: "hover", visibility: "hidden" });
  root.append(hover);
  const tip = el("div.tip", { hidden: true, role: "status" });
  container.replaceChildren(root, tip);
  listen(root, hover, tip, frame, model);
}

function label({ curve, from, to }) {
  const change = (levels) => percent(levels[to] / levels[from] - 1, 1, true);
  return `From ${dayShort(curve.days[from])} to ${dayShort(curve.days[to])}: strategy ${change(curve.equity)}, benchmark ${change(curve.benchmark)}`;
}

function layout(width, height, { curve, from, to, log }) {
  const inner = height - MARGIN.top - MARGIN.bottom - GAP;
  const top = { y: MARGIN.top, height: inner * (1 - DRAWDOWN_SHARE) };
  const bottom = { y: MARGIN.top + top.height + GAP, height: inner * DRAWDOWN_SHARE };
  const x = (i) => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * (i - from)) / Math.max(1, to - from);
  const fallen = { own: drawdowns(curve.equity), other: drawdowns(curve.benchmark) };
  const seen = (levels) => levels.slice(from, to + 1);
  const levels = [...seen(curve.equity), ...seen(curve.benchmark)];
  const depth = Math.min(-0.01, ...seen(fallen.own), ...seen(fallen.other));
  const bend = log ? Math.log : (value) => value;
  let low = bend(Math.min(...levels));
  let high = bend(Math.max(...levels));
  const air = (high - low || Math.abs(high) * 0.02 || 1) * 0.06;
  [low, high] = [low - air, high + air];
  return {
    width, height, top, bottom, x, fallen, depth,
    right: width - MARGIN.right,
    y: (value) => top.y + (top.height * (high - bend(value))) / (high - low),
    yFallen: (value) => bottom.y + (bottom.height * value) / depth,
    ticks: niceTicks(log ? Math.exp(low) : low, log ? Math.exp(high) : high, top.height / 52),
    fallTicks: niceTicks(depth, 0, 2).filter((tick) => tick < 0),
    days: dayTicks(curve.days, from, to, width),
    index: (px) => Math.round(Math.min(to, Math.max(from, from + ((px - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * (to - from)))),
  };
}

export function niceTicks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  return ticks;
}

function dayTicks(days, from, to, width) {
  const starts = (length) => {
    const found = [];
    for (let i = Math.max(1, from); i <= to; i += 1) if (days[i].slice(0, length) !== days[i - 1].slice(0, length)) found.push(i);
    return found;
  };
  const room = Math.max(2, Math.floor(width / 74));
  const years = starts(4);
  if (to - from > 420) return every(years, room).map((i) => [i, days[i].slice(0, 4)]);
  const months = starts(7);
  const name = (i) => new Date(`${days[i]}T00:00:00Z`).toLocaleString("en-GB", { month: "short", timeZone: "UTC" });
  return every(months, room).map((i) => [i, years.includes(i) ? days[i].slice(0, 4) : name(i)]);
}

const every = (items, room) => items.filter((_, i) => i % Math.ceil(items.length / room || 1) === 0);

function defs(frame, { index }) {
  const clip = svg("clipPath", { id: "until" }, svg("rect", { x: 0, y: 0, width: Math.max(0, frame.x(index) + 0.5), height: frame.height }));
  return svg("defs", {}, clip);
}

function grid(frame) {
  const group = svg("g", { class: "grid" });
  const rule = (y, text, extra = "") => group.append(
    svg("line", { x1: MARGIN.left, x2: frame.right, y1: y, y2: y, class: extra }),
    svg("text", { x: frame.right + 8, y: y + 4 }, text),
  );
  for (const tick of frame.ticks) rule(frame.y(tick), money(tick));
  rule(frame.bottom.y, "0\u202f%", "zero");
  for (const tick of frame.fallTicks) rule(frame.yFallen(tick), percent(tick, Math.abs(tick) < 0.01 ? 1 : 0));
  for (const [i, text] of frame.days) group.append(
    svg("line", { x1: frame.x(i), x2: frame.x(i), y1: frame.top.y, y2: frame.bottom.y + frame.bottom.height, class: "day" }),
    svg("text", { x: frame.x(i) + 5, y: frame.height - 8 }, text),
  );
  group.append(svg("text", { x: MARGIN.left + 2, y: frame.bottom.y - 8, class: "pane" }, "Drawdown"));
  return group;
}

function money(value) {
  const [scale, unit] = Math.abs(value) >= 1e6 ? [1e6, "M"] : Math.abs(value) >= 1e3 ? [1e3, "k"] : [1, ""];
  const number = value / scale;
  return `$${Number(number.toFixed(number < 10 ? 2 : 1))}${unit}`;
}

function path(frame, model, levels, y) {
  let text = "";
  for (let i = model.from; i <= model.to; i += 1) text += `${text ? "L" : "M"}${frame.x(i).toFixed(1)} ${y(levels[i]).toFixed(1)}`;
  return text;
}

function lines(frame, model) {
  const { curve, from, to } = model;
  const strategy = path(frame, model, curve.equity, frame.y);
  const benchmark = path(frame, model, curve.benchmark, frame.y);
  const fall = path(frame, model, frame.fallen.own, frame.yFallen);
  const otherFall = path(frame, model, frame.fallen.other, frame.yFallen);
  let between = strategy;
  for (let i = to; i >= from; i -= 1) between += `L${frame.x(i).toFixed(1)} ${frame.y(curve.benchmark[i]).toFixed(1)}`;
  const floor = `${fall}L${frame.x(to).toFixed(1)} ${frame.bottom.y}L${frame.x(from).toFixed(1)} ${frame.bottom.y}Z`;
  const drawn = () => [
    svg("path", { d: `${between}Z`, class: "between" }),
    svg("path", { d: floor, class: "fall" }),
    svg("path", { d: otherFall, class: "benchmark thin" }),
    svg("path", { d: fall, class: "strategy thin" }),
    svg("path", { d: benchmark, class: "benchmark" }),
    svg("path", { d: strategy, class: "strategy" }),
  ];
  return svg("g", { class: "lines" },
    svg("g", { class: "ahead" }, ...drawn()),
    svg("g", { "clip-path": "url(#until)" }, ...drawn()));
}

// A small tick on the pane's floor at every decision.
function marks(frame, { curve, from, to }) {
  const floor = frame.top.y + frame.top.height;
  const group = svg("g", { class: "marks" });
  for (let i = from; i <= to; i += 1) {
    if (curve.decisions.has(curve.days[i])) group.append(svg("line", { x1: frame.x(i), x2: frame.x(i), y1: floor, y2: floor + 6 }));
  }
  return group;
}

function cursor(frame, index, name) {
  const x = frame.x(index);
  return svg("line", { x1: x, x2: x, y1: frame.top.y - 4, y2: frame.bottom.y + frame.bottom.height, class: name });
}

function point(frame, index, { curve }) {
  const dot = (levels, name, y) => svg("circle", { cx: frame.x(index), cy: y(levels[index]), r: 3.6, class: `dot-${name}` });
  return [dot(curve.benchmark, "benchmark", frame.y), dot(curve.equity, "strategy", frame.y)];
}

function listen(root, hover, tip, frame, model) {
  const { curve, from } = model;
  const show = (event) => {
    const box = root.getBoundingClientRect();
    const i = frame.index(event.clientX - box.left);
    hover.replaceChildren(cursor(frame, i, "hover-line"), ...point(frame, i, model));
    hover.setAttribute("visibility", "visible");
    const row = (name, levels, fallen) => el("div.tip-row", {}, el(`i.key.${name}`), el("b", {}, usd(levels[i].toFixed(0))), el("span", {}, percent(levels[i] / levels[from] - 1, 1, true)), el("span", {}, percent(fallen[i])));
    const decided = curve.decisions.has(curve.days[i]) ? el("div.tip-note", {}, "Decision taken at this close") : null;
    tip.replaceChildren(el("div.tip-day", {}, dayShort(curve.days[i])), row("strategy", curve.equity, frame.fallen.own), row("benchmark", curve.benchmark, frame.fallen.other), ...(decided ? [decided] : []));
    tip.hidden = false;
    const left = frame.x(i) + 14 + tip.offsetWidth > frame.width ? frame.x(i) - tip.offsetWidth - 14 : frame.x(i) + 14;
    tip.style.left = `${Math.max(0, left)}px`;
  };
  const hide = () => {
    hover.setAttribute("visibility", "hidden");
    tip.hidden = true;
  };
  root.addEventListener("pointermove", show);
  root.addEventListener("pointerleave", hide);
  root.addEventListener("click", (event) => model.onPick(frame.index(event.clientX - root.getBoundingClientRect().left)));
  if (model.index >= model.from && model.index <= model.to) root.append(svg("g", { class: "here" }, ...point(frame, model.index, model)));
}
