"""The run folder of a suite: beside what every run folder holds, ``tokenizer.json``,
``corpus/train``, ``corpus/test``, ``models/SIZE/stepN`` and ``losses``; in ``checkpoints/`` the
state of the size that is being trained."""

from pathlib import Path

from jquanta.lm.losses.column import group_name, read_attributes
from jquanta.lm.pretrain.config import MODEL, SECTIONS, SuiteConfig, load_suite
from jquanta.run import settings
from jquanta.run.folder import RunFolder


class SuiteFolder(RunFolder):
    """Paths and state of one suite."""

    def __init__(self, path: Path | str):
        super().__init__(path)
        self.corpora = self.path / "corpus"
        self.tokenizer = self.path / "tokenizer.json"
        self.models = self.path / "models"
        self.losses = self.path / "losses"

    def model(self, name: str, step: int) -> Path:
        """Where a saved model lies."""
        return self.models / name / f"step{step}"

    def column(self, name: str, step: int) -> Path:
        """Where its losses lie."""
        return self.losses / group_name(name, f"step{step}")

    def has_losses(self, name: str, step: int) -> bool:
        """Whether all of them are there."""
        return "finished" in (read_attributes(self.column(name, step)) or {})

    def size(self, label: str) -> Path:
        """The folder of the checkpoints of a size's training."""
        return self.checkpoints / label

    def check(self, config: SuiteConfig) -> None:
        """Raise ``BadInput`` unless this folder can take, or already holds, ``config``.

        Writes nothing.
        """
        if self.require_place():
            settings.require_kind(self.config, (*SECTIONS, MODEL), "jquanta pretrain")
            if not load_suite(self.config).same_as(config):
                raise self.other_configuration()
