"""The run folder of a sweep.

In addition to what every run folder holds: ``results.zarr``, ``weights/`` and ``figures/``, and in
``checkpoints/`` a folder for each pack while the sweep is trained.
"""

import shlex
from pathlib import Path

from jquanta.run import kinds
from jquanta.run.folder import CONFIG, RunFolder
from jquanta.run.shard import Shard, cut_of, parse, whole_of
from jquanta.sweep.config import SweepConfig, load_config

RESULTS = "results.zarr"


class SweepFolder(RunFolder):
    """Paths in the run folder of a sweep.

    Args:
        path: of the run folder, or of the ``results.zarr`` in it.
    """

    def __init__(self, path: Path | str):
        path = Path(path)
        super().__init__(path.parent if path.name == RESULTS else path)
        self.results = self.path / RESULTS
        self.weights = self.path / "weights"
        self.figures = self.path / "figures"

    def weight_file(self, run: int) -> Path:
        """Path of the final weights of run number ``run``."""
        return self.weights / f"{run:05d}.safetensors"

    def check(self, config: SweepConfig) -> None:
        """Check that a sweep of ``config`` can start or continue here. Writes nothing.

        Raises:
            BadInput: if the folder cannot be written, or holds something else.
        """
        if not self.begun and cut_of(self.path) is not None:
            return  # shards, each of which is checked in its own folder
        if self.require_place() and self.read_config().runs() != config.runs():
            raise self.other_configuration()

    @property
    def shard(self) -> Shard | None:
        """The part of a sweep that lies here; None for a whole one."""
        stored = self.read_record().get("shard")
        return None if stored is None else parse(str(stored))

    def command(self) -> str:
        """What continues the sweep in this folder. A part that was moved from where it began
        begins anew."""
        if self.gathered:
            return shlex.join(["jquanta", "gather", str(self.path)])
        words = ["jquanta", "sweep", str(self.config)]
        if self.shard is None:
            return shlex.join([*words, "--out", str(self.path)])
        whole = whole_of(self.path, self.shard) or Path("DIR")
        return shlex.join([*words, "--shard", str(self.shard), "--out", str(whole)])

    @property
    def gathered(self) -> bool:
        """Whether this is a sweep that was joined from parts, or is being joined."""
        return "gathered" in self.read_record()

    def members(self) -> list[int]:
        """The numbers of the runs that belong to this folder: all, or those of its part."""
        if self.shard is None:
            return list(range(len(self.read_config().runs())))
        packs = self.read_record().get("packs", [])
        return sorted(number for pack in packs for number in pack["members"])

    def read_config(self) -> SweepConfig:
        """The resolved configuration stored in the folder.

        Raises:
            BadInput: if it is damaged, or of another kind of run.
        """
        remedy = "give a folder of jquanta sweep"
        kinds.require(self.path, "sweep", remedy=remedy, marker=CONFIG)
        return load_config(self.config)
