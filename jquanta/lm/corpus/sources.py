"""Read documents from files: JSON lines (plain, gzip or zstd), parquet, and folders of text files.

All sources stream: only a piece of the file and one document are in memory, whatever the size of
the file. Text has to be UTF-8 and is not normalised, but for a byte order mark in front of a file,
which is no part of it; invalid text is an error that names file and line.
"""

import fnmatch
import hashlib
import json
import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from jquanta.errors import BadInput
from jquanta.lm.corpus import hub, streamed
from jquanta.run.files import as_path

FIELD = "text"
"""The JSON field or parquet column that holds a document, where none is named."""

ROWS = 256
"""Rows of a parquet file that are decoded at a time."""

LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
PARQUET = ".parquet"
FORMATS = ", ".join([*LINES, PARQUET])

Advance = Callable[[int], None]
"""Called with the number of bytes after each piece of a file is read; for a progress bar."""


class Document(NamedTuple):
    """A document.

    Attributes:
        text: the document.
        position: bytes of the source up to the end of the document, for a progress bar; in parquet
            an estimate.
    """

    text: str
    position: int


Documents = Generator[Document, None, int]
"""Documents of one file, and at the end how many of those to skip it did not have."""


@runtime_checkable  # the tests check annotations as they run
class Source(Protocol):
    """A source of documents in a fixed order."""

    @property
    def name(self) -> str:
        """The name of the file or folder, without the path to it."""

    @property
    def size(self) -> int:
        """Size in bytes on disk."""

    def sha256(self, advance: Advance) -> str:
        """The hash of the source's content, as ``sha256sum`` prints it."""

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents after the first ``skip``. Raises ``BadInput`` where one is unreadable."""


def open_source(
    path: Path | str | hub.Listing,
    pattern: str = "*",
    field: str = FIELD,
    told: hub.Told = hub.silent,
) -> Source:
    """Open a file, a folder, or files on the hub as a source of documents.

    The format follows from the names of the files. A folder of nothing but .jsonl, .jsonl.gz,
    .jsonl.zst and .parquet files, and all files that a pattern on the hub matches, are one source,
    in sorted order.

    Args:
        path: a .jsonl, .jsonl.gz, .jsonl.zst or .parquet file; a folder of such files, or of text
            files; ``hf://datasets/OWNER/NAME/PATH`` (``hub.look_up``).
        pattern: which files of a folder to use: a shell pattern for the path below the folder, in
            which ``*`` also matches ``/``.
        field: the JSON field or parquet column that holds a document.
        told: hears which files are downloaded.

    Raises:
        BadInput: if there is no such file, no text in the folder, or the format is not known.
        RunFailed: if the hub cannot be reached, or fails.
    """
    if isinstance(path, str) and path.startswith(hub.PREFIX):
        path = hub.look_up(path, told=told)
    if isinstance(path, hub.Listing):
        if pattern != "*":
            raise BadInput(f"--pattern {pattern}: chooses from a folder; write it into the URL")
        files = path.remote(told)
        return Shards(path.pinned, files, field) if path.pattern else _reader(files[0], field)
    path = as_path(path)
    if path.is_dir():
        return _folder(path, pattern, field)
    if not path.is_file():
        raise BadInput(f"{path}: no such file or folder")
    if pattern != "*":
        raise BadInput(f"--pattern {pattern}: {path} is a file; a pattern chooses from a folder")
    return _reader(LocalFile(path, path.name), field)


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine.

    Attributes:
        path: where it lies.
        name: what it is called in the source.
    """

    path: Path
    name: str

    @property
    def label(self) -> str:
        """Names the file in messages."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    def sha256(self, advance: Advance) -> str:
        """The hash of the content."""
        return _sha256(self.path, advance)


File = LocalFile | hub.RemoteFile


def _reader(file: File, field: str) -> "JsonLines | Parquet":
    """What reads a file: its name decides."""
    if file.name.endswith(LINES):
        return JsonLines(file, field)
    if file.name.endswith(PARQUET):
        return Parquet(file, field)
    raise BadInput(
        f"{file.label}: give a file whose name ends in {FORMATS}, or a folder of text files"
    )


@dataclass(frozen=True)
class _OneFile:
    """The methods that all sources of a single file share."""

    file: File
    field: str = FIELD

    @property
    def name(self) -> str:
        """See ``Source``."""
        return self.file.name

    @property
    def size(self) -> int:
        """See ``Source``."""
        return self.file.size

    def sha256(self, advance: Advance) -> str:
        """See ``Source``."""
        return self.file.sha256(advance)


class JsonLines(_OneFile):
    """A file with one JSON object per line, the document in one of its fields.

    Blank lines are skipped. The file may be compressed by gzip or zstd.
    """

    def documents(self, skip: int = 0) -> Documents:
        """See ``Source``. Returns how many are left to skip."""
        number = 0
        with self.file.path.open("rb") as file:
            try:
                for number, line in enumerate(streamed.lines(self._chunks(file)), 1):
                    if number == 1:
                        line = line.removeprefix(BOM_UTF8)
                    if not line or line.isspace():
                        continue
                    if skip:
                        skip -= 1
                        continue
                    text = _text(line, self.field, f"{self.file.label}: line {number}")
                    yield Document(text, file.tell())
            except streamed.Damaged as error:
                raise BadInput(
                    f"{self.file.label}: after line {number}: {error}; {error.remedy}"
                ) from None
        return skip

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        """The decompressed content of the file, piece by piece."""
        match self.file.path.suffix:
            case ".zst":
                return streamed.zstd(file)
            case ".gz":
                return streamed.gunzip(file)
            case _:
                return iter(partial(file.read, streamed.CHUNK), b"")


class Parquet(_OneFile):
    """A parquet file with one document per row, in one of its columns."""

    def documents(self, skip: int = 0) -> Documents:
        """See ``Source``. Returns how many are left to skip."""
        row = 0
        try:
            # By default pyarrow reads whole row groups ahead, which can be gigabytes; without
            # pre_buffer it reads through a buffer of this size.
            with pq.ParquetFile(
                self.file.path, pre_buffer=False, buffer_size=streamed.CHUNK
            ) as file:
                self._check(file.schema_arrow)
                rows, size = file.metadata.num_rows, self.size
                for group in range(file.num_row_groups):
                    after = row + file.metadata.row_group(group).num_rows
                    if after <= skip:  # a row group that is skipped is not decoded
                        row = after
                        continue
                    for batch in file.iter_batches(ROWS, row_groups=[group], columns=[self.field]):
                        for value in batch.column(0):
                            row += 1
                            if row > skip:
                                yield Document(self._text(value, row), size * row // rows)
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                f"{self.file.label}: after row {row}: {reason}; get the file again"
            ) from None
        return max(0, skip - row)

    def _check(self, schema: object) -> None:
        assert isinstance(schema, pa.Schema)
        if self.field not in schema.names:
            raise BadInput(
                f'{self.file.label}: no column "{self.field}" (it has {_few(schema.names)})'
            )
        kind = schema.field(self.field).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
            raise BadInput(f'{self.file.label}: column "{self.field}" holds {kind}, not strings')

    def _text(self, value: object, row: int) -> str:
        try:
            text = value.as_py()  # type: ignore[attr-defined]
        except UnicodeDecodeError as error:
            raise BadInput(f"{self.file.label}: row {row}: {_not_utf8(error)}") from None
        if text is None:
            raise BadInput(f'{self.file.label}: row {row}: "{self.field}" is null, not a string')
        return text


@dataclass(frozen=True)
class Shards:
    """Files with many documents each, read one after the other.

    Their hash is that of ``cd ROOT; sha256sum FILE … | sha256sum``.

    Attributes:
        name: of them all.
        files: in the order of the documents.
        field: the JSON field or parquet column that holds a document.
    """

    name: str
    files: tuple[File, ...]
    field: str = FIELD

    def __post_init__(self) -> None:
        for file in self.files:
            _reader(file, self.field)  # refuses a format that is not known

    @property
    def size(self) -> int:
        """See ``Source``."""
        return sum(file.size for file in self.files)

    def sha256(self, advance: Advance) -> str:
        """See ``Source``."""
        return _listed((file.sha256(advance), file.name) for file in self.files)

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """See ``Source``."""
        before = 0
        for file in self.files:
            documents = _reader(file, self.field).documents(skip)
            while True:
                try:
                    document = next(documents)
                except StopIteration as end:  # its value is what the generator returned
                    skip = end.value
                    break
                yield Document(document.text, before + document.position)
            before += file.size


@dataclass(frozen=True)
class Files:
    """Text files, one document each.

    Their hash is that of ``cd ROOT; sha256sum FILE … | sha256sum``.

    Attributes:
        root: the folder below which they lie.
        paths: the files, in the order of the documents.
    """

    root: Path
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """See ``Source``."""
        return self.root.resolve().name

    @property
    def size(self) -> int:
        """See ``Source``."""
        return sum(path.stat().st_size for path in self.paths)

    def relative(self, path: Path) -> str:
        """A file's path relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def sha256(self, advance: Advance) -> str:
        """See ``Source``."""
        return _listed((_sha256(path, advance), self.relative(path)) for path in self.paths)

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """See ``Source``."""
        position = 0
        for number, path in enumerate(self.paths):
            if number < skip:
                position += path.stat().st_size
                continue
            if (size := path.stat().st_size) > streamed.MOST_BYTES:
                raise BadInput(
                    f"{path}: {streamed.too_long(size)}; split it, or choose files by --pattern"
                )
            content = path.read_bytes()
            position += len(content)
            try:
                text = content.removeprefix(BOM_UTF8).decode("utf-8")
            except UnicodeDecodeError as error:
                line = content.count(b"\n", 0, error.start) + 1
                raise BadInput(
                    f"{path}: line {line}: {_not_utf8(error)}; choose files with --pattern"
                ) from None
            yield Document(text, position)


