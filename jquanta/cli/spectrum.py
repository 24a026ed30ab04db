"""``jquanta spectrum``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_losses
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr

STORE = "spectrum.zarr"

BELOW = 0.3  # of taxonomy.thresholds, which is not imported before it is needed


@dataclass(frozen=True)
class Options:
    """Find when each token is learned: fit a sigmoid in the logarithm of steps to its losses.

    LOSSES is a folder of losses at six checkpoints of a network or more, or the folder of a suite.
    For every token and network: its learning time, at which half of the fall is done; how wide the
    fall is; the losses before and after; standard errors; and what kind of curve it is, since many
    are no sigmoids: learned, early or late (half learned before the first checkpoint, or not at the
    last), gradual (a line), known or flat (nothing stands out of the noise), rising, or returning.

    10^6 tokens at 32 checkpoints take ten seconds on 2 cores, in memory that does not depend on
    their number. The same command continues where it stopped. Disk: 29 bytes a token and network.

    Examples:
      jquanta spectrum runs/stdlib
      jquanta spectrum losses/pile --along size --out sizes.zarr

    Next: jquanta figures spectrum --losses LOSSES. In Python: jq.learning_times(…),
    jq.open_learning_times(OUT).
    """

    losses: Path = argument("a folder of losses, or of a suite", "LOSSES")
    out: Path | None = knob(
        None, f"the Zarr group to write (default: {STORE} beside the losses)", "DIR"
    )
    along: str = knob("step", "step: over checkpoints; size: over the sizes at one checkpoint")
    below: float = knob(BELOW, "nats: a token that does not change is known below, else flat")
    step: int | None = knob(None, "for sizes: the checkpoint (default: each model's last)")


def spectrum(options: Options) -> None:
    """Compute, store and print."""
    require_losses(options.losses, flag="")
    from jquanta.lm.taxonomy.learning import learning_times
    from jquanta.lm.taxonomy.tables import open_table
    from jquanta.run.progress import Bar

    losses = open_table([options.losses])
    out = options.out or _beside(options.losses)
    with Bar() as line:
        found = learning_times(
            losses,
            out,
            along=options.along,
            below=options.below,
            step=options.step,
            monitor=line,
        )
    print(summary(found), out, sep="\n")


def summary(found: "xr.Dataset") -> str:
    """For each series the shares of kinds, and when half of the learned tokens are learned."""
    import numpy as np

    kinds = found.kind.attrs["flag_meanings"].split()
    unit = found.learning_time.attrs["units"]
    width = max(len(name) for name in found.name.to_numpy().tolist())
    lines = [
        f"{found.sizes['prediction']:,} tokens, share of each kind (%), and the median learning "
        f"time of the learned ones ({unit})",
        f"{'':{width}}  " + "  ".join(f"{kind:>9}" for kind in [*kinds, "median"]),
    ]
    for place, name in enumerate(found.name.to_numpy().tolist()):
        one = found.isel(series=place)
        kind = one.kind.to_numpy()
        shares = 100 * np.bincount(kind, minlength=len(kinds)) / len(kind)
        times = one.learning_time.to_numpy()[kind == 0]
        median = f"{np.median(times):,.0f}" if len(times) else "none"
        cells = [*(f"{share:.1f}" for share in shares), median]
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)


def _beside(losses: Path) -> Path:
    """Where the group is written by default: in the folder of a suite, or beside that of losses."""
    if losses.is_file() or not (losses / "losses").is_dir():
        return losses.absolute().parent / STORE
    return losses / STORE


main = door.command("spectrum", Options, spectrum)

if __name__ == "__main__":
    sys.exit(main())
