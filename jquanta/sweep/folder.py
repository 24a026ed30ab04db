"""The run folder of a sweep.

In addition to what every run folder holds: ``results.zarr``, ``weights/`` and ``figures/``, and in
``checkpoints/`` a folder for each pack while the sweep is trained.
"""

from pathlib import Path

from jquanta.run import kinds
from jquanta.run.folder import RunFolder
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
        if self.require_place() and self.read_config().runs() != config.runs():
            raise self.other_configuration()

    def read_config(self) -> SweepConfig:
        """The resolved configuration stored in the folder.

        Raises:
            BadInput: if it is damaged, or of another kind of run.
        """
        kinds.require(self.path, "sweep", remedy="give a folder of jquanta sweep")
        return load_config(self.config)
