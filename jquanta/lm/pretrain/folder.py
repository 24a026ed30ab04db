"""The run folder of a suite.

Besides the files of every run folder it holds ``tokenizer.json``, the corpora ``corpus/train`` and
``corpus/test``, the models ``models/SIZE/stepN``, their losses in ``losses``, and in
``checkpoints`` the state of the size that is being trained.
"""

from pathlib import Path

from jquanta.lm.losses.column import group_name, read_column
from jquanta.lm.pretrain.config import SuiteConfig, load_suite
from jquanta.run import kinds
from jquanta.run.folder import RunFolder


class SuiteFolder(RunFolder):
    """The paths in the run folder of a suite, and whether they exist."""

    def __init__(self, path: Path | str):
        super().__init__(path)
        self.corpora = self.path / "corpus"
        self.tokenizer = self.path / "tokenizer.json"
        self.models = self.path / "models"
        self.losses = self.path / "losses"

    def model(self, name: str, step: int) -> Path:
        """The folder of a saved model."""
        return self.models / name / f"step{step}"

    def column(self, name: str, step: int) -> Path:
        """The folder of a model's losses."""
        return self.losses / group_name(name, f"step{step}")

    def has_losses(self, name: str, step: int) -> bool:
        """Whether a model's losses are complete."""
        return "finished" in (read_column(self.column(name, step)) or {})

    def size(self, label: str) -> Path:
        """The folder of the training checkpoints of a size."""
        return self.checkpoints / label

    def check(self, config: SuiteConfig) -> None:
        """Raise ``BadInput`` unless this folder is free, or holds a suite of this configuration.

        Writes nothing.
        """
        if self.require_place():
            kinds.require(self.path, "suite", remedy="give a folder of jquanta pretrain")
            if not load_suite(self.config).same_as(config):
                raise self.other_configuration()