def files_below(root: Path, left_out: Callable[[str], bool]) -> dict[str, Path]:
    """Find all files below a folder.

    Args:
        root: the folder.
        left_out: takes the name of a file or folder; True excludes it and all that it contains.

    Returns:
        The files by their path relative to ``root``, with forward slashes, in sorted order.
    """
    found = {}
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not left_out(name)]
        for path in (Path(place, name) for name in names if not left_out(name)):
            found[path.relative_to(root).as_posix()] = path
    return dict(sorted(found.items()))


def _folder(root: Path, pattern: str, field: str) -> Files | Shards:
    """The files of a folder that match a pattern, hidden ones excluded."""
    named = files_below(root, lambda name: name.startswith("."))
    names = [
        name
        for name, path in named.items()
        if fnmatch.fnmatchcase(name, pattern) and path.is_file()  # a link may point nowhere
    ]
    if not names:
        what = "text files" if pattern == "*" else f"files that match --pattern {pattern}"
        raise BadInput(f"{root}: holds no {what}")
    tables = [name for name in names if name.endswith((*LINES, PARQUET))]
    if len(tables) == len(names):
        files = tuple(LocalFile(named[name], name) for name in names)
        return Shards(root.resolve().name, files, field)
    other = next(name for name in names if name not in tables)
    if tables:  # a line of JSON is no text, and a text is no table
        raise BadInput(
            f"{root}: holds {tables[0]}, of many documents, and {other}, which would be one; "
            f"choose by --pattern, such as '*{Path(tables[0]).suffix}'"
        )
    if field != FIELD:
        raise BadInput(f"--field {field}: {root} holds {other}, and such a file is a document")
    return Files(root, tuple(named[name] for name in names))


