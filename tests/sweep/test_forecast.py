"""What shards of a sweep take on GPUs that are elsewhere."""

import pytest

from jquanta.machine.computer import H200
from jquanta.run.shard import Shard
from jquanta.sweep.config import load_config
from jquanta.sweep.estimate import LEAST_SECONDS, pack_operations
from jquanta.sweep.forecast import forecast, forecasts


@pytest.mark.parametrize("parts", [1, 4, 30, 64])
def test_shards_hold_every_network_once(parts: int) -> None:
    runs = load_config("fig2-width").runs()
    found, whole = forecasts(runs, parts), forecast(runs)
    assert len(found) == min(parts, len(runs))
    assert sum(sum(shard.packs) for shard in found) == sum(whole.packs) == len(runs)
    assert sum(shard.disk for shard in found) == whole.disk
    # Each pack draws its samples anew, and no step is sooner than its launch.
    assert sum(shard.operations for shard in found) >= whole.operations == pack_operations(runs)
    assert all(LEAST_SECONDS * runs[0].train.steps < s.seconds <= whole.seconds for s in found)
    assert found[0] == forecast(runs, H200, Shard(len(found), 1))
