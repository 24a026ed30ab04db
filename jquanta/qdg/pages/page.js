// State → screen. The state is in the address (#count=400&cluster=50): every change goes through
// `go`, which draws what differs.

const $ = (id) => document.getElementById(id);
const FEW = 20; // samples shown at first, and more at a time
const ROWS = 150; // clusters listed at first, and more at a time
const COLUMNS = document.querySelectorAll('th[data-sort]').length;
const LONGEST = [Number($('before').max), Number($('after').max)];
const DEFAULTS = {
  count: nearest(data.counts, 400), cluster: 0, search: '', sort: 'size',
  before: Math.min(40, LONGEST[0]), after: Math.min(10, LONGEST[1]), notes: new Map(),
  beside: null, part: '', // the other's cluster (null: the likest), and which samples of both
};

let state = { ...DEFAULTS, samples: FEW, there: FEW, rows: ROWS };
let view = null; // what is derived from the state: clusters, other, listed, found, order
const known = new Map(); // clusters of each count, and the other's, made once

function nearest(counts, wanted) {
  const away = counts.map((count) => Math.abs(count - wanted));
  return away.indexOf(Math.min(...away));
}

// The address

/** The state that an address asks for, and what about it could not be had. */
function asked(hash) {
  const found = { ...DEFAULTS };
  const parameters = new URLSearchParams(hash.slice(1));
  const troubles = [];
  const whole = (name, last) => {
    const text = parameters.get(name);
    if (text === null) return;
    if (/^\d+$/.test(text) && Number(text) <= last) found[name] = Number(text);
    else troubles.push(`${name} ${text} is not one of 0 to ${last}`);
  };
  if (parameters.has('count')) {
    const text = parameters.get('count');
    const place = data.counts.indexOf(Number(text));
    found.count = place >= 0 ? place : nearest(data.counts, Number(text) || 400);
    if (place < 0) troubles.push(`there is no clustering with ${text} clusters`);
  }
  whole('cluster', data.tightness[found.count].length - 1);
  whole('before', LONGEST[0]);
  whole('after', LONGEST[1]);
  if (data.beside && parameters.has('beside')) {
    const sizes = data.beside.sizes[found.count];
    if (sizes) whole('beside', sizes.length - 1);
    else troubles.push(`${data.beside.name} has no clustering with ${data.counts[found.count]} clusters`);
  }
  if (data.beside && parameters.has('part')) {
    const part = parameters.get('part');
    if (Object.hasOwn(PARTS, part)) found.part = part;
    else troubles.push(`part ${part} is neither both nor apart`);
  }
  found.search = parameters.get('search') ?? '';
  found.notes = parameters.has('notes') ? notesOfLink(parameters.get('notes'), data) : state.notes;
  const sort = parameters.get('sort') ?? DEFAULTS.sort;
  if (Object.hasOwn(SORTS, sort.replace('-', ''))) found.sort = sort;
  else troubles.push(`nothing is sorted by ${sort}`);
  const shown = `Showing cluster ${found.cluster} of ${data.counts[found.count]}.`;
  return [found, troubles.length ? `The link asks for what is not here: ${troubles.join('; ')}. ${shown}` : ''];
}

function address() {
  const parameters = new URLSearchParams({ count: data.counts[state.count], cluster: state.cluster });
  for (const name of ['beside', 'part', 'search', 'sort', 'before', 'after']) {
    if (state[name] !== DEFAULTS[name]) parameters.set(name, state[name]);
  }
  const notes = notesInLink(state.notes);
  if (notes) parameters.set('notes', notes);
  return `#${parameters}`;
}

let syncing;
/** Write the address once the state has come to rest: browsers refuse many changes in a row. */
function sync(write) {
  clearTimeout(syncing);
  syncing = setTimeout(() => {
    if (location.hash !== address()) history[write](null, '', address());
  }, 300);
}

// Changes

/** The one way to change what is shown; with a notice, perhaps empty, as an address asks for it. */
function go(changes, notice) {
  const before = view && state;
  const differs = (...names) => !before || names.some((name) => before[name] !== state[name]);
  state = { ...state, ...changes };
  if (differs('count', 'cluster', 'search', 'part')) Object.assign(state, { samples: FEW, there: FEW });
  if (differs('beside')) state.there = FEW;
  if (differs('count', 'search', 'sort')) state.rows = ROWS;
  if (differs('count', 'search', 'sort') || (state.search && differs('before', 'after'))) derive();
  if (before && differs('count', 'cluster') && !('beside' in changes)) state.beside = null; // the likest
  if (differs('count', 'search', 'sort', 'rows', 'notes') || (state.search && differs('before', 'after'))) {
    drawRows();
  }
  if (differs('count')) {
    drawPicture();
    drawStability();
  }
  if (differs('count', 'cluster')) drawCluster();
  if (differs('count', 'cluster', 'notes')) drawNote();
  if (differs('count', 'cluster', 'search', 'before', 'after', 'samples', 'beside', 'part')) drawSamples();
  if (data.beside && differs('count', 'cluster', 'search', 'before', 'after', 'beside', 'part', 'there')) drawBeside();
  drawControls();
  $('notice').textContent = notice ?? '';
  $('notice').hidden = !notice;
  sync(notice === undefined ? 'pushState' : 'replaceState');
}

