// What the page holds: arrays, texts, clusters, and samples as LaTeX. Nothing here draws.

const ARRAYS = {
  int8: Int8Array, int16: Int16Array, uint16: Uint16Array, uint32: Uint32Array,
  float32: Float32Array,
};

/** Bytes from base64 of what gzip has made. */
async function unpacked(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(plain).arrayBuffer();
}

/** What jquanta.qdg.pages.render.embedded has packed, with arrays in place of where they lie, and a
 * row for each count. Little-endian, as every machine with a browser is. */
function opened(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const raw = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const samples = raw.index.length;
  const decoded = ({ dtype, at, length: n }) => new ARRAYS[dtype](buffer, 4 + length + at, n);
  const rows = (packed, number) => {
    const flat = decoded(packed);
    return Array.from({ length: number }, (_, i) => flat.subarray(i * samples, (i + 1) * samples));
  };
  const cosines = (packed) =>
    Float32Array.from(packed, (step) => (step === -32768 ? NaN : step / 32767));
  return {
    ...raw,
    samples,
    pieces: decoded(raw.pieces),
    starts: decoded(raw.starts),
    targets: decoded(raw.targets),
    labels: rows(raw.labels, raw.counts.length),
    centrality: rows(raw.centrality, raw.counts.length).map(cosines),
    tightness: raw.tightness.map(decoded),
    trust: raw.trust.map((one) => one && Object.fromEntries(
      Object.entries(one).map(([name, packed]) => [name, decoded(packed)]))),
    beside: raw.beside && {
      ...raw.beside,
      labels: raw.beside.labels.map((packed) => packed && decoded(packed)),
      sizes: raw.beside.sizes.map((packed) => packed && decoded(packed)),
    },
    loss: decoded(raw.loss),
    means: raw.means.map(decoded), // of each count: [model, cluster]
    everyone: decoded(raw.everyone),
    drawn: decoded(raw.drawn),
    cosine: decoded(raw.cosine),
    latex: { ...raw.latex, pattern: new RegExp(raw.latex.invisible, 'u') },
  };
}

/** A sample's text with so many tokens on each side. */
function textOf(data, sample, before, after) {
  const at = data.starts[sample] + data.targets[sample];
  const joined = (from, to) => {
    let text = '';
    for (let i = from; i < to; i++) text += data.words[data.pieces[i]];
    return text;
  };
  return {
    before: joined(Math.max(data.starts[sample], at - before), at),
    target: data.words[data.pieces[at]],
    after: joined(at + 1, Math.min(data.starts[sample + 1], at + 1 + after)),
  };
}

const hex = (c) => c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
const number = new Intl.NumberFormat('en');
const fixed = (value, digits) => (Number.isNaN(value) ? '–' : value.toFixed(digits));

/** The mean over some samples; NaN for none. */
function mean(values, samples) {
  let sum = 0;
  for (const i of samples) sum += values[i];
  return sum / samples.length;
}

/** Clusters of one count: members (the most central first), tightness, loss, targets by number. */
function clustersOf(data, count) {
  const labels = data.labels[count];
  const central = data.centrality[count];
  const members = Array.from(data.tightness[count], () => []);
  labels.forEach((label, sample) => members[label].push(sample));
  const known = (sample) => (Number.isNaN(central[sample]) ? -2 : central[sample]);
  const contexts = (data.contexts ??= contextsOf(data));
  return grouped(members.map((own, label) => {
    own.sort((a, b) => known(b) - known(a) || a - b);
    const times = new Map();
    for (const sample of own) {
      const word = targetOf(data, sample);
      times.set(word, (times.get(word) ?? 0) + 1);
    }
    const targets = [...times].sort((a, b) => b[1] - a[1]);
    return {
      label,
      members: own,
      tightness: data.tightness[count][label],
      loss: mean(data.loss, own),
      again: data.trust[count]?.again[label] ?? NaN,
      trust: trustOf(data, count, label),
      targets: targets.map(([word, n]) => [data.words[word], n]),
      context: own.length ? labelOf(data, contexts, own, targets[0][0]) : [],
    };
  }));
}

/** What is known of a cluster beside chance; null where nothing is. */
function trustOf(data, count, label) {
  const found = data.trust[count];
  if (!found) return null;
  const told = Object.fromEntries(Object.entries(found).map(([name, values]) => [name, values[label]]));
  return { ...told, none: told.p > data.chance };
}

