"""Build a corpus folder from documents and a tokenizer.

The corpus is built in the folder ``OUT.part``, which is renamed to ``OUT`` in the last step, so
that ``OUT`` is either complete or not there. An interrupted build can be continued and ends with
the same bytes.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus import CUT, LONG, MAX_LENGTH, SPLIT, hub
from jquanta.lm.corpus.layout import (
    META,
    OFFSET_DTYPE,
    OFFSETS,
    SCHEMA_VERSION,
    TOKENIZER,
    TOKENS,
    Meta,
    Recipe,
    token_dtype,
)
from jquanta.lm.corpus.reader import Corpus, open_corpus, prediction_starts
from jquanta.lm.corpus.sources import FIELD, Document, Source, open_source
from jquanta.lm.corpus.tokenizer import Encode, LoadedTokenizer, encoder, load_tokenizer
from jquanta.run import parse
from jquanta.run.checkpoint import Due
from jquanta.run.files import LOCK, PART, as_path, remove, require_place, write_whole
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Silence, Speed
from jquanta.run.stop import Interrupts, shortage_in_one_line
from jquanta.run.sums import sha256_of
from jquanta.version import __version__

BATCH_CHARACTERS = 2**22
"""Characters tokenised at once: 4 MB of prose, about a million tokens, and 150 MB of memory."""

DOCUMENT_COST = 64
"""Added to the characters of each document, so that a batch of empty documents is limited, too."""

LEAST_INTERVAL, COST_SHARE = 10.0, 0.05
"""Progress is saved every so many seconds (the work that a crash may lose), or less often where
saving would take more than this share of the time."""

HEADER_BYTES = 128
"""Size of the header of a one-dimensional ``.npy`` file. numpy pads it, with room for the digits of
any length, so the header can be written last, into a gap of this size."""

PROGRESS = "progress.json"
"""The file in ``OUT.part`` that records how much of the arrays is valid."""


def build_corpus(
    source: Path | str | Source,
    tokenizer: Path | str,
    out: Path | str,
    *,
    max_length: int = MAX_LENGTH,
    documents: int | None = None,
    pattern: str = "*",
    field: str = FIELD,
    long: str = CUT,
    monitor: Monitor | None = None,
) -> Corpus:
    """Tokenise documents into a corpus folder, or continue where an earlier call stopped.

    The memory needed depends on the batch size and on the longest document, not on the size of the
    source.

    Args:
        source: a .jsonl, .jsonl.gz, .jsonl.zst or .parquet file, a folder of such files or of text
            files, ``hf://datasets/OWNER/NAME/PATH`` (``hub.look_up``), or a ``Source``. What a URL
            stands for is looked up once: whatever continues the build, or asks for the corpus
            again, gets the same files.
        tokenizer: a ``tokenizer.json``, a folder that holds one, or the id of a model on the
            Hugging Face hub.
        out: the corpus folder. If it holds a finished corpus, that is verified and returned.
        max_length: largest number of tokens of a document. No special tokens are added.
        documents: how many documents of the source to use, from the first on; None for all. (The
            paper uses 200,000 of The Pile's test set.)
        pattern: which files of a folder to use, as a shell pattern such as ``*.txt``.
        field: the JSON field or parquet column that holds a document.
        long: what to do with a document of more than ``max_length`` tokens: ``cut`` keeps its
            first tokens; ``split`` makes several documents of it, each of ``max_length`` tokens
            and the last one shorter.
        monitor: receives the progress.

    Raises:
        BadInput: if the source, the tokenizer or the folder cannot be used; nothing is written.
        RunFailed: if the disk is full; the same call continues.
        Interrupted: on Ctrl-C; the same call continues.
    """
    for name, number in (("max_length", max_length), ("documents", documents)):
        if number is not None and number < 1:
            raise BadInput(f"--{name} {number}: give 1 or more")
    if long not in LONG:
        raise BadInput(f"--long {long}: give {' or '.join(LONG)}")
    monitor = monitor or Silence()
    loaded = load_tokenizer(tokenizer)
    out = as_path(out)
    _require_place(out)
    place = out.resolve()
    part = place.with_name(place.name + PART)
    listing = None
    if isinstance(source, str) and source.startswith(hub.PREFIX):
        listing = hub.look_up(source, (place, part), monitor.say)
    if isinstance(source, Path | str):
        source = open_source(listing or source, pattern, field, monitor.say)
    with _nothing_left(part):
        if listing:
            _keep(listing, out, part)
        if next(source.documents(), None) is None:
            raise BadInput(f"{source.name}: holds no documents")
        recipe = Recipe(
            source=_hash(source, monitor),
            tokenizer=hashlib.sha256(loaded.file).hexdigest(),
            max_length=max_length,
            limit=documents,
            long=long,
            field=field,
        )
        if not (out / META).exists():
            with shortage_in_one_line("give fewer documents"):
                _build(source, loaded, recipe, out, monitor)
            return open_corpus(out)
    corpus = open_corpus(out)
    _require_same(out, corpus.meta.recipe, recipe)
    corpus.verify()
    _clear(out)  # files of the build that are left if it was killed just after the renaming
    monitor.say(f"{out}: already built, and whole; nothing to do")
    return corpus


@contextlib.contextmanager
def _nothing_left(part: Path) -> Iterator[None]:
    """A context in which bad input leaves nothing of a build that began in it."""
    fresh = not part.exists()
    made = [folder for folder in part.parents if not folder.exists()]
    try:
        yield
    except BadInput:
        if fresh:
            remove(part)
            with contextlib.suppress(OSError):  # not empty: another process has put files there
                for folder in made:
                    folder.rmdir()
        raise


def _keep(listing: hub.Listing, out: Path, part: Path) -> None:
    """Write the listing of a source into the folder of a build that has not begun, so that it
    outlives a kill while the first file comes."""
    if not (out / META).exists() and not (part / PROGRESS).exists():
        with RunFolder(part).locked():
            listing.keep(part)


def _hash(source: Source, monitor: Monitor) -> str:
    """The source's sha256, with progress."""
    size, done = max(1, source.size), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        monitor.work("hashing the source", done / size)

    return source.sha256(advance)


def _require_place(out: Path) -> None:
    """Raise ``BadInput`` unless ``out`` is free for a corpus, or holds one. Writes nothing."""
    require_place(out, META)
    if out.is_mount() or not out.name:  # the finished folder is renamed to it
        raise BadInput(f"--out {out}: is the root of a disk; give a folder in it")


def _require_same(folder: Path, found: Recipe, wanted: Recipe) -> None:
    """Raise ``BadInput`` if a folder's corpus was built from another recipe."""
    if found != wanted:
        raise BadInput(
            f"--out {folder}: holds another corpus (it differs in {found.differences(wanted)}); "
            "give another folder, or delete this one"
        )


def _build(
    source: Source, loaded: LoadedTokenizer, recipe: Recipe, out: Path, monitor: Monitor
) -> None:
    """Build a corpus in ``out``'s ``.part`` folder, and rename that when it is complete."""
    place = out.resolve()
    part = place.with_name(place.name + PART)
    dtype = token_dtype(loaded.vocab_size)
    _read_progress(part, recipe, dtype)  # refuses before anything is written
    with RunFolder(part).locked():
        progress = _read_progress(part, recipe, dtype)
        if progress.documents:
            monitor.say(f"{part}: continuing after {progress.documents:,} documents")
        whole = recipe.long == SPLIT
        encode = encoder(loaded.tokenizer, None if whole else recipe.max_length)
        message = f"interrupted; {part}: the same command continues"
        try:
            with (
                _Arrays(part, dtype, recipe, progress) as arrays,
                Interrupts(message) as interrupts,
            ):
                _fill(arrays, source, encode, interrupts, monitor)
                arrays.finish()
                interrupts.check()
            _describe(part, arrays.progress, source.name, loaded, recipe)
            part.rename(place)
        except BadInput:  # the source cannot be read to its end, so what was built is useless
            remove(part)
            raise
    _clear(place)


def _reopen(path: Path) -> BinaryIO:
    """Open a file for reading and writing at any place, without emptying it; make it if needed."""
    path.touch()
    return path.open("r+b")


def _clear(folder: Path) -> None:
    """Delete the files that only a build needs."""
    for name in (PROGRESS, LOCK):
        remove(folder / name)


class _Progress(NamedTuple):
    """How much of a corpus has been built.

    ``documents`` and ``tokens`` count what the arrays hold. ``taken`` counts the documents of the
    source that were used, which are fewer than ``documents`` where long ones are split.
    """

    documents: int
    tokens: int
    taken: int

    def sizes(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        """Bytes of the two files, tokens and offsets, headers included.

        There is one more offset than there are documents: the first is 0.
        """
        return (
            HEADER_BYTES + dtype.itemsize * self.tokens,
            HEADER_BYTES + OFFSET_DTYPE.itemsize * (self.documents + 1),
        )


def _read_progress(part: Path, recipe: Recipe, dtype: np.dtype[Any]) -> _Progress:
    """Read the progress of an interrupted build.

    Args:
        part: the folder in which the corpus is built.
        recipe: what the corpus is built from.
        dtype: of a stored token.

    Returns:
        The progress on disk; all zeros if the build has not begun.

    Raises:
        BadInput: if the folder holds the build of another recipe, other files, or is damaged.
    """
    path = part / PROGRESS
    if not path.exists():
        # A build that was killed before its first record may have left a lock or half a record.
        little = {LOCK, PROGRESS + PART, hub.LISTING, hub.LISTING + PART}
        if part.is_file() or (part.exists() and {p.name for p in part.iterdir()} - little):
            raise BadInput(f"--out: {part}, where it is built, is not ours; move it away")
        return _Progress(0, 0, 0)
    remedy = f"delete {part} and run the command again"
    try:
        stored = parse.read_json(path, remedy=remedy)
        found, progress = Recipe(**stored["recipe"]), _Progress(*stored["progress"])
        _require_same(part, found, recipe)
        arrays = zip((part / TOKENS, part / OFFSETS), progress.sizes(dtype), strict=True)
        whole = not progress.documents or all(
            array.stat().st_size >= size for array, size in arrays
        )
    except (ValueError, TypeError, KeyError, OSError) as error:
        if isinstance(error, BadInput):
            raise
        whole = False
    if not whole:
        raise BadInput(f"{part}: damaged; {remedy}")
    return progress


def _fill(
    arrays: "_Arrays", source: Source, encode: Encode, interrupts: Interrupts, monitor: Monitor
) -> None:
    """Tokenise the documents of the source that are not in the arrays yet, and append them."""
    speed = Speed("tokens")
    speed(arrays.progress.tokens)
    size, limit = max(1, source.size), arrays.recipe.limit
    taken = arrays.progress.taken
    documents = itertools.islice(
        source.documents(skip=taken), None if limit is None else max(0, limit - taken)
    )
    for batch in _batches(documents):
        # Reading and writing take 2% of the time that tokenising takes, so a thread for them would
        # gain nothing. The tokenizers library itself uses all cores.
        rows = encode([document.text for document in batch])
        pieces = [piece for row in rows for piece in _pieces(row, arrays.recipe.max_length)]
        arrays.append(pieces, len(batch))
        made, tokens, taken = arrays.progress
        # The share done: by the place in the source, or by the documents where they are limited.
        share = max(batch[-1].position / size, taken / (limit or np.inf))
        monitor.work("tokenising", share, f"{made:,} documents  {speed(tokens)}")
        interrupts.check()


def _pieces(row: list[int], length: int) -> list[list[int]]:
    """Split a document's tokens into documents of at most ``length``; an empty one stays one."""
    return [row[i : i + length] for i in range(0, len(row), length)] or [row]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents into batches of about ``BATCH_CHARACTERS``."""
    batch: list[Document] = []
    cost = 0
    for document in documents:
        batch.append(document)
        cost += len(document.text) + DOCUMENT_COST
        if cost >= BATCH_CHARACTERS:
            yield batch
            batch, cost = [], 0
    if batch:
        yield batch


class _Arrays:
    """The two ``.npy`` files while they are written: a gap for the header, then the numbers.

    The header contains the array's length, so ``finish`` writes it.

    Args:
        part: the folder in which the corpus is built.
        dtype: of a stored token.
        recipe: what the corpus is built from.
        progress: how much of the files is valid; anything behind it is cut off.
    """

    def __init__(
        self, part: Path, dtype: np.dtype[Any], recipe: Recipe, progress: _Progress
    ) -> None:
        self.path, self.dtype, self.recipe, self.progress = part, dtype, recipe, progress
        self.due = Due(LEAST_INTERVAL, COST_SHARE)
        self._record()  # before the arrays exist, so that they are never without their recipe
        self.tokens, self.offsets = (_reopen(part / name) for name in (TOKENS, OFFSETS))
        self._cut()
        self._checkpoint()

    def __enter__(self) -> "_Arrays":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if (
            kind is Interrupted
        ):  # all that was appended counts; after an error, nothing more is saved
            self._checkpoint()
        for file in (self.tokens, self.offsets):
            file.close()

    def append(self, rows: list[list[int]], taken: int) -> None:
        """Append documents to the arrays.

        The progress advances only after both writes. If the process is killed before, the next
        build cuts off what was written.

        Args:
            rows: token ids of each document.
            taken: documents of the source that these were made from.
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ends = self.progress.tokens + np.cumsum(lengths)
        ids = np.fromiter(itertools.chain.from_iterable(rows), self.dtype, lengths.sum())
        for file, array, count in (
            (self.tokens, ids, self.progress.tokens),
            (self.offsets, ends.astype(OFFSET_DTYPE), 1 + self.progress.documents),
        ):
            file.seek(HEADER_BYTES + array.itemsize * count)
            file.write(array.data)
        self.progress = _Progress(
            self.progress.documents + len(rows), int(ends[-1]), self.progress.taken + taken
        )
        if self.due:
            self._checkpoint()

    def finish(self) -> None:
        """Write the headers, now that the lengths are known."""
        self._cut()
        for file, dtype, count in (
            (self.tokens, self.dtype, self.progress.tokens),
            (self.offsets, OFFSET_DTYPE, 1 + self.progress.documents),
        ):
            file.seek(0)
            np.lib.format.write_array_header_1_0(
                file, {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
            )
            assert file.tell() == HEADER_BYTES
        self._checkpoint()

    def _cut(self) -> None:
        """Cut the files to the sizes of the progress.

        New files are extended with zero bytes instead: the header's gap, and the first offset, 0.
        """
        for file, size in zip(
            (self.tokens, self.offsets), self.progress.sizes(self.dtype), strict=True
        ):
            file.truncate(size)

    def _checkpoint(self) -> None:
        """Flush the arrays to disk (fsync), and after that the progress that refers to them."""
        began = time.monotonic()
        for file in (self.tokens, self.offsets):
            file.flush()
            os.fsync(file.fileno())
        self._record()
        self.due.saved(began)

    def _record(self) -> None:
        record = {"recipe": dataclasses.asdict(self.recipe), "progress": self.progress}
        write_whole(self.path / PROGRESS, json.dumps(record) + "\n")


def _describe(
    part: Path, progress: _Progress, name: str, loaded: LoadedTokenizer, recipe: Recipe
) -> None:
    """Write the tokenizer's file and, last, ``meta.json``, which makes the folder a corpus."""
    starts = prediction_starts(np.load(part / OFFSETS, mmap_mode="r"))
    (part / TOKENIZER).write_bytes(loaded.file)
    meta = Meta(
        schema=SCHEMA_VERSION,
        jquanta=__version__,
        documents=progress.documents,
        tokens=progress.tokens,
        predictions=int(starts[-1]),
        vocab_size=loaded.vocab_size,
        source=name,
        corpus=sha256_of(part / TOKENS, part / OFFSETS),
        recipe=recipe,
    )
    write_whole(part / META, meta.to_json())
