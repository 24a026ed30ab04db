"""Files of arrays, and what is none."""

import random
from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.run import npy
from tests.trust.damage import ALTERED

RIGHT = np.arange(40, dtype=np.uint16)


@pytest.mark.parametrize("mapped", [False, True])
def test_an_array(tmp_path: Path, mapped: bool) -> None:
    np.save(tmp_path / "a.npy", RIGHT)
    np.testing.assert_array_equal(npy.read(tmp_path / "a.npy", "", mapped=mapped), RIGHT)
    with pytest.raises(FileNotFoundError):
        npy.read(tmp_path / "b.npy", "", mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_header_with_any_byte_replaced_is_an_array_or_refused(
    tmp_path: Path, mapped: bool
) -> None:
    path, chance, said = tmp_path / "a.npy", random.Random(0), list[str]()
    np.save(path, RIGHT)
    content = path.read_bytes()
    for place in range(128):
        for letter in b"(}',0\n\xff9":
            path.write_bytes(content[:place] + bytes([letter]) + content[place + 1 :])
            try:
                npy.read(path, "mend it", mapped=mapped)
            except BadInput as error:
                said.append(str(error))
    assert len(said) > 300
    assert all("a.npy: damaged, or no .npy array (" in one for one in said)
    assert all(one.endswith("; mend it") and "\n" not in one for one in said)
    for alter in ALTERED.values():
        path.write_bytes(alter(content, chance)[:90])
        with pytest.raises(BadInput, match="damaged"):
            npy.read(path, "mend it", mapped=mapped)


def test_an_archive_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", RIGHT)
    with pytest.raises(BadInput, match=r"an archive \(\.npz\), not an array"):
        npy.read(tmp_path / "a.npz", "give another")


def test_no_advice_to_trust_a_stranger(tmp_path: Path) -> None:
    """What does not begin as an array might be a pickle, which may run code as it is read."""
    (tmp_path / "a.npy").write_text("no array")
    with pytest.raises(BadInput, match=r"\(This file contains pickled \(object\) data\); give"):
        npy.read(tmp_path / "a.npy", "give another")
