// Another clustering beside the page's own: how the two overlap, and the samples of both side by side.

const [NO_SAMPLE, NO_CLUSTER] = [-2, -1]; // as in jquanta.qdg.pages.page

if (data.beside) SORTS.beside = (a, b) => b.beside - a.beside;

// How they overlap

/** The other clustering at a count: its cluster of each sample, each cluster's samples that are
 * here, and how many it has there. Null where it lacks the count. */
function otherOf(data, count) {
  const stored = data.beside?.labels[count];
  if (!stored) return null;
  const sizes = data.beside.sizes[count];
  const label = Int32Array.from(stored, (value) => value + NO_SAMPLE);
  const members = Array.from(sizes, () => []);
  label.forEach((there, sample) => { if (there >= 0) members[there].push(sample); });
  return { label, members, sizes };
}

/** Where some samples are in the other clustering: parts, the likest cluster first and then those
 * of most samples; how many are in none of its clusters, and how many it does not have. */
function overlapOf(other, samples) {
  const times = new Map([[NO_SAMPLE, 0], [NO_CLUSTER, 0]]);
  for (const sample of samples) {
    const there = other.label[sample];
    times.set(there, (times.get(there) ?? 0) + 1);
  }
  const absent = times.get(NO_SAMPLE);
  // Of the samples that both have: one that it lacks could be in no cluster there.
  const own = samples.length - absent;
  const parts = [...times].filter(([label]) => label >= 0).map(([label, both]) =>
    ({ label, both, jaccard: both / (own + other.members[label].length - both) }));
  parts.sort((a, b) => b.jaccard - a.jaccard || a.label - b.label);
  const rest = parts.splice(1).sort((a, b) => b.both - a.both || a.label - b.label);
  return { parts: [...parts, ...rest], none: times.get(NO_CLUSTER), absent, own };
}

/** Clusters with where their samples are in the other clustering, if there is one. */
function compared(clusters, other) {
  return clusters.map((cluster) => {
    const overlap = other && overlapOf(other, cluster.members);
    return { ...cluster, overlap, beside: overlap?.parts[0]?.jaccard ?? NaN };
  });
}

/** What two clusters share: an entry of `overlapOf`, with nothing in both where it has none. */
function partOf({ overlap }, label) {
  return overlap.parts.find((part) => part.label === label) ?? { label, both: 0, jaccard: 0 };
}

/** The samples of a cluster of the other clustering: those that are in a cluster of the page, too, in
 * its order, and then the others by their clusters here, those of most first. */
function samplesThere(data, count, other, cluster, label) {
  const here = data.labels[count];
  const apart = other.members[label].filter((sample) => here[sample] !== cluster.label);
  const times = new Map();
  for (const sample of apart) times.set(here[sample], (times.get(here[sample]) ?? 0) + 1);
  const central = (sample) => (Number.isNaN(data.centrality[count][sample]) ? -2 : data.centrality[count][sample]);
  apart.sort((a, b) => times.get(here[b]) - times.get(here[a]) || here[a] - here[b]
    || central(b) - central(a) || a - b);
  return [...cluster.members.filter((sample) => other.label[sample] === label), ...apart];
}

// State → screen: the functions below read the state of page.js when it calls them

const PARTS = { '': '', both: 'in both', apart: 'in one only' };

/** The other's cluster that stands beside; null where there is none. */
function chosenThere() {
  return view.other && (state.beside ?? view.clusters[state.cluster].overlap.parts[0]?.label ?? null);
}

const isHere = (sample) => data.labels[state.count][sample] === state.cluster;
const isThere = (sample) => view.other.label[sample] === chosenThere();

/** Of some samples those that are in both clusters, or in one only, if that is what is shown. */
function ofPart(samples) {
  if (!state.part || chosenThere() === null) return samples;
  return samples.filter((sample) => (isHere(sample) && isThere(sample)) === (state.part === 'both'));
}

const listedHere = () => ofPart(view.found[state.cluster]);

function whereThere(sample) {
  const there = view.other.label[sample];
  if (there === NO_SAMPLE) return ['only here; no sample there'];
  if (there === NO_CLUSTER) return [`only here; in no ${data.beside.noun} there`];
  return ['only here; ', placeButton('beside', there, `there in ${there}`)];
}

function whereHere(sample) {
  const here = data.labels[state.count][sample];
  return ['only there; ', placeButton('cluster', here, `here in ${here}`)];
}

/** A button that goes to a cluster, here or there. */
function placeButton(name, label, textContent) {
  const button = make('button', { type: 'button', className: 'place', textContent });
  button.dataset[name] = label;
  return button;
}

