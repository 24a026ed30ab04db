"""What the QDG command tells of its result."""

from typing import TYPE_CHECKING

from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, rank_sizes
from jquanta.qdg.results import chosen_count

if TYPE_CHECKING:
    import xarray as xr


def told(clusters: "xr.Dataset") -> str:
    """Sizes of the largest clusters, and the slope of the envelope, in lines."""
    counts = clusters["count"].to_numpy()
    count = chosen_count(clusters, None)
    sizes = rank_sizes(clusters.label.sel(count=count).to_numpy())
    lines = [
        f"clusters  {len(counts)} counts from {counts[0]} to {counts[-1]}; of {count} the largest "
        f"hold {', '.join(map(str, sizes[:8].tolist()))} of {clusters.sizes['sample']:,} samples"
    ]
    curves = rank_frequency(clusters)
    if curves.sizes["rank"] >= 30:
        fit = envelope_slope(curves)
        low, high = fit.window
        lines.append(
            f"envelope  slope {-fit.exponent:.2f} over ranks {low:.0f} to {high:.0f} (the paper: "
            "-1.24 for Pythia-70m-v0, uncertain by 0.2 or more)"
        )
    return "\n".join(lines)
