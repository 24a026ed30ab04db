"""The run folder of a suite.

Besides the files of every run folder it holds ``tokenizer.json``, the corpora ``corpus/train`` and
``corpus/test``, the models ``models/SIZE/stepN``, their losses in ``losses``, and in
``checkpoints`` the state of the size that is being trained.
"""

from pathlib import Path

from jquanta.lm.losses.column import group_name, read_column
from jquanta.lm.pretrain.config import SuiteConfig, load_suite
from jquanta.run import kinds
from jquanta.run.arrays import METADATA
from jquanta.run.folder import RunFolder
from jquanta.run.sums import damaged


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

    def files(self, config: SuiteConfig) -> list[Path]:
        """What is there when the suite is finished: models, their losses, and what they share."""
        made = [
            make(name, step)
            for model in config.models
            for name in config.names(model)
            for step in config.train.checkpoint_steps
            for make in (self.model, self.column)
        ]
        return [*made, self.tokenizer, self.losses / METADATA]

    def size(self, label: str) -> Path:
        """The folder of the training checkpoints of a size."""
        return self.checkpoints / label

    def check(self, config: SuiteConfig) -> None:
        """Raise ``BadInput`` unless this folder is free, or holds a suite of this configuration.

        A finished suite must have all of its losses. Writes nothing.
        """
        if self.require_place():
            kinds.require(self.path, "suite", remedy="give a folder of jquanta pretrain")
            if not load_suite(self.config).same_as(config):
                raise self.other_configuration()
            # Models of a finished suite may be deleted to save room; their losses are the result.
            found = [
                f"{path.relative_to(self.path)} is missing"
                for path in self.files(config)
                if self.done and path.is_relative_to(self.losses) and not path.exists()
            ]
            if found:
                raise damaged(self.path, found, "delete this folder and run the command again")
