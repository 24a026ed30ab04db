"""The run folder of a suite: ``config.toml``, ``record.json``, ``tokenizer.json``,
``corpus/train``, ``corpus/test``, ``models/SIZE/stepN``, ``losses``; and while it is being written
``checkpoints`` and a ``lock``."""

import os
from pathlib import Path

from jquanta import tables
from jquanta.errors import BadInput
from jquanta.lm.losses.column import group_name, read_attributes
from jquanta.lm.pretrain.config import MODEL, SECTIONS, SuiteConfig, load_suite
from jquanta.sweep.folder import DONE, RUNNING, RunFolder, environment, now, write_whole

FIRST = frozenset({"lock", "config.toml.part"})
"""What a kill at the very start leaves."""


class SuiteFolder:
    """Paths and state of one suite."""

    def __init__(self, path: Path | str):
        self.run = RunFolder(path)  # the lock and the record are those of every run folder
        self.path = self.run.path
        self.corpora = self.path / "corpus"
        self.tokenizer = self.path / "tokenizer.json"
        self.models = self.path / "models"
        self.losses = self.path / "losses"

    @property
    def begun(self) -> bool:
        """Whether it holds a suite."""
        return self.run.config.exists()

    @property
    def done(self) -> bool:
        """Whether the suite is finished."""
        return self.begun and self.run.state == DONE

    def model(self, name: str, step: int) -> Path:
        """Where a saved model lies."""
        return self.models / name / f"step{step}"

    def column(self, name: str, step: int) -> Path:
        """Where its losses lie."""
        return self.losses / group_name(name, f"step{step}")

    def has_losses(self, name: str, step: int) -> bool:
        """Whether all of them are there."""
        return "finished" in (read_attributes(self.column(name, step)) or {})

    def state(self, label: str) -> Path:
        """Where the state of a size's training lies."""
        return self.run.checkpoints / f"{label}.safetensors"

    def check(self, config: SuiteConfig) -> None:
        """Raise ``BadInput`` unless this folder can take, or already holds, ``config``.

        Writes nothing.
        """
        try:
            self._check(config)
        except OSError as error:
            raise BadInput(
                f"--out {str(self.path)[:80]}: {error.strerror}; give another folder"
            ) from None

    def _check(self, config: SuiteConfig) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"--out {self.path}: is a file; give the path of a folder")
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise BadInput(f"--out {self.path}: {nearest} is not writable; give another folder")
        if not self.begun:
            if self.path.exists() and {p.name for p in self.path.iterdir()} - FIRST:
                raise BadInput(
                    f"--out {self.path}: holds other files and no config.toml; give a new folder"
                )
            return
        tables.require_kind(self.run.config, (*SECTIONS, MODEL), "jquanta pretrain")
        if not load_suite(self.run.config).same_as(config):
            raise BadInput(
                f"--out {self.path}: holds another configuration ({self.run.config}); give "
                "another folder, or delete this one"
            )

    def begin(self, config: SuiteConfig) -> None:
        """Write the configuration, and a record that says ``running``."""
        if not self.begun:
            write_whole(self.run.config, config.to_toml())
        started = self.run.read_record().get("started", now())
        self.run.update_record(name=config.name, state=RUNNING, started=started, **environment())
