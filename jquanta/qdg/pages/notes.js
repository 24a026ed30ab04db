// A reader's own notes on clusters: kept in the address, and in a file that can be saved and opened.

const LONGEST_NOTE = 200;
const LONGEST_LINK = 8000; // characters of all notes in an address

const noteKey = (count, cluster) => `${count}/${cluster}`;

/** Notes from a list of [count, cluster, text]; those of clusters that are not here are left out. */
function notesFrom(list, data) {
  const notes = new Map();
  for (const [count, cluster, text] of Array.isArray(list) ? list.filter(Array.isArray) : []) {
    const known = data.tightness[data.counts.indexOf(count)]?.length ?? 0;
    const there = Number.isInteger(cluster) && cluster >= 0 && cluster < known;
    if (there && typeof text === 'string' && text) {
      notes.set(noteKey(count, cluster), text.slice(0, LONGEST_NOTE));
    }
  }
  return notes;
}

/** The same as a list, by count and cluster. */
function notesList(notes) {
  return [...notes].map(([key, text]) => [...key.split('/').map(Number), text])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

/** Notes as they stand in an address; empty where they are none, or too long for one. */
function notesInLink(notes) {
  const text = notes.size ? JSON.stringify(notesList(notes)) : '';
  return text.length > LONGEST_LINK ? '' : text;
}

function notesOfLink(text, data) {
  try {
    return notesFrom(JSON.parse(text), data);
  } catch {
    return new Map();
  }
}

/** The content of a file of notes. */
function notesFile(notes, title) {
  const list = notesList(notes).map(([count, cluster, note]) => ({ count, cluster, note }));
  return JSON.stringify({ page: title, notes: list }, null, 2);
}

/** Notes of a file, and what to say of them. */
function notesOfFile(text, data) {
  try {
    const { page, notes } = JSON.parse(text);
    const list = notes.map(({ count, cluster, note }) => [count, cluster, note]);
    const found = notesFrom(list, data);
    const lost = list.length - found.size;
    const other = page === data.title ? '' : ` The file is of another page, ${page}.`;
    const few = lost ? ` ${number.format(lost)} are of clusters that are not here.` : '';
    return [found, `${number.format(found.size)} notes read.${few}${other}`];
  } catch {
    return [new Map(), 'That file holds no notes of such a page.'];
  }
}

function download(name, text) {
  const link = make('a', { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
