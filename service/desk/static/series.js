// Arithmetic on the two curves: returns, drawdowns, ratios and months. Days are ISO strings, oldest first.

const YEAR = 252; // sessions a year

export function simpleReturns(levels) {
  return levels.slice(1).map((level, i) => level / levels[i] - 1);
}

export function drawdowns(levels) {
  let peak = -Infinity;
  return levels.map((level) => {
    peak = Math.max(peak, level);
    return level / peak - 1;
  });
}

// Annualised Sharpe ratio of simple daily returns, sample deviation; null below 20 days.
export function sharpe(returns) {
  const n = returns.length;
  if (n < 20) return null;
  const mean = returns.reduce((sum, r) => sum + r, 0) / n;
  const variance = returns.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (n - 1);
  return variance > 0 ? (mean / Math.sqrt(variance)) * Math.sqrt(YEAR) : null;
}

export function figuresAt(curve, index) {
  const equity = curve.equity.slice(0, index + 1);
  const benchmark = curve.benchmark.slice(0, index + 1);
  const own = simpleReturns(equity);
  const other = simpleReturns(benchmark);
  const fallen = drawdowns(equity);
  return {
    equity: equity[index],
    dayReturn: index ? own[index - 1] : null,
    total: equity[index] / equity[0] - 1,
    benchmark: benchmark[index] / benchmark[0] - 1,
    drawdown: fallen[index],
    worst: Math.min(...fallen),
    sharpe: sharpe(own),
    benchmarkSharpe: sharpe(other),
    information: sharpe(own.map((r, i) => r - other[i])),
  };
}

// One row per year: months[0..11] = return over benchmark or null, plus the year's own figures.
export function monthTable(curve, upTo) {
  const rows = new Map();
  let start = 0;
  for (let i = 0; i <= upTo; i += 1) {
    const last = i === upTo || curve.days[i + 1].slice(0, 7) !== curve.days[i].slice(0, 7);
    if (!last) continue;
    const [year, month] = curve.days[i].split("-").map(Number);
    if (!rows.has(year)) rows.set(year, { year, months: Array(12).fill(null), from: start, to: i });
    const row = rows.get(year);
    row.to = i;
    row.months[month - 1] = { day: curve.days[i], own: change(curve.equity, start, i), benchmark: change(curve.benchmark, start, i) };
    start = i;
  }
  for (const row of rows.values()) {
    row.own = change(curve.equity, row.from, row.to);
    row.benchmark = change(curve.benchmark, row.from, row.to);
  }
  return [...rows.values()];
}

const change = (levels, from, to) => levels[to] / levels[from] - 1;