function drawBeside() {
  const label = chosenThere();
  const cluster = view.clusters[state.cluster];
  $('overlap').replaceChildren(...overlapTold(cluster));
  drawBars(cluster, label);
  $('parts').hidden = $('other').hidden = $('here').hidden = label === null;
  $('pair').classList.toggle('alone', label === null);
  for (const button of $('parts').children) {
    button.setAttribute('aria-pressed', String(button.dataset.part === state.part));
  }
  if (label === null) return;
  const { both, jaccard } = partOf(cluster, label);
  const size = view.other.sizes[label];
  const there = view.other.members[label].length;
  const elsewhere = size - there;
  $('in-both').textContent = number.format(both);
  $('in-one').textContent = number.format(cluster.members.length + there - 2 * both);
  $('here').textContent = `Here: cluster ${cluster.label}, ${counted(cluster.members.length)}`;
  $('there').replaceChildren(`${data.beside.name}: ${data.beside.noun} ${label}, ${counted(size)}`, make('small', {
    textContent: `${number.format(both)} in both, Jaccard ${fixed(jaccard, 2)}${
      elsewhere ? `; ${number.format(elsewhere)} are not on this page` : ''}` }));
  const all = samplesThere(data, state.count, view.other, cluster, label);
  const listed = ofPart(view.flags ? all.filter((sample) => view.flags[sample]) : all);
  const shown = listed.slice(0, state.there);
  $('list-there').replaceChildren(...shown.length ? shown.map((sample) => drawSample(sample, whereHere))
    : [make('li', { className: 'none', textContent: 'None to show.' })]);
  $('more-there').hidden = shown.length === listed.length;
  $('more-there').textContent = `Show ${Math.min(FEW, listed.length - shown.length)} more of ${number.format(listed.length)}`;
}

const counted = (n) => `${number.format(n)} ${n === 1 ? 'sample' : 'samples'}`;

/** What is said above the bars: where a cluster's samples are in the other clustering. */
function overlapTold({ members, overlap }) {
  const { name, sizes } = data.beside;
  if (!overlap) {
    const away = (i) => (sizes[i] ? Math.abs(data.counts[i] - data.counts[state.count]) : Infinity);
    const near = data.counts.map((_, i) => i).reduce((a, b) => (away(b) < away(a) ? b : a));
    const button = make('button', { type: 'button', className: 'place', textContent: `show ${data.counts[near]}, which it has` });
    button.dataset.count = near;
    return [`${name} has no clustering with ${number.format(data.counts[state.count])} clusters: `, button];
  }
  if (!overlap.parts.length) {
    return [`In ${name} none of its ${counted(members.length)} is in a ${data.beside.noun}.`];
  }
  return [`In ${name} its ${counted(members.length)} ${members.length === 1 ? 'is' : 'are'} in`];
}

const BARS = 5; // clusters of the other that have a bar

function drawBars(cluster, label) {
  const { members, overlap } = cluster;
  const focused = $('bars').contains(document.activeElement) && document.activeElement.dataset.beside;
  $('bars').replaceChildren();
  if (!overlap) return;
  const parts = overlap.parts.slice(0, BARS);
  if (label !== null && !parts.some((part) => part.label === label)) parts.push(partOf(cluster, label));
  const bar = (n) => {
    const filled = make('i', { className: 'bar' });
    filled.style.width = `${(100 * n) / members.length}%`;
    return make('span', { className: 'track' }, filled);
  };
  const line = (name, n, ...more) => [make('span', { textContent: name }), bar(n),
    make('b', { textContent: number.format(n) }), ...more];
  const told = parts.map(({ label: there, both, jaccard }) => {
    const button = make('button', { type: 'button' }, ...line(`${data.beside.noun} ${there}`, both,
      make('small', { textContent: `Jaccard ${fixed(jaccard, 2)}` })));
    button.dataset.beside = there;
    button.setAttribute('aria-pressed', String(there === label));
    return button;
  });
  const shown = parts.reduce((sum, { both }) => sum + both, 0);
  const left = members.length - overlap.none - overlap.absent - shown;
  const clusters = overlap.parts.length - parts.filter(({ both }) => both).length;
  const rest = [
    [clusters === 1 ? '1 other cluster' : `${number.format(clusters)} other clusters`, left],
    ['no cluster', overlap.none],
    ['no sample there', overlap.absent],
  ];
  for (const [name, n] of rest) if (n) told.push(make('div', {}, ...line(name, n)));
  $('bars').append(...told.map((one) => make('li', {}, one)));
  if (focused) $('bars').querySelector(`[data-beside="${focused}"]`)?.focus();
}
