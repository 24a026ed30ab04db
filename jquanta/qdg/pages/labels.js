// A cluster's label: the tokens before the predicted one that tell it from others with the same.

const WINDOW = 10; // tokens before the predicted one that may tell
const OFTEN = 0.4; // share of a cluster's samples that have a telling token
const WORDS_OF_LABEL = 3;

/** The different tokens shortly before a sample's target, as [number, distance] pairs. */
function contextOf(data, sample) {
  const at = data.starts[sample] + data.targets[sample];
  const first = Math.max(data.starts[sample], at - WINDOW);
  const near = new Map();
  for (let i = first; i < at; i++) near.set(data.pieces[i], at - i);
  return near;
}

const targetOf = (data, sample) => data.pieces[data.starts[sample] + data.targets[sample]];

/** How many of some samples have each token shortly before their target, and how far before. */
function tally(contexts, samples) {
  const counts = new Map();
  for (const sample of samples) {
    for (const [word, distance] of contexts[sample]) {
      const [times, sum] = counts.get(word) ?? [0, 0];
      counts.set(word, [times + 1, sum + distance]);
    }
  }
  return counts;
}

/** What labels of all clusters need, made once: contexts, and their tallies for each target. */
function contextsOf(data) {
  const everyone = Array.from({ length: data.samples }, (_, i) => i);
  const contexts = everyone.map((sample) => contextOf(data, sample));
  const byTarget = Map.groupBy(everyone, (sample) => targetOf(data, sample));
  const tallies = new Map([...byTarget].map(([word, samples]) =>
    [word, { size: samples.length, counts: tally(contexts, samples) }]));
  return { contexts, tallies, all: { size: data.samples, counts: tally(contexts, everyone) } };
}

/** What a cluster is compared with: samples of the same target if there are others, else all. */
function backgroundOf({ tallies, all }, target, size) {
  const same = tallies.get(target);
  return same.size - size >= 5 ? same : all;
}

/** Tokens that are in a cluster's contexts more often than elsewhere, the most telling first. */
function telling(data, found, own, target) {
  const background = backgroundOf(found, target, own.length);
  const others = background.size - own.length;
  const scores = [];
  for (const [word, [times, sum]] of tally(found.contexts, own)) {
    const share = times / own.length;
    const elsewhere = (background.counts.get(word)[0] - times + 0.5) / (others + 1);
    if (share >= OFTEN && share > elsewhere && data.words[word].trim()) {
      const score = share * Math.log(share / elsewhere);
      scores.push({ text: data.words[word], score, distance: sum / times, word });
    }
  }
  return scores.sort((a, b) => b.score - a.score || a.word - b.word);
}

/** The telling tokens before a cluster's target, in the order of the text: words, or else marks.
 * None for a mixture, which predicts no token more often than all others together. */
function labelOf(data, found, members, target) {
  const own = members.filter((sample) => targetOf(data, sample) === target);
  if (2 * own.length < members.length) return [];
  const all = telling(data, found, own, target);
  const words = all.filter(({ text }) => /[\p{L}\p{N}]/u.test(text));
  return (words.length ? words : all).slice(0, WORDS_OF_LABEL)
    .sort((a, b) => b.distance - a.distance).map(({ text }) => text);
}