function derive() {
  if (!known.has(state.count)) {
    const other = otherOf(data, state.count);
    known.set(state.count, { other, clusters: compared(clustersOf(data, state.count), other) });
  }
  const { clusters, other } = known.get(state.count);
  const find = finder(state.search);
  const flags = find && matches(data, find, state.before, state.after);
  const found = clusters.map(({ members }) => (flags ? members.filter((i) => flags[i]) : members));
  const listed = sorted(clusters, state.sort).filter(({ label }) => found[label].length);
  const order = view?.count === state.count ? view.order : rowsByCluster(data, state.count);
  view = { count: state.count, clusters, other, find, flags, found, listed, order };
  // A search that leaves nothing of this cluster moves on to the first that it leaves.
  if (find && listed.length && !found[state.cluster]?.length) state.cluster = listed[0].label;
}

/** The cluster before or after this one in the list. */
function step(by) {
  const { listed } = view;
  const place = listed.findIndex(({ label }) => label === state.cluster);
  const to = listed[place < 0 ? 0 : place + by];
  if (!to) return;
  go({ cluster: to.label, rows: Math.max(state.rows, place + by + 1) });
  if ($('samples').getBoundingClientRect().top < 0) $('samples').scrollIntoView();
  row(to.label)?.scrollIntoView({ block: 'nearest' });
}

// Drawing

function drawControls() {
  $('count').value = state.count;
  if ($('search').value !== state.search) $('search').value = state.search;
  for (const name of ['before', 'after']) {
    $(name).value = state[name];
    $(`${name}-value`).textContent = state[name];
  }
  for (const header of document.querySelectorAll('th[data-sort]')) {
    const on = state.sort.replace('-', '') === header.dataset.sort;
    const down = (header.dataset.sort === 'loss') === state.sort.startsWith('-');
    if (on) header.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    else header.removeAttribute('aria-sort');
  }
  const place = view.listed.findIndex(({ label }) => label === state.cluster);
  $('previous').disabled = place <= 0;
  $('next').disabled = !view.listed.length || place === view.listed.length - 1;
  for (const link of $('rows').querySelectorAll('[aria-current]')) link.removeAttribute('aria-current');
  row(state.cluster)?.setAttribute('aria-current', 'true');
}

const row = (label) => $('rows').querySelector(`a[data-label="${label}"]`);

function drawRows() {
  const all = view.clusters.length;
  const { listed } = view;
  $('caption').textContent = state.search
    ? `${number.format(listed.length)} of ${number.format(all)} clusters have “${state.search}”`
    : `${number.format(all)} clusters`;
  const here = listed.findIndex(({ label }) => label === state.cluster);
  const shown = Math.max(state.rows, here + 1);
  $('rows').replaceChildren(...listed.slice(0, shown).flatMap((cluster, i) => {
    const first = state.sort.endsWith('token') && listed[i - 1]?.group !== cluster.group;
    return first ? [drawGroup(cluster), drawRow(cluster)] : [drawRow(cluster)];
  }));
  $('more-rows').hidden = shown >= listed.length;
}

/** The line above the clusters that predict the same token. */
function drawGroup({ group, targets }) {
  const same = view.listed.filter((cluster) => cluster.group === group);
  const samples = same.reduce((sum, { label }) => sum + view.found[label].length, 0);
  const clusters = same.length === 1 ? '1 cluster' : `${number.format(same.length)} clusters`;
  const cell = make('th', { scope: 'rowgroup', colSpan: COLUMNS }, tokenOf(targets[0]?.[0] ?? ''),
    ` ${clusters}, ${number.format(samples)} samples`);
  return make('tr', { className: 'group' }, cell);
}

