"""Sources of a model's files: a folder, or the Hugging Face hub with its own client and cache."""

from pathlib import Path

from jquanta.errors import BadInput
from jquanta.lm.models.pythia import resolve
from jquanta.run import kinds
from jquanta.run.files import as_path, inside
from jquanta.run.hub import MODEL, Repo
from jquanta.run.kinds import MODEL_REMEDY, looks_like_path

ABSENT = "neither a folder here nor a model on the hub"
REVISIONS = (
    "; Pythia's are step0, step1, step2, step4 … step512, step1000, step2000 … step143000 (-v0 "
    "models: from step1000)"
)


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
    """A model on the Hugging Face hub, at one commit (``jquanta.run.hub``).

    Args:
        model_id: such as ``EleutherAI/pythia-70m-v0``.
        revision: a branch, tag or commit; ``main`` by default.

    Raises:
        BadInput: if there is no such model or revision.
        RunFailed: if the hub cannot be reached and the model is not in the cache.
    """

    def __init__(self, model_id: str, revision: str | None = None):
        found, note = resolve(model_id)
        repo = Repo(MODEL, found, revision or "main", found, ABSENT, REVISIONS)
        self.label = repo.label
        self.notes: tuple[str, ...] = (note,) if note else ()
        config = repo.get("config.json")
        if config is None:
            raise BadInput(f"{self.label}: has no config.json, so it is not a transformers model")
        # The cache stores files in a folder named by their commit. All other files are taken from
        # the commit of this one, even if the branch moves meanwhile.
        self.repo = repo.at(config.parent.name)

    def get(self, name: str) -> Path | None:
        """The path of a file in the cache, downloaded if needed; None if the model lacks it.

        Raises:
            BadInput, RunFailed, Unreachable: as ``Repo.get``.
        """
        return self.repo.get(name)


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
