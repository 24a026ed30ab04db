"""Files of models and datasets on the Hugging Face hub, by its own client and cache.

``huggingface_hub`` resumes an interrupted transfer and keeps complete files in its cache, which is
all that is used with ``HF_HUB_OFFLINE=1``. The client checks the sizes of
files; their hashes are checked here.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    _CACHED_NO_EXIST,
    HfApi,
    constants,
    hf_hub_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from jquanta.errors import BadInput, RunFailed
from jquanta.run.files import write_whole
from jquanta.run.sums import sha256_of

MODEL, DATASET = "model", "dataset"

AGAIN = "run this again with a network (and without HF_HUB_OFFLINE)"

KEPT = "whole files are kept, and HF_HUB_OFFLINE=1 takes those alone"


class Unreachable(RunFailed):
    """Something is not in the cache, and the hub cannot be reached."""


@dataclass(frozen=True)
class Announced:
    """A file as the hub lists it.

    Attributes:
        name: its path in the repository.
        size: bytes.
        digest: sha256 of a large file (64 hexadecimal digits), git's sha1 of a small one (40).
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Repo:
    """A model or a dataset on the hub.

    Attributes:
        kind: ``model`` or ``dataset``.
        id: such as ``EleutherAI/pythia-70m-v0``.
        asked: the branch, tag or commit that was asked for.
        name: what messages call it.
        absent: what they say of an id that the hub does not have.
        revisions: what they say of the revisions that there are; may be empty.
        pinned: the commit to which all is pinned; empty for whatever ``asked`` means at the time.
    """

    kind: str
    id: str
    asked: str
    name: str
    absent: str
    revisions: str = ""
    pinned: str = ""

    @property
    def revision(self) -> str:
        """Where files are taken from."""
        return self.pinned or self.asked

    @property
    def label(self) -> str:
        """Names repository and revision in messages."""
        return f"{self.name}@{self.asked}"

    def at(self, commit: str) -> "Repo":
        """The same, pinned to a commit."""
        return dataclasses.replace(self, pinned=commit)

    def has(self, name: str) -> bool:
        """Whether the cache has a file, so that ``get`` need not download it."""
        return isinstance(self._in_client(name), str)

    def get(self, name: str, digest: str = "") -> Path | None:
        """The path of a file in the cache, downloaded if needed; None if there is no such file.

        Args:
            name: its path in the repository.
            digest: the hash that it must have, if that is known.

        Raises:
            BadInput: if there is no such repository or revision, or access needs a login.
            RunFailed: if the file is damaged, or the network fails before it is complete.
            Unreachable: if it is not in the cache, and there is no network at all.
        """
        try:
            with self._errors(f"{name} did not come"):
                path = Path(
                    hf_hub_download(self.id, name, repo_type=self.kind, revision=self.revision)
                )
        except LocalEntryNotFoundError:
            # Without a network the cache may still know that there is no such file.
            if self._in_client(name) is _CACHED_NO_EXIST:
                return None
            raise Unreachable(
                f"{self.label}: {name} is not in the cache, and the hub cannot be reached; {AGAIN}"
            ) from None
        except EntryNotFoundError:
            return None
        self._verify(path, name, digest)
        return path

    def commit(self) -> str:
        """The commit that the revision stands for now; with ``HF_HUB_OFFLINE=1`` the one for which
        it stood when the hub was last asked.

        Raises:
            BadInput, RunFailed: as ``get``.
            Unreachable: if that is not in the cache.
        """
        # The cache's documented place for this, where the client, too, finds it.
        place = self._cached / "refs" / self.revision
        try:
            with self._errors("the hub did not answer"):
                found = HfApi().repo_info(self.id, repo_type=self.kind, revision=self.revision).sha
                assert found is not None
        except LocalEntryNotFoundError:
            if place.is_file():
                return place.read_text().strip()
            if self._snapshot.is_dir():  # the revision is a commit itself
                return self.revision
            raise Unreachable(f"{self.label}: is not in the cache; {AGAIN}") from None
        if found != self.revision:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, found)
        return found

    def files(self, folder: str, *, below: bool) -> tuple[list[Announced], bool]:
        """The files in a folder; none if there is no such folder.

        Args:
            folder: its path in the repository; empty for all of it.
            below: whether to list the folders in it, too.

        Returns:
            The files, in sorted order, and whether the hub listed them. With ``HF_HUB_OFFLINE=1``
            they are those that the cache has of this commit, which need not be all.

        Raises:
            BadInput, RunFailed: as ``get``.
        """
        listed = True
        try:
            with self._errors("its files could not be listed"):
                tree = HfApi().list_repo_tree(
                    self.id,
                    folder or None,
                    recursive=below,
                    revision=self.revision,
                    repo_type=self.kind,
                )
                found = [
                    Announced(one.path, one.size, one.lfs.sha256 if one.lfs else one.blob_id)
                    for one in tree
                    if isinstance(one, RepoFile)
                ]
        except LocalEntryNotFoundError:
            found, listed = list(self._in_cache(folder, below)), False
        except EntryNotFoundError:
            found = []
        return sorted(found, key=lambda one: one.name), listed

    @property
    def _cached(self) -> Path:
        """The repository's folder in the cache, whose layout the client's documents describe."""
        name = "--".join([f"{self.kind}s", *self.id.split("/")])
        return Path(constants.HF_HUB_CACHE) / name

    @property
    def _snapshot(self) -> Path:
        return self._cached / "snapshots" / self.revision

    def _in_cache(self, folder: str, below: bool) -> Iterator[Announced]:
        place = self._snapshot / folder
        for path in place.rglob("*") if below else place.glob("*"):
            if path.is_file():
                # On systems without links the cache holds plain copies, whose hashes it forgets.
                digest = path.readlink().name if path.is_symlink() else sha256_of(path)
                name = path.relative_to(self._snapshot).as_posix()
                yield Announced(name, path.stat().st_size, digest)

    def _in_client(self, name: str) -> object:
        """What the client's cache knows of a file: its path, that there is none, or nothing."""
        return try_to_load_from_cache(self.id, name, revision=self.revision, repo_type=self.kind)

    @contextmanager
    def _errors(self, failed: str) -> Iterator[None]:
        """Turn the client's errors into ours, but for those of a file that is not there. What it
        warns of at each retry is left out."""
        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        except EntryNotFoundError:  # and LocalEntryNotFoundError, which is one
            raise
        except OfflineModeIsEnabled:
            raise LocalEntryNotFoundError(self.label) from None
        except HFValidationError:
            raise BadInput(f"{self.name}: {self.absent}") from None
        except RevisionNotFoundError:
            raise BadInput(
                f"{self.label}: the hub has no such revision of this {self.kind}{self.revisions}"
            ) from None
        except GatedRepoError:
            raise BadInput(
                f"{self.name}: needs its owner's leave; ask on its page, then: hf auth login"
            ) from None
        except RepositoryNotFoundError:
            raise BadInput(
                f"{self.name}: {self.absent}, or one that needs a login (hf auth login)"
            ) from None
        except Exception as error:  # whatever transport and disk may raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise RunFailed(f"{self.label}: {failed} ({reason}); run this again: {KEPT}") from None
        finally:
            logger.setLevel(level)

    def _verify(self, path: Path, name: str, announced: str) -> None:
        """Raise ``RunFailed`` unless the file has the hash that the hub announced for it.

        In the cache the file is a link to a blob whose name is the announced hash: sha256 for large
        files, git's sha1 for small ones. On systems without links the cache holds plain copies,
        which can be checked only if the hash is given.
        """
        blob = path.parent / path.readlink() if path.is_symlink() else path
        announced = announced or blob.name
        if len(announced) not in _DIGESTS or _DIGESTS[len(announced)](blob) == announced:
            return
        path.unlink()
        blob.unlink(missing_ok=True)
        raise RunFailed(
            f"{self.label}: {name} is damaged (its hash is not what the hub announces); it was "
            "deleted: run this again"
        )


def _git_sha1(path: Path) -> str:
    """The hash by which git names a file: sha1 of a header with the size, then the content."""
    with path.open("rb") as file:
        start = f"blob {path.stat().st_size}\0".encode()
        return hashlib.file_digest(file, lambda: hashlib.sha1(start)).hexdigest()


_DIGESTS: Mapping[int, Callable[[Path], str]] = {64: sha256_of, 40: _git_sha1}
"""Hash functions of files on the hub by the number of hexadecimal digits of their results; sha256
names large files (Git LFS)."""
