"""How much may be held at once."""

import jax

from jquanta.errors import BadInput
from jquanta.memory import free, parse_bytes

SHARE = 0.7
"""Of what is free: the rest is for what is not counted."""


def available() -> int:
    """Bytes that may be taken on all local devices together."""
    if on_host():
        return int(SHARE * free())
    devices = jax.local_devices()
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in found for found in stats):
        raise BadInput("memory: this device does not tell; give a size such as memory='8 GB'")
    left = min(found["bytes_limit"] - found.get("bytes_in_use", 0) for found in stats)
    return int(SHARE * left * len(devices))


def on_host() -> bool:
    """Whether the devices' memory is the machine's own."""
    return jax.default_backend() == "cpu"


def size(memory: int | str) -> int:
    """Bytes, of a number or of text such as ``8 GB``. Raises ``BadInput``."""
    if isinstance(memory, str):
        return parse_bytes(memory, "memory =")
    if memory < 1:
        raise BadInput(f"memory = {memory}: give bytes, or a size such as '8 GB'")
    return memory