function drawRow(cluster) {
  const link = make('a', { href: `#count=${data.counts[state.count]}&cluster=${cluster.label}` },
    String(cluster.label));
  link.dataset.label = cluster.label;
  const found = view.found[cluster.label].length;
  const size = cluster.members.length;
  const of = make('small', { textContent: found < size ? `${found} of ${size}` : String(size) });
  return make('tr', {},
    make('th', { scope: 'row' }, link, ' ', of, ...badge(cluster)),
    make('td', {}, tokenOf(tokenPredicted(cluster)), ...contextOrNote(cluster)),
    make('td', { textContent: fixed(cluster.tightness, 2) }),
    ...data.trust.some(Boolean) ? [make('td', { textContent: fixed(cluster.again, 2) })] : [],
    ...data.beside ? [make('td', { textContent: fixed(cluster.beside, 2) })] : [],
    make('td', { textContent: fixed(cluster.loss, 3) }));
}

/** What marks a cluster that is no tighter than chance offers. */
function badge({ trust }) {
  if (!trust?.none) return [];
  return [make('span', { className: 'none-here', textContent: 'no quantum', title: 'no tighter than chance offers' })];
}

/** The second line of a row: the reader's note, or else the telling tokens before the target. */
function contextOrNote({ label, context }) {
  const note = state.notes.get(noteKey(data.counts[state.count], label));
  if (note) return [make('small', { className: 'own-note', textContent: note, title: note })];
  if (!context.length) return [];
  return [make('small', { className: 'context', title: `after ${context.join(' … ')}` },
    'after ', ...wordsOf(context))];
}

const wordsOf = (context) => context.flatMap((word, i) => [i ? ' … ' : '', word.trim()]);

function drawNote() {
  const note = state.notes.get(noteKey(data.counts[state.count], state.cluster)) ?? '';
  if ($('note').value !== note) $('note').value = note;
  $('save-notes').disabled = !state.notes.size;
  const long = state.notes.size && !notesInLink(state.notes);
  $('notes-where').textContent = long ? 'Too many for the link: save them as a file.' : '';
}

function takeNote(text) {
  const key = noteKey(data.counts[state.count], state.cluster);
  const notes = new Map(state.notes);
  if (text.trim()) notes.set(key, text);
  else notes.delete(key);
  go({ notes });
}

async function openNotes(file) {
  const [notes, said] = notesOfFile(await file.text(), data);
  go({ notes: new Map([...state.notes, ...notes]) }, said);
}

function drawStability() {
  $('stability').textContent = data.stability[state.count];
  $('stability').hidden = !data.stability[state.count];
}

function drawCluster() {
  const cluster = view.clusters[state.cluster];
  const { label } = cluster;
  $('name').textContent = `Cluster ${label}`;
  $('of').textContent = `of ${number.format(data.counts[state.count])}`;
  document.title = `Cluster ${label} of ${data.counts[state.count]} · ${data.title}`;
  $('facts').replaceChildren(...factsOf(cluster));
  $('predicts').replaceChildren(...predictionsOf(cluster));
  drawMark();
  drawCharts();
}

/** How many samples a cluster has, how alike they are, and their mean loss. */
function factsOf(cluster) {
  const { members, tightness, loss, trust } = cluster;
  const facts = [`${number.format(members.length)} ${members.length === 1 ? 'sample' : 'samples'}`];
  if (!Number.isNaN(tightness)) facts.push(` · mean similarity of two ${fixed(tightness, 2)}`, whatIs('tight'));
  if (!Number.isNaN(loss)) facts.push(` · mean loss ${fixed(loss, 3)} nats`, whatIs('loss'));
  if (trust && !Number.isNaN(trust.p)) {
    facts.push(` · chance as tight: p ${fixed(trust.p, 3)}, conductance ${fixed(trust.conductance, 3)} (chance ${fixed(trust.null_conductance, 3)})`,
      whatIs('chance'));
  }
  if (trust && !Number.isNaN(trust.again)) facts.push(` · found again ${fixed(trust.again, 2)}`, whatIs('again'));
  return [...badge(cluster), ' ', ...facts];
}

/** The tokens that a cluster predicts, and what they often stand after. */
function predictionsOf({ targets, context }) {
  const most = targets.slice(0, 6).flatMap(([word, n]) => [tokenOf(word), ` ${n}× `]);
  const others = targets.length - 6;
  if (others > 0) most.push(`and ${number.format(others)} other tokens`);
  if (context.length) most.push(' often after ', ...context.flatMap((word) => [tokenOf(word), ' ']));
  return ['Predicts ', ...most, whatIs('predicts')];
}

