// A small highlighter for Python source: comments, strings, numbers, keywords, names being defined.

import { el } from "./format.js";

const TOKEN = /(?<comment>#.*)|(?<string>[rbf]{0,2}(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))|(?<number>\b\d[\d_]*\.?\d*(?:e[+-]?\d+)?\b)|(?<defined>(?<=\b(?:def|class)\s+)\w+)|(?<keyword>\b(?:and|as|assert|async|await|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b)/g;

export function python(source) {
  const parts = [];
  let end = 0;
  for (const match of source.matchAll(TOKEN)) {
    parts.push(source.slice(end, match.index));
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    parts.push(el(`span.py-${kind}`, {}, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(source.slice(end));
  return parts;
}