def _text(line: bytes, field: str, where: str) -> str:
    """The document in a line of JSON. Raises ``BadInput``, which begins with ``where``."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: {_not_utf8(error)}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg}, character {error.pos + 1})") from None
    except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
        raise BadInput(f"{where}: not JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(record, dict):
        raise BadInput(f"{where}: not a JSON object")
    if field not in record:
        raise BadInput(f'{where}: no field "{field}" (it has {_few(list(record))})')
    text = record[field]
    if not isinstance(text, str):
        raise BadInput(f'{where}: "{field}" is not a string')
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # an escape such as "\\ud800" without its second half
        raise BadInput(f'{where}: "{field}" holds half of a surrogate pair') from None
    return text


def _not_utf8(error: UnicodeDecodeError) -> str:
    if error.object[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
        return "UTF-16 and not UTF-8; convert it first"
    return f"not valid UTF-8 (byte 0x{error.object[error.start]:02x})"


def _few(names: list[str]) -> str:
    """The first names, for an error message."""
    return ", ".join(json.dumps(name)[:40] for name in names[:6]) or "none"


def _sha256(path: Path, advance: Advance) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(8 * streamed.CHUNK):
            digest.update(data)
            advance(len(data))
    return digest.hexdigest()


def _listed(sums: Iterable[tuple[str, str]]) -> str:
    """The hash of a list as ``sha256sum`` prints it, from the hash and the name of each file."""
    listing = hashlib.sha256()
    for digest, name in sums:
        listing.update(f"{digest}  {name}\n".encode())
    return listing.hexdigest()