function drawSamples() {
  const { members } = view.clusters[state.cluster];
  const found = listedHere();
  const shown = found.slice(0, state.samples);
  $('list').replaceChildren(...shown.map((sample) => drawSample(sample, whereThere)));
  $('more').hidden = shown.length === found.length;
  $('more').textContent = `Show ${Math.min(FEW, found.length - shown.length)} more of ${number.format(found.length)}`;
  $('copy-what').textContent = `Copy ${shown.length === 1 ? 'this' : `these ${shown.length}`} as`;
  const all = number.format(members.length);
  const some = number.format(found.length);
  const part = chosenThere() === null ? '' : PARTS[state.part];
  const which = view.find
    ? `${some} of ${all} samples ${part && `${part} `}have “${state.search}”`
    : `${part && `${some} of `}${all} samples${part && ` ${part}`}`;
  const none = view.listed.length ? '' : ' No cluster has it.';
  $('status').textContent = `Cluster ${state.cluster} of ${data.counts[state.count]}: ${which}.${none}`;
  if (!shown.length) $('list').replaceChildren(make('li', { className: 'none', textContent: `${which}.${none}` }));
}

/** A sample in the list; `where` gives what to say of it beside the other clustering. */
function drawSample(sample, where) {
  const text = make('div', { className: 'text', dir: 'ltr' },
    ...highlighted(textOf(data, sample, state.before, state.after), view.find));
  const note = make('p', { className: 'note', textContent: noteOf(sample) });
  if (chosenThere() === null) return make('li', {}, text, note);
  const both = isHere(sample) && isThere(sample);
  return make('li', { className: both ? 'both' : 'apart' }, text, note,
    make('p', { className: 'where' }, ...both ? ['in both'] : where(sample)));
}

/** The line below a sample: the same as jquanta.qdg.pages.page.shown writes. */
function noteOf(sample) {
  const central = data.centrality[state.count][sample];
  return [
    `prediction ${data.index[sample]}`,
    Number.isNaN(data.loss[sample]) ? '' : `${fixed(data.loss[sample], 3)} nats`,
    Number.isNaN(central) ? '' : `similarity ${fixed(central, 2)}`,
  ].filter(Boolean).join('; ');
}

function drawPicture() {
  if (!$('matrix')) return;
  drawMatrix($('matrix'), data, view.order);
}

function drawMark() {
  if (!$('matrix')) return;
  const [from, to] = placeOf(data, state.count, view.order, state.cluster);
  const side = view.order.length;
  Object.assign($('mark').style, {
    left: `${(100 * from) / side}%`, top: `${(100 * from) / side}%`,
    width: `${(100 * (to - from)) / side}%`, height: `${(100 * (to - from)) / side}%`,
  });
  const drawn = `${number.format(side)} of ${number.format(data.samples)} samples, in the order of clusters`;
  const here = to > from ? `${to - from} of them in this one, framed` : 'none of them in this one; the frame is its place';
  $('matrix').setAttribute('aria-label', `Similarity matrix: ${drawn}; ${here}.`);
  $('cell').textContent = `${drawn}; ${here}.`;
}

function drawCharts() {
  if (!$('charts')) return;
  const { told, charts } = lossCharts(data, state.count, state.cluster);
  $('charts').replaceChildren(...charts.map((one) => {
    const names = one.series.map(({ name, kind }) =>
      make('li', {}, make('i', { className: `swatch ${kind}` }), name));
    return make('figure', {}, make('figcaption', { textContent: one.title }), chart(one),
      make('ul', { className: 'names' }, ...names));
  }));
  $('numbers').replaceChildren(...told.map(({ label, size, mean, all }) =>
    make('tr', {},
      make('th', { scope: 'row', textContent: label }),
      ...[short(size), fixed(mean, 3), fixed(all, 3)].map((textContent) => make('td', { textContent })))));
}

// Copying

function chosen() {
  return listedHere().slice(0, state.samples).map((sample) => ({
    ...textOf(data, sample, state.before, state.after), note: noteOf(sample), sample,
  }));
}

function asLatex() {
  const samples = chosen();
  const { members } = view.clusters[state.cluster];
  return latexOf(data.latex, samples,
    `Cluster ${state.cluster} of ${data.counts[state.count]}: ${samples.length} of ${members.length} samples`);
}

function asJson() {
  const number = (value) => (Number.isNaN(value) ? null : value);
  const samples = chosen().map(({ before, target, after, sample }) => ({
    index: data.index[sample], before, target, after,
    loss_nats: number(data.loss[sample]),
    similarity: number(data.centrality[state.count][sample]),
  }));
  return JSON.stringify(
    { ...data.about, count: data.counts[state.count], cluster: state.cluster, samples }, null, 2);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    $('copied').textContent = 'Copied';
    setTimeout(() => { $('copied').textContent = ''; }, 2000);
  } catch { // a page opened from disk may not use the clipboard
    $('by-hand-text').value = text;
    $('by-hand').showModal();
    $('by-hand-text').select();
  }
}

