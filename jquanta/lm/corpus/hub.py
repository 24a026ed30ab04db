"""Datasets on the Hugging Face hub as sources of documents: ``hf://datasets/OWNER/NAME/PATH``.

What a URL stands for is looked up once: the commit, and the files with their sizes and hashes. This
listing is kept beside the corpus, so that whatever continues the work takes the same files, even if
the branch has moved or the hub cannot be reached. Files are downloaded one at a time, when their
documents are needed.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from jquanta.errors import BadInput
from jquanta.run import parse
from jquanta.run.files import inside, write_whole
from jquanta.run.hub import DATASET, Announced, Repo
from jquanta.run.sums import sha256_of

PREFIX = "hf://"

LISTING = "source.json"
"""The file beside a corpus that holds the listing of its source."""

SHAPE = (
    "hf://datasets/OWNER/NAME/FILE, or …/NAME@REVISION/FILE; FILE may be a pattern: data/*.parquet"
)

_URL = re.compile(
    r"hf://datasets/(?P<id>[^/@]+/[^/@]+)"
    # As in HfFileSystem: a revision that holds "/" is quoted, but for those that the hub makes.
    r"(@(?P<revision>refs/(convert|pr)/[^/]+|[^/]+))?"
    r"/(?P<path>.+)"
)

Told = Callable[[str], None]
"""Called with a line for the user."""


@dataclass(frozen=True)
class Listing:
    """What a URL stood for when it was looked up.

    Attributes:
        url: as given.
        dataset: the id of the dataset.
        commit: the commit at which all files are taken.
        root: the folder of the dataset below which the files lie; empty for the dataset itself.
        pattern: whether the URL is a pattern, so that there may be several files.
        files: in sorted order.
    """

    url: str
    dataset: str
    commit: str
    root: str
    pattern: bool
    files: tuple[Announced, ...]

    @property
    def pinned(self) -> str:
        """The URL that stands for the same files whenever it is asked."""
        path = _match(self.url)["path"]
        return f"{PREFIX}datasets/{self.dataset}@{self.commit}/{path}"

    def keep(self, folder: Path) -> None:
        """Write the listing into a folder."""
        write_whole(folder / LISTING, json.dumps(asdict(self), indent=1) + "\n")

    def remote(self, told: Told) -> tuple["RemoteFile", ...]:
        """The files, named below ``root`` as in a folder; a single one by its pinned URL."""
        repo = _repo(self.url).at(self.commit)
        start = len(self.root) + bool(self.root)
        return tuple(
            RemoteFile(repo, one, one.name[start:] if self.pattern else self.pinned, told)
            for one in self.files
        )


@dataclass(frozen=True)
class RemoteFile:
    """A file of a dataset, which is downloaded when its path is asked for.

    Attributes:
        repo: the dataset, at a commit.
        listed: the file as the hub announced it.
        name: of the file, in the source.
        told: hears that it is downloaded.
    """

    repo: Repo
    listed: Announced
    name: str
    told: Told = field(compare=False)

    @property
    def label(self) -> str:
        """Names the file in messages."""
        return f"{self.repo.label}/{self.listed.name}"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.listed.size

    @cached_property
    def path(self) -> Path:
        """Where the file lies in the cache, downloaded and checked.

        Raises:
            BadInput, RunFailed: as ``Repo.get``.
        """
        if not self.repo.has(self.listed.name):
            self.told(f"{self.label}: downloading {self.size / 1e6:,.1f} MB")
        found = self.repo.get(self.listed.name, self.listed.digest)
        if found is None:
            raise BadInput(f"{self.label}: the hub lists this file and does not have it")
        return found

    def sha256(self, advance: Callable[[int], None]) -> str:
        """The sha256 of the content: of a large file as announced, without a download."""
        digest = self.listed.digest if len(self.listed.digest) == 64 else sha256_of(self.path)
        advance(self.size)
        return digest


def silent(line: str) -> None:
    """For those who need not be told."""


def look_up(url: str, kept: Sequence[Path] = (), told: Told = silent) -> Listing:
    """Find out what a URL stands for.

    Args:
        url: ``hf://datasets/OWNER/NAME/PATH``, with ``@REVISION`` behind the name for another than
            ``main``. In a pattern ``*``, ``?`` and ``[…]`` stand for parts of the name of a file or
            folder, and ``**`` for any number of folders, as in huggingface_hub's HfFileSystem.
            Hidden files do not match.
        kept: folders that may hold the listing of an earlier call, which is then used.
        told: hears where a pattern may have missed files, as the hub was not asked.

    Raises:
        BadInput: if the URL has another shape, or there is no such dataset, revision or file.
        RunFailed: if the hub cannot be reached, or fails. With ``HF_HUB_OFFLINE=1`` only the cache
            is asked.
    """
    parts = _match(url)["path"].split("/")
    for folder in kept:
        if (earlier := _read(folder / LISTING)) and earlier.url == url:
            return earlier
    repo = _repo(url)
    repo = repo.at(repo.commit())
    wild = [bool(re.search(r"[*?[]", part)) for part in parts]
    fixed = wild.index(True) if any(wild) else len(parts) - 1
    root = "/".join(parts[:fixed])
    found, listed = repo.files(root, below=len(parts) > fixed + 1 or parts[-1] == "**")
    files = [one for one in found if _fits(one.name.split("/"), parts)]
    if not files:
        what = "no file matches" if any(wild) else "no such file in the dataset"
        where = "" if listed else ", of those in the cache"
        raise BadInput(f"{url}: {what}, at commit {repo.revision[:8]}{where}")
    if any(wild) and not listed:
        told(f"{url}: without the hub, of its files those {len(files)} that are in the cache")
    for one in files:
        inside(Path(), one.name, url)
    return Listing(url, repo.id, repo.revision, root, any(wild), tuple(files))


def _match(url: str) -> re.Match[str]:
    found = _URL.fullmatch(url)
    if found is None or {"", ".", ".."} & set(found["path"].split("/")):
        raise BadInput(f"{url}: give {SHAPE}")
    return found


def _repo(url: str) -> Repo:
    found = _match(url)
    revision = unquote(found["revision"] or "main")
    name = f"{PREFIX}datasets/{found['id']}"
    return Repo(DATASET, found["id"], revision, name, "no such dataset on the hub")


def _fits(name: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match the parts of a pattern."""
    if not pattern or not name:
        return not pattern and not name
    if pattern[0] == "**":
        deeper = not name[0].startswith(".") and _fits(name[1:], pattern)
        return _fits(name, pattern[1:] or ["*"]) or deeper
    hidden = name[0].startswith(".") and not pattern[0].startswith(".")
    return not hidden and fnmatchcase(name[0], pattern[0]) and _fits(name[1:], pattern[1:])


def _read(path: Path) -> Listing | None:
    """The listing in a file, if there is one."""
    if not path.is_file():
        return None
    try:
        values = parse.read_json(path)
        files = tuple(Announced(**one) for one in values.pop("files"))
        return Listing(**values, files=files)
    except (ValueError, TypeError, KeyError, AttributeError):
        remedy = f"delete it, and {LISTING} is made again from the branch as it is now"
        raise BadInput(f"{path}: damaged; {remedy}") from None