const tokenPredicted = (cluster) => cluster.targets[0]?.[0] ?? '';

/** Clusters with the rank of the group that predicts the same token, the one of most samples 0. */
function grouped(clusters) {
  const sizes = new Map();
  for (const cluster of clusters) {
    const token = tokenPredicted(cluster);
    sizes.set(token, (sizes.get(token) ?? 0) + cluster.members.length);
  }
  const ranked = [...sizes].sort((a, b) => b[1] - a[1]).map(([token]) => token);
  const ranks = new Map(ranked.map((token, rank) => [token, rank]));
  return clusters.map((cluster) => ({ ...cluster, group: ranks.get(tokenPredicted(cluster)) }));
}

const SORTS = {
  size: (a, b) => a.label - b.label, // labels are ranks by size
  tightness: (a, b) => b.tightness - a.tightness,
  again: (a, b) => b.again - a.again,
  loss: (a, b) => a.loss - b.loss,
  token: (a, b) => a.group - b.group,
};

/** Clusters in an order: a name in SORTS, reversed after a minus. Unknown values come last. */
function sorted(clusters, sort) {
  const name = sort.replace('-', '');
  const sign = sort.startsWith('-') ? -1 : 1;
  const unknown = (cluster) => Number(Number.isNaN(name === 'size' ? 0 : cluster[name]));
  return [...clusters].sort(
    (a, b) => unknown(a) - unknown(b) || sign * SORTS[name](a, b) || a.label - b.label,
  );
}

/** Finds a text wherever it stands, small or large letters; null for none. */
function finder(query) {
  return query ? new RegExp(query.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'giu') : null;
}

/** Which samples hold a match in the text shown: 1 or 0 for each. */
function matches(data, find, before, after) {
  const found = new Uint8Array(data.samples);
  for (let i = 0; i < data.samples; i++) {
    const text = textOf(data, i, before, after);
    found[i] = (text.before + text.target + text.after).search(find) >= 0;
  }
  return found;
}

/** Text as LaTeX: the same as jquanta.qdg.pages.latex.escape, by the same tables. */
function escapeLatex(latex, text, boxed = false) {
  const characters = Array.from(text);
  const blank = (c) => c === ' ' || c === '\n' || c === '\t';
  let run = 0;
  let made = '';
  characters.forEach((c, i) => {
    run = blank(c) ? 0 : run + 1;
    if (run > latex.run && !boxed) {
      run = 1;
      made += '\\allowbreak{}';
    }
    if (c === '\n') made += boxed ? '\\QReturn{}' : '\\QLine{}%\n';
    else if (c === '\t') made += '\\QTab{}';
    else if (c === ' ') {
      const inside = i > 0 && i < characters.length - 1;
      const alone = inside && !blank(characters[i - 1]) && !blank(characters[i + 1]);
      made += boxed ? '\\QDot{}' : alone ? ' ' : '\\QSpace{}';
    } else if (latex.pattern.test(c)) made += `\\QCode{${hex(c)}}`;
    else if (c.codePointAt(0) > 126) made += `\\QChar{${hex(c)}}{${c}}`;
    else made += latex.escapes[c] ?? c;
  });
  return made;
}

/** Samples as a fragment: the same as jquanta.qdg.pages.latex.fragment. */
function latexOf(latex, samples, title) {
  const escaped = (text, boxed) => escapeLatex(latex, text, boxed);
  const made = samples.map(({ before, target, after, note }) => {
    const characters = Array.from(target);
    const boxes = [];
    for (let i = 0; i < characters.length; i += latex.run) {
      boxes.push(`\\QTarget{${escaped(characters.slice(i, i + latex.run).join(''), true)}}`);
    }
    const line = target.includes('\n') ? '\\newline\n' : '';
    const rest = after && `\\QAfter{${escaped(after)}}`;
    const text = `${escaped(before)}${boxes.join('\\allowbreak{}')}${line}${rest}`;
    return `\\QSample{${escaped(note)}}{%\n${text}}`;
  });
  return [latex.definitions, `\\noindent\\textbf{${escaped(title)}}\\par`, ...made].join('\n\n') + '\n';
}

const data = opened(await unpacked(document.getElementById('data').textContent));
