// The similarity matrix and the loss charts.

/** Colours named in the style, as [red, green, blue]. */
function colour(name) {
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

/** Rows of the drawn matrix by cluster, the most central first: places in `data.drawn`. */
function rowsByCluster(data, count) {
  const label = (i) => data.labels[count][data.drawn[i]];
  const central = (i) => data.centrality[count][data.drawn[i]] || 0;
  return Array.from(data.drawn, (_, i) => i).sort(
    (a, b) => label(a) - label(b) || central(b) - central(a) || a - b,
  );
}

/** Draw the cosines in an order of rows: from one colour at -1 over the paper's to another at 1. */
function drawMatrix(canvas, data, order) {
  const side = order.length;
  canvas.width = canvas.height = side;
  const [cold, paper, hot] = ['--cold', '--matrix', '--hot'].map(colour);
  const shades = new Uint32Array(256); // by the cosine's byte
  for (let value = -127; value <= 127; value++) {
    const end = value < 0 ? cold : hot;
    const part = Math.abs(value) / 127;
    const mix = (i) => Math.round(paper[i] + (end[i] - paper[i]) * part);
    shades[value & 255] = (255 << 24) | (mix(2) << 16) | (mix(1) << 8) | mix(0);
  }
  const pixels = new Uint32Array(side * side);
  for (let y = 0; y < side; y++) {
    const row = order[y] * side;
    for (let x = 0; x < side; x++) pixels[y * side + x] = shades[data.cosine[row + order[x]] & 255];
  }
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), side, side);
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** Where a cluster lies among ordered rows: first place, and the place after its last. */
function placeOf(data, count, order, label) {
  const labels = order.map((i) => data.labels[count][data.drawn[i]]);
  const first = labels.findIndex((other) => other >= label);
  const from = first < 0 ? labels.length : first;
  const after = labels.findIndex((other) => other > label);
  return [from, after < 0 ? labels.length : after];
}

function svg(name, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A number for people: 18.9M. */
function short(value) {
  const [unit, name] = [[1e9, 'B'], [1e6, 'M'], [1e3, 'k']].find(([u]) => value >= u) ?? [1, ''];
  return Number((value / unit).toPrecision(3)) + name;
}

/** Ticks of a linear axis from 0 to at least `top`. */
function ticks(top) {
  const rough = (top || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** Ticks of a logarithmic axis: powers of ten, and between them where they are few. */
function logTicks(low, high) {
  const within = (n) => n >= low * 0.999 && n <= high * 1.001;
  const powers = (digits) =>
    Array.from({ length: 14 }, (_, e) => digits.map((d) => d * 10 ** e)).flat().filter(within);
  const found = [[1], [1, 3], [1, 2, 5]].map(powers).find((some) => some.length >= 3);
  return found ?? powers([1, 1.5, 2, 3, 5, 7]);
}

/**
 * Mean losses over a logarithmic axis, as one SVG.
 * series: [{name, kind, points: [[x, nats], ...]}], kind a class of the style.
 * x = 0 is drawn at the place of a half, so that step 0 has one.
 */
function chart({ title, axis, series }) {
  const [width, height, left, right, top, bottom] = [340, 210, 34, 12, 26, 38];
  const every = series.flatMap(({ points }) => points);
  const xs = every.map(([x]) => Math.max(x, 0.5));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const span = Math.log(high / low) || 1;
  const vertical = ticks(Math.max(...every.map(([, y]) => y).filter((y) => !Number.isNaN(y)), 0));
  const x = (value) =>
    left + (Math.log(Math.max(value, 0.5) / low) / span) * (width - left - right);
  const y = (value) => height - bottom - (value / vertical.at(-1)) * (height - bottom - top);
  const told = series.map(({ name, points }) =>
    `${name}: ${points.map(([at, nats]) => `${fixed(nats, 2)} at ${short(at)}`).join(', ')}`);
  const root = svg('svg', {
    viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${title}, nats. ${told.join('. ')}`,
  });
  for (const tick of vertical) {
    root.append(
      svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg('text', { class: 'tick', x: left - 6, y: y(tick) + 3.5, 'text-anchor': 'end' },
        String(Number(tick.toPrecision(6)))),
    );
  }
  for (const tick of logTicks(low, high)) {
    root.append(
      svg('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: height - bottom, y2: height - bottom + 4 }),
      svg('text', { class: 'tick', x: x(tick), y: height - bottom + 16, 'text-anchor': 'middle' }, short(tick)),
    );
  }
  root.append(
    svg('text', { class: 'axis', x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle' }, axis),
    svg('text', { class: 'axis', x: 0, y: 11 }, 'mean loss (nats)'),
  );
  for (const { name, kind, points } of series) {
    const known = points.filter(([, nats]) => !Number.isNaN(nats));
    const path = known.map(([at, nats]) => `${x(at).toFixed(1)},${y(nats).toFixed(1)}`).join(' ');
    root.append(svg('polyline', { class: kind, points: path }));
    for (const [at, nats] of known) {
      const dot = svg('circle', { class: kind, cx: x(at), cy: y(nats), r: 2.5 });
      dot.append(svg('title', {}, `${name}, ${short(at)}: ${fixed(nats, 3)} nats`));
      root.append(dot);
    }
  }
  return root;
}

/** What the charts show of a cluster: mean losses over sizes, and over checkpoints. */
function lossCharts(data, count, label) {
  const clusters = data.tightness[count].length;
  const told = data.columns.map((column, i) => ({
    ...column, mean: data.means[count][i * clusters + label], all: data.everyone[i],
  }));
  const models = [...Map.groupBy(told, (column) => column.name).values()];
  const lasts = models.map((columns) =>
    columns.reduce((a, b) => ((b.step ?? Infinity) >= (a.step ?? Infinity) ? b : a)));
  const stepped = models
    .map((columns) => columns.filter((column) => column.step !== null))
    .filter((columns) => columns.length > 1);
  const charts = [];
  if (models.length > 1) {
    const line = (name, kind, key) =>
      ({ name, kind, points: lasts.map((column) => [column.size, column[key]]) });
    charts.push({
      title: 'Over sizes, at the last checkpoint of each',
      axis: 'parameters without embeddings',
      series: [line('all samples', 'every', 'all'), line('this cluster', 'own', 'mean')],
    });
  }
  if (stepped.length) {
    charts.push({
      title: 'Over checkpoints',
      axis: 'training step',
      series: stepped.map((columns, i) => ({
        name: columns[0].name.split('/').at(-1),
        kind: stepped.length > 1 ? `model${Math.floor((i * 5) / (stepped.length - 1))}` : 'own',
        points: columns.map((column) => [column.step, column.mean]).sort((a, b) => a[0] - b[0]),
      })),
    });
  }
  return { told, charts };
}
