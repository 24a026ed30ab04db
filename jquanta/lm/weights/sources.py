"""Sources of a model's files: a folder, or the Hugging Face hub with its own client and cache."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jquanta.errors import BadInput, RunFailed
from jquanta.lm.models.pythia import resolve
from jquanta.run import kinds
from jquanta.run.files import as_path, inside
from jquanta.run.kinds import MODEL_REMEDY, looks_like_path
from jquanta.run.sums import sha256_of


class Unreachable(RunFailed):
    """A file is not in the cache, and the hub cannot be reached."""


class Folder:
    """A folder in Hugging Face layout, or one with such a subfolder for each revision.

    Args:
        path: the folder.
        revision: the name of a subfolder, or None for the folder itself.

    Raises:
        BadInput: if there is no such subfolder.
    """

    def __init__(self, path: Path, revision: str | None = None):
        self.path = path if revision is None else inside(path, revision, "revision")
        self.label = str(self.path)
        self.notes: tuple[str, ...] = ()
        if not self.path.is_dir():
            if why := kinds.absent(self.path):
                raise BadInput(f"{self.path}: {why}")
            here = ", ".join(kinds.revisions(path)) or "none"
            raise BadInput(f"{path}: has no revision (subfolder) {revision}; it has {here}")

    def get(self, name: str) -> Path | None:
        """The path of a file; None if there is no such file."""
        path = self.path / name
        return path if path.is_file() else None


class Hub:
    """A model on the Hugging Face hub, at one commit.

    Files are downloaded by ``huggingface_hub``: it resumes an interrupted transfer and keeps
    complete files in its cache, which is all that is used with ``HF_HUB_OFFLINE=1`` or without a
    network. The client checks the sizes of files; their hashes are checked here.

    Args:
        model_id: such as ``EleutherAI/pythia-70m-v0``.
        revision: a branch, tag or commit; ``main`` by default.

    Raises:
        BadInput: if there is no such model or revision.
        RunFailed: if the hub cannot be reached and the model is not in the cache.
    """

    def __init__(self, model_id: str, revision: str | None = None):
        self.id, note = resolve(model_id)
        self.label = f"{self.id}@{revision or 'main'}"
        self.notes: tuple[str, ...] = (note,) if note else ()
        self.revision = revision or "main"
        # The cache stores files in a folder named by their commit. All other files are taken from
        # the commit of this one, even if the branch moves meanwhile.
        config = self.get("config.json")
        if config is None:
            raise BadInput(f"{self.label}: has no config.json, so it is not a transformers model")
        self.revision = config.parent.name

    def get(self, name: str) -> Path | None:
        """The path of a file in the cache, downloaded if needed; None if the model lacks it.

        Raises:
            BadInput: if there is no such model or revision, or access needs a login.
            RunFailed: if the file is damaged, or the network fails before it is complete.
            Unreachable: if it is not in the cache, and there is no network at all.
        """
        try:
            with _hushed("huggingface_hub"):
                path = Path(hf_hub_download(self.id, name, revision=self.revision))
        except LocalEntryNotFoundError:
            # Without a network the cache may still know that the model has no such file.
            if _known_absent(self.id, name, self.revision):
                return None
            raise Unreachable(
                f"{self.label}: {name} is not in the cache, and the hub cannot be reached; run "
                "this again with a network (and without HF_HUB_OFFLINE)"
            ) from None
        except EntryNotFoundError:
            return None
        except HFValidationError:
            raise BadInput(f"{self.id}: neither a folder here nor the id of a model") from None
        except RevisionNotFoundError:
            raise BadInput(
                f"{self.label}: the hub has no such revision of this model; Pythia's are step0, "
                "step1, step2, step4 … step512, step1000, step2000 … step143000 (-v0 models: "
                "from step1000)"
            ) from None
        except GatedRepoError:
            raise BadInput(
                f"{self.id}: needs its owner's leave; ask on its page, then: hf auth login"
            ) from None
        except RepositoryNotFoundError:
            raise BadInput(
                f"{self.id}: neither a folder here nor a model on the hub, or one that needs a "
                "login (hf auth login)"
            ) from None
        except Exception as error:  # whatever transport and disk may raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise RunFailed(
                f"{self.label}: {name} did not come ({reason}); run this again: whole files are "
                "kept"
            ) from None
        self._verify(path, name)
        return path

    def _verify(self, path: Path, name: str) -> None:
        """Raise ``RunFailed`` unless the file has the hash that the hub announced for it.

        In the cache the file is a link to a blob whose name is the announced hash: sha256 for large
        files, git's sha1 for small ones. On systems without links the cache holds plain copies,
        which cannot be checked.
        """
        if not path.is_symlink():
            return
        blob = path.parent / path.readlink()
        announced = blob.name
        if len(announced) not in _DIGESTS or _DIGESTS[len(announced)](blob) == announced:
            return
        path.unlink()
        blob.unlink()
        raise RunFailed(
            f"{self.label}: {name} is damaged (its hash is not what the hub announces); it was "
            "deleted: run this again"
        )


Source = Folder | Hub
"""The files of a model.

``get(name)`` returns the path of a complete file on this machine, or None if the model has no such
file. ``label`` names model and revision in messages, and ``notes`` are warnings for the user.
"""


def open_source(id_or_folder: Path | str, revision: str | None = None) -> Source:
    """Open a folder if there is one of this name, otherwise a model on the hub.

    Args:
        id_or_folder: a folder or an id on the hub, such as ``runs/suite/d128``,
            ``EleutherAI/pythia-70m-v0`` or ``pythia-19m``.
        revision: a branch, tag or commit on the hub; the name of a subfolder of a folder.

    Raises:
        BadInput: if there is no such folder, model or revision.
        RunFailed: if the hub cannot be reached and the model is not in its cache.
    """
    folder = as_path(id_or_folder)
    if folder.is_dir():
        return Folder(folder, revision)
    local = isinstance(id_or_folder, Path) or looks_like_path(id_or_folder)
    if not str(id_or_folder) or local or kinds.absent(folder):
        raise kinds.wrong(
            folder,
            "model",
            MODEL_REMEDY,
        )
    return Hub(str(id_or_folder), revision)


def _known_absent(model_id: str, name: str, revision: str) -> bool:
    """Whether the cache has recorded that this revision has no such file."""
    return try_to_load_from_cache(model_id, name, revision=revision) is _CACHED_NO_EXIST


def _git_sha1(path: Path) -> str:
    """The hash by which git names a file: sha1 of a header with the size, then the content."""
    with path.open("rb") as file:
        start = f"blob {path.stat().st_size}\0".encode()
        return hashlib.file_digest(file, lambda: hashlib.sha1(start)).hexdigest()


_DIGESTS: Mapping[int, Callable[[Path], str]] = {64: sha256_of, 40: _git_sha1}
"""Hash functions of files on the hub by the number of hexadecimal digits of their results; sha256
names large files (Git LFS)."""


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Silence a library's warnings about each retry; the final error is reported by us."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
