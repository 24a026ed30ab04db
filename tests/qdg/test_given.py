"""The samples of another run, with another model, and with features that were made elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from jquanta import qdg
from jquanta.cli.qdg import main
from jquanta.errors import BadInput
from jquanta.qdg.cosines import features as stored
from jquanta.qdg.results import PAGE
from jquanta.run.shard import parse
from tests.lm.losses import examples
from tests.qdg.test_pipeline import modified, settings

SAMPLES, GROUPS, NUMBERS = 40, 4, 40


@pytest.fixture(scope="module")
def first(place: Path) -> Path:
    """The run whose samples others take."""
    qdg.run(settings(place), place / "first")
    return place / "first"


def groups() -> np.ndarray:
    """[Q] the group of each sample."""
    return np.random.default_rng(1).integers(0, GROUPS, SAMPLES)


def rows() -> np.ndarray:
    """[Q, F] sparse features, as of an autoencoder: each group has ten of its own, and a sample
    seven of them."""
    chance = np.random.default_rng(2)
    found = chance.exponential(size=(SAMPLES, NUMBERS)) * (
        chance.random((SAMPLES, NUMBERS)) < 0.1 / 2
    )
    for sample, group in enumerate(groups()):
        own = chance.permutation(10)[:7] + 10 * group
        found[sample, own] += 1 + chance.random(7)
    return found


def elsewhere(
    place: Path, first: Path, file: Path | None = None, **changes: dict[str, Any]
) -> dict[str, Any]:
    """A configuration with the samples of the first run."""
    wanted: dict[str, Any] = {"samples": str(first)}
    if file is not None:
        wanted["features"] = str(file)
        changes = {"similarity": {"mode": "given"} | changes.pop("similarity", {})} | changes
    return settings(place, input=wanted | changes.pop("input", {}), **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "sae.npy", rows())
    return tmp_path / "sae.npy"


def test_the_samples_of_another_run_with_another_model(
    place: Path, first: Path, tmp_path: Path
) -> None:
    """Which would select others: it has other losses."""
    examples.model(place / "other", seed=1)
    model = {"model": str(place / "other")}
    own = {"threshold": 0.001, "stride": 7}  # not used
    qdg.run(elsewhere(place, first, input=model, select=own), tmp_path / "run")
    ours, theirs = qdg.open_run(tmp_path / "run"), qdg.open_run(first)
    np.testing.assert_array_equal(ours.predictions.index, theirs.predictions.index)
    assert (ours.predictions.model, theirs.predictions.model) == ("other@main", "tiny@main")
    assert ours.predictions.rule["of"] == "tiny@main"
    assert ours.similarity.attrs["weights"] != theirs.similarity.attrs["weights"]
    fresh = qdg.similarity(ours.model(), theirs.predictions)
    np.testing.assert_allclose(ours.similarity.cosine, fresh.cosine, atol=1e-6)  # other batches
    before = modified(tmp_path / "run")
    qdg.run(elsewhere(place, first, input=model, select=own), tmp_path / "run")
    assert modified(tmp_path / "run") == before


def test_one_model_has_one_similarity_however_its_samples_are_named(
    place: Path, first: Path, tmp_path: Path
) -> None:
    qdg.run(elsewhere(place, first), tmp_path / "run")
    np.testing.assert_array_equal(
        qdg.open_run(tmp_path / "run").clusters.label, qdg.open_run(first).clusters.label
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_features_of_any_kind(
    place: Path, first: Path, tmp_path: Path, dtype: type, scale: float
) -> None:
    """Planted groups are found in them, and cosines are numpy's. Rows have any length."""
    if dtype == np.float16 and scale < 1:
        scale = 2**-10  # float16 holds nothing smaller to three digits
    lengths = np.random.default_rng(3).uniform(0.5, 2, (SAMPLES, 1))
    values = (rows() * lengths * scale).astype(dtype)
    np.save(tmp_path / "sae.npy", values)
    counts = {"counts": [GROUPS], "n_init": 10}
    clusters = qdg.run(
        elsewhere(place, first, tmp_path / "sae.npy", cluster=counts), tmp_path / "run"
    )
    wide = values.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    found = qdg.open_run(tmp_path / "run").similarity
    np.testing.assert_allclose(found.cosine, unit @ unit.T, atol=1e-6)  # float32
    np.testing.assert_array_equal(found.index, qdg.open_run(first).predictions.index)
    assert adjusted_rand_score(clusters.label[0], groups()) == 1
    page = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    assert "cosine of features" in page
    assert "made elsewhere" in page