// Events

let waiting;
$('search').addEventListener('input', (event) => {
  clearTimeout(waiting);
  waiting = setTimeout(() => go({ search: event.target.value }), 120);
});
$('controls').addEventListener('submit', (event) => event.preventDefault());
$('count').addEventListener('change', (event) => go({ count: Number(event.target.value), cluster: 0 }));
for (const name of ['before', 'after']) {
  $(name).addEventListener('input', (event) => go({ [name]: Number(event.target.value) }));
}
for (const header of document.querySelectorAll('th[data-sort]')) {
  header.firstElementChild.addEventListener('click', () => {
    const name = header.dataset.sort;
    go({ sort: state.sort === name ? `-${name}` : name });
  });
}
$('previous').addEventListener('click', () => step(-1));
$('next').addEventListener('click', () => step(1));
$('more-rows').addEventListener('click', () => go({ rows: state.rows + 4 * ROWS }));
$('more').addEventListener('click', () => {
  const first = state.samples;
  go({ samples: first + FEW });
  const added = $('list').children[first];
  added.tabIndex = -1;
  added.focus({ preventScroll: true });
});
$('more-there')?.addEventListener('click', () => {
  const first = state.there;
  go({ there: first + FEW });
  const added = $('list-there').children[first];
  added.tabIndex = -1;
  added.focus({ preventScroll: true });
});
$('parts')?.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) go({ part: button.dataset.part });
});
$('bars')?.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) go({ beside: Number(button.dataset.beside) });
});
$('samples').addEventListener('click', (event) => {
  const button = event.target.closest('button.place');
  if (!button) return;
  const { beside, cluster, count } = button.dataset;
  if (beside) {
    go({ beside: Number(beside) });
    $('there').focus({ preventScroll: true });
    $('bars').parentElement.scrollIntoView();
    return;
  }
  go(count ? { count: Number(count), cluster: 0 } : { cluster: Number(cluster) });
  $('samples').focus({ preventScroll: true });
  $('samples').scrollIntoView();
});
$('note').addEventListener('input', (event) => takeNote(event.target.value));
$('save-notes').addEventListener('click', () => download('notes.json', notesFile(state.notes, data.title)));
$('open-notes').addEventListener('change', async (event) => {
  if (event.target.files.length) await openNotes(event.target.files[0]);
  event.target.value = '';
});
$('copy-latex').addEventListener('click', () => copy(asLatex()));
$('copy-json').addEventListener('click', () => copy(asJson()));
$('copy-link').addEventListener('click', () => copy(location.href.split('#')[0] + address()));
function browse(open) {
  $('clusters').classList.toggle('open', open);
  $('browse').setAttribute('aria-expanded', String(open));
}
$('browse').addEventListener('click', () => browse(!$('clusters').classList.contains('open')));
$('rows').addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault(); // the address would drop the search
  go({ cluster: Number(link.dataset.label) });
  browse(false);
});
document.addEventListener('keydown', (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const typing = event.target.closest?.('input, select, textarea, dialog');
  if (!by || typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  step(by);
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('samples').focus();
});
window.addEventListener('hashchange', () => {
  if (location.hash !== address()) go(...asked(location.hash));

});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawPicture);
$('matrix')?.addEventListener('pointermove', (event) => {
  const box = $('matrix').getBoundingClientRect();
  const side = view.order.length;
  const at = (part) => view.order[Math.min(side - 1, Math.max(0, Math.floor(part * side)))];
  const [x, y] = [at((event.clientX - box.left) / box.width), at((event.clientY - box.top) / box.height)];
  const labels = data.labels[state.count];
  const cosine = data.cosine[y * side + x] / 127;
  $('cell').textContent = `Cluster ${labels[data.drawn[y]]} × cluster ${labels[data.drawn[x]]}: cosine ${fixed(cosine, 2)}`;
});
$('matrix')?.addEventListener('pointerleave', drawMark);
$('matrix')?.addEventListener('click', (event) => {
  const part = event.offsetY / $('matrix').clientHeight;
  const row = view.order[Math.min(view.order.length - 1, Math.floor(part * view.order.length))];
  go({ cluster: data.labels[state.count][data.drawn[row]] });
});

// A browser may paint while it still reads the data; an empty frame that fills up would move everything.
for (const part of ['top', 'content']) $(part).hidden = false;
$('explain').open = !location.hash; // who follows a link has been here, or was told
go(...asked(location.hash));
// For the console, and for tests: a module keeps its names to itself.
globalThis.quanta = { data, escapeLatex, go, get view() { return view; } };

