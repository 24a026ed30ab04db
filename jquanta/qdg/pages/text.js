// Texts on the screen: as text nodes only, never as HTML.

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const SPECIAL = new RegExp(`(\\n|\\t| {2,}|^ | $|${data.latex.invisible})`, 'u');

/** Text with its invisible characters marked by the style; what is selected stays the text. */
function marked(text) {
  return text.split(SPECIAL).map((part, i) => {
    if (i % 2 === 0) return part;
    const span = make('span', { className: 'odd' }, make('span', { textContent: part }));
    if (part === '\n' || part === '\t') {
      return make('span', { className: part === '\n' ? 'line' : 'tab', textContent: part });
    }
    if (part[0] === ' ') Object.assign(span, { className: 'blank', textContent: part });
    span.dataset.shown = part[0] === ' ' ? '·'.repeat(part.length) : `U+${hex(part)}`;
    return span;
  });
}

/** A text in its three parts, with what a search found marked across them. */
function highlighted({ before, target, after }, find) {
  const text = before + target + after;
  const found = find ? Array.from(text.matchAll(find), (m) => [m.index, m.index + m[0].length]) : [];
  const piece = (from, to) => {
    const made = [];
    let at = from;
    for (const [start, end] of found) {
      const [a, b] = [Math.max(start, at), Math.min(end, to)];
      if (a >= b) continue;
      made.push(...marked(text.slice(at, a)), make('mark', { className: 'found' }, ...marked(text.slice(a, b))));
      at = b;
    }
    return [...made, ...marked(text.slice(at, to))];
  };
  const [left, right] = [before.length, before.length + target.length];
  return [
    ...piece(0, left),
    make('mark', { className: 'target' }, ...piece(left, right)),
    make('span', { className: 'after' }, ...piece(right, text.length)),
  ];
}

const tokenOf = (text) => make('code', {}, ...marked(text));