def test_features_without_a_matrix(place: Path, first: Path, file: Path, tmp_path: Path) -> None:
    wanted = {"method": "spherical", "counts": [GROUPS]}
    clusters = qdg.run(elsewhere(place, first, file, cluster=wanted), tmp_path / "run")
    assert adjusted_rand_score(clusters.label[0], groups()) == 1
    found = stored.open_features(tmp_path / "run")
    values = rows()
    length = np.linalg.norm(values, axis=1)
    np.testing.assert_allclose(found.vector, values / length[:, None], atol=1e-6)  # float32


def test_whole_numbers_and_flags_are_numbers_too(place: Path, first: Path, tmp_path: Path) -> None:
    for dtype in (bool, np.int64, np.uint8):
        np.save(tmp_path / "active.npy", (rows() > 0).astype(dtype))
        out = tmp_path / np.dtype(dtype).name
        qdg.run(elsewhere(place, first, tmp_path / "active.npy"), out)
        unit = (rows() > 0) / np.linalg.norm(rows() > 0, axis=1, keepdims=True)
        cosine = qdg.open_run(out).similarity.cosine
        np.testing.assert_allclose(cosine, unit @ unit.T, atol=1e-6)  # float32


def test_what_was_read_does_not_need_the_file_again(
    place: Path, first: Path, file: Path, tmp_path: Path
) -> None:
    config = elsewhere(place, first, file)
    qdg.run(config, tmp_path / "run")
    before = modified(tmp_path / "run")
    file.unlink()
    qdg.run(config, tmp_path / "run")
    assert modified(tmp_path / "run") == before
    qdg.run(elsewhere(place, first, file, cluster={"counts": [3]}), tmp_path / "run")
    after = modified(tmp_path / "run")
    assert after["similarity.zarr"] == before["similarity.zarr"]
    assert after["clusters.zarr"] != before["clusters.zarr"]
    with pytest.raises(BadInput, match=r"sae.npy: no such file; save a matrix"):
        qdg.run(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_another_file_of_the_same_name_is_seen(
    place: Path, first: Path, file: Path, tmp_path: Path
) -> None:
    qdg.run(elsewhere(place, first, file), tmp_path / "run")
    np.save(file, rows()[:, ::-1])
    for changes in ({}, {"cluster": {"counts": [3]}}):  # a finished folder, and one to go on with
        with pytest.raises(BadInput, match=r"similarity.zarr: .* features "):
            qdg.run(elsewhere(place, first, file, **changes), tmp_path / "run")


def test_questions_that_need_gradients_say_so(
    place: Path, first: Path, file: Path, tmp_path: Path
) -> None:
    qdg.run(elsewhere(place, first, file), tmp_path / "run")
    run = qdg.open_run(tmp_path / "run")
    index = run.predictions.index[:1]
    with pytest.raises(BadInput, match="features that were made elsewhere, and of anything else"):
        qdg.assign(run.model(), run.predictions, run.clusters, run.similarity, index)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.zeros((3, 5)), "3 rows for 40 samples; give a row for each"),
        (np.zeros(40), r"has shape \(40,\) and type float64"),
        (np.zeros((40, 0)), r"has shape \(40, 0\)"),
        (np.zeros((40, 2), complex), "type complex128"),
        (np.zeros((40, 2**17 + 1), bool), "131,073 numbers a sample; give up to 131,072"),
        (np.array([[object()]]), "no array of numpy"),
    ],
)
def test_arrays_that_do_not_do(
    place: Path, first: Path, tmp_path: Path, values: np.ndarray, line: str
) -> None:
    np.save(tmp_path / "sae.npy", values, allow_pickle=True)
    refused(elsewhere(place, first, tmp_path / "sae.npy"), tmp_path / "run", f"sae.npy: .*{line}")


def test_files_that_do_not_do(place: Path, first: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    np.savez(tmp_path / "several.npz", a=rows())
    (tmp_path / "empty.npy").touch()
    for name, line in (
        ("text.npy", "no array of numpy"),
        ("empty.npy", "no array of numpy"),
        ("several.npz", "several arrays"),
    ):
        refused(elsewhere(place, first, tmp_path / name), tmp_path / "run", line)
    refused(elsewhere(place, first, tmp_path), tmp_path / "run", "no array of numpy")


def test_rows_without_a_direction_are_named(place: Path, first: Path, tmp_path: Path) -> None:
    values = rows()
    values[[3, 17]], values[5, 2] = 0, np.nan
    np.save(tmp_path / "sae.npy", values)
    for method in ("spectral", "spherical"):
        said = r"sae.npy: 2 rows zero \(3, 17\) and 1 row not finite \(5\), counted from 0"
        with pytest.raises(BadInput, match=said):
            qdg.run(
                elsewhere(place, first, tmp_path / "sae.npy", cluster={"method": method}),
                tmp_path / "run",
            )
    assert not (tmp_path / "run").exists()
    values[5, 2] = 1
    own = np.append(values, (values == 0).all(axis=1, keepdims=True), axis=1)
    np.save(tmp_path / "sae.npy", own)
    qdg.run(elsewhere(place, first, tmp_path / "sae.npy"), tmp_path / "run")
    assert qdg.open_run(tmp_path / "run").similarity.cosine[3, 17] == pytest.approx(1)


def test_what_does_not_go_together(place: Path, first: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = {"similarity": {"mode": "given"}}
    refused(settings(place, **given), out, "input.features = '': an array goes with similarity.mod")
    both = {"samples": str(first), "features": str(file)}
    refused(settings(place, input=both), out, "an array goes with similarity.mode = 'given'")
    alone = settings(place, input={"features": str(file)}, **given)
    refused(alone, out, "input.samples = '': says of which samples the rows")
    nowhere = settings(place, input={"samples": str(tmp_path / "nowhere")})
    refused(nowhere, out, "input.samples = .*nowhere: no such folder; give a folder that jquanta")
    losses = settings(place, input={"samples": str(place / "losses")})
    refused(losses, out, "input.samples = .*losses: .* losses")
    many = elsewhere(place, first, cluster={"counts": [SAMPLES]}, select={"count": 1000})
    refused(many, out, "counts: 40 clusters of 40 samples")
    absolute = elsewhere(place, first, file, similarity={"absolute": True})
    refused(absolute, out, "similarity.absolute = true: there are no absolute values in mode given")
    other = settings(place, input={"samples": str(first), "corpus": str(tmp_path / "corpus")})
    examples.corpus(tmp_path / "corpus")
    refused(other, out, "not the corpus of this selection")
    with pytest.raises(BadInput, match="--shard 1/2: features that are there need no shards"):
        qdg.pipeline.run_shard(
            qdg.config.load_qdg(elsewhere(place, first, file)), out, parse("1/2")
        )
    assert not out.exists()


def refused(config: dict[str, Any], out: Path, line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        qdg.run(config, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_the_plan(
    place: Path, first: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, stage in (("spectral", "products"), ("spherical", "features")):
        config = elsewhere(place, first, file, cluster={"method": method})
        text = str(qdg.plan(config, tmp_path / "run"))
        assert "40 samples of" in text
        assert "as in input.samples" in text
        assert f"{stage} " in text
        assert "40 numbers of each of 40 samples" in text
    flags = [f"--input.{k}={v}" for k, v in settings(place)["input"].items()]
    assert main([*flags, f"--input.samples={first}", "--cluster.counts=3", "--plan"]) == 0
    assert "as in input.samples" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
