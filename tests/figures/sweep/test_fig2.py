"""Figure 2 from results in which power laws are planted, and the command that draws it."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import jquanta as jq
from jquanta.cli.figures import main
from jquanta.errors import BadInput
from jquanta.figures.sweep import fig2
from jquanta.run.folder import RUNNING
from jquanta.sweep.folder import SweepFolder
from tests.figures.layout import assert_legible, drawn, panels
from tests.sweep.examples import tree
from tests.sweep.synthetic import ALPHA_D, ALPHA_N, ALPHA_S, LN2, PLANTED, planted, stored


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return planted()


@pytest.fixture(scope="module")
def folder(results: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, never written to by these tests."""
    return stored(results, jq.load_config(PLANTED), tmp_path_factory.mktemp("fig2") / "run")


def rows(figure: Figure) -> tuple[list[Any], list[Any]]:
    """The upper and the lower panels, without the colour bar."""
    both = panels(figure)
    return both[: len(both) // 2], both[len(both) // 2 :]


def letters(figure: Figure) -> list[str]:
    return ["".join(axes.get_title(loc="left") for axes in row) for row in rows(figure)]


def test_six_panels_with_units(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig2.draw, [results], tmp_path)
    assert letters(figure) == ["abc", "def"]
    upper, lower = rows(figure)
    assert upper[0].get_ylabel() == "mean test loss (bits)"
    assert lower[0].get_ylabel() == "subtask, by frequency"
    assert [axes.get_xlabel() for axes in lower] == [
        "parameters $N$",
        "steps $S$",
        "training samples $D$",
    ]
    (bar,) = (axes for axes in figure.axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "loss (bits)"
    for axes in upper:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for axes in lower:
        low, high = sorted(axes.get_ylim())
        assert (low, high) == (0.5, 12.5)
        assert axes.yaxis_inverted()  # the most frequent on top
    assert_legible(figure)
    width, height = figure.get_size_inches()
    assert width <= 7  # a page of two columns
    assert height <= 5


def test_what_is_plotted_is_the_loss_in_bits(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig2.draw, [results], tmp_path)
    curves = (
        jq.scaling.parameter_curve(results),
        jq.scaling.step_curve(results),
        jq.scaling.data_curve(results),
    )
    exponents = (ALPHA_N, ALPHA_S, ALPHA_D)
    for axes, curve, exponent in zip(rows(figure)[0], curves, exponents, strict=True):
        trained, fitted, theory, exact = axes.get_lines()
        np.testing.assert_allclose(trained.get_xdata(), curve[jq.scaling.scale_of(curve)])
        np.testing.assert_allclose(trained.get_ydata(), curve.loss / LN2, rtol=1e-6)
        label = fitted.get_label()
        assert f"= {exponent:.2f} [{exponent:.2f}, {exponent:.2f}]" in label
        limit = jq.scaling.predicted(curve)
        assert theory.get_label() == rf"theory, $\infty$ subtasks: {limit:.2f}"
        assert exact.get_label().startswith("theory, 12 subtasks: ")
    for axes, curve in zip(rows(figure)[1], curves, strict=True):
        (mesh,) = axes.collections
        shown = mesh.get_array().reshape(12, -1)
        np.testing.assert_allclose(shown, curve.subtask_loss.T / LN2, rtol=1e-6)
        assert mesh.get_clim() == (0, 1)


def test_the_spread_of_points_of_a_bent_curve_is_no_interval(
    results: xr.Dataset, tmp_path: Path
) -> None:
    """Twelve subtasks bend the curves; with one seed no interval is told."""
    one = results.isel(run=(results.seed == results.seed[0]).to_numpy())
    figure, measured = drawn(fig2.draw, [one], tmp_path)
    for axes, row in zip(rows(figure)[0], measured, strict=True):
        assert "[" not in axes.get_lines()[1].get_label()
        assert np.isnan(row.interval).all()
        assert str(row).endswith("the curve bends, so no interval is told")


@pytest.mark.parametrize(
    ("finite", "expected"),
    [(False, ["ab", "cd"]), (True, ["a", "b"])],
    ids=["width and steps", "data alone"],
)
def test_curves_that_are_missing_leave_no_empty_panels(
    finite: bool,
    expected: list[str],
    results: xr.Dataset,
    tmp_path: Path,
) -> None:
    some = results.isel(run=(np.isfinite(results.train_size) == finite).to_numpy())
    assert letters(drawn(fig2.draw, [some], tmp_path)[0]) == expected


def test_one_width_still_gives_the_curve_of_steps(results: xr.Dataset, tmp_path: Path) -> None:
    some = results.isel(run=(np.isinf(results.train_size) & (results.width == 64)).to_numpy())
    figure, _ = drawn(fig2.draw, [some], tmp_path)
    assert [axes.get_xlabel() for axes in rows(figure)[1]] == ["steps $S$"]


def test_curves_come_from_several_sweeps(results: xr.Dataset, tmp_path: Path) -> None:
    finite = np.isfinite(results.train_size).to_numpy()
    apart = [results.isel(run=finite), results.isel(run=~finite)]
    assert letters(drawn(fig2.draw, apart, tmp_path)[0]) == ["abc", "def"]


@pytest.mark.parametrize("changes", [{"task.alpha": 0.0}, {"task.frequencies": "uniform"}])
def test_where_the_model_says_nothing_no_theory_is_drawn(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    figure, _ = drawn(fig2.draw, [planted(changes)], tmp_path)
    for axes in rows(figure)[0]:
        labels = [line.get_label() for line in axes.get_lines()]
        assert len(labels) == 2
        assert not any("theory" in label for label in labels)


def test_with_an_offset_all_subtasks_are_shown(tmp_path: Path) -> None:
    """The first 41 would be about equally frequent."""
    results = planted({"task.n_tasks": 60, "task.offset": 10.0})
    figure, _ = drawn(fig2.draw, [results], tmp_path)
    for axes in rows(figure)[1]:
        (mesh,) = axes.collections
        assert mesh.get_array().shape[0] == 60
        assert (axes.get_yscale(), axes.get_ylim()) == ("log", (60.5, 0.5))
    assert_legible(figure)


def test_a_loss_that_never_falls_is_drawn_without_a_fit(
    results: xr.Dataset, tmp_path: Path
) -> None:
    flat = results.loss.where(results.loss.isnull(), LN2).assign_attrs(results.loss.attrs)
    figure, _ = drawn(fig2.draw, [results.assign(loss=flat)], tmp_path)
    steps = rows(figure)[0][1]
    assert len(steps.get_lines()) == 1


def test_results_of_several_alphas_have_no_figure_2(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"differ in alpha \(0\.2, 0\.4\): select one"):
        fig2.draw([planted({"task.alpha": [0.2, 0.4]})], tmp_path)
    assert tree(tmp_path) == {}


# Files


def test_png_and_pdf_from_a_stored_result(folder: Path, tmp_path: Path) -> None:
    before, out = tree(folder), tmp_path / "new" / "figures"
    paths, measured = jq.draw("fig2", [folder], out)
    assert paths == [out / "fig2.png", out / "fig2.pdf", out / "fig2.json"]
    assert tree(folder) == before
    assert {path.name for path in out.iterdir()} == {path.name for path in paths}  # no parts
    png, pdf, stored = (path.read_bytes() for path in paths)
    rows = json.loads(stored)
    assert [row["name"] for row in rows] == ["alpha_N", "alpha_S", "alpha_D"]
    assert [row["exponent"] for row in rows] == [one.exponent for one in measured]
    assert png.startswith(b"\x89PNG\r\n")
    assert png.rstrip().endswith(b"IEND\xaeB`\x82")
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    width = int.from_bytes(png[16:20], "big")
    assert width >= 1200  # 6.8 inches at 200 dots


def test_a_figure_that_fails_leaves_the_old_one(
    results: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fig2.png").write_bytes(b"old")

    def half(self: Figure, path: Path, **options: Any) -> None:
        path.write_bytes(b"\x89PNG half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="No space"):
        fig2.draw([results], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"fig2.png": b"old"}


# The command


def test_the_command_prints_where_the_figure_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures"
    assert main(["fig2", "--runs", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr()
    *measured, png, pdf, stored = said.out.splitlines()
    assert [png, pdf, stored] == [str(out / f"fig2.{kind}") for kind in ("png", "pdf", "json")]
    exponents = {"alpha_N": ALPHA_N, "alpha_S": ALPHA_S, "alpha_D": ALPHA_D}
    expected = [f"{name} = {exponent:.2f}" for name, exponent in exponents.items()]
    assert [line.split(" [")[0] for line in measured] == expected
    assert said.err == ""


def test_figures_go_into_the_run_folder_by_default(results: xr.Dataset, tmp_path: Path) -> None:
    folder = stored(results, jq.load_config(PLANTED), tmp_path / "run")
    assert main(["fig2", "--runs", str(folder)]) == 0
    assert (folder / "figures" / "fig2.png").exists()
    jq.open_results(folder)  # still a finished run folder


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    run = SweepFolder(tmp_path / "unfinished")
    run.path.mkdir()
    run.begin("planted", jq.load_config(PLANTED).to_toml())
    assert run.state == RUNNING
    return run.path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "FIGURE"),
        ("fig99 --runs {folder}", "unknown figure 'fig99': did you mean fig9"),
        ("fig2", "--runs is missing"),
        ("fig2 --runs", "--runs"),
        ("fig2 --runs {tmp}/none", "none: no such folder; make one: jquanta sweep"),
        ("fig2 --runs {tmp}", "is a folder without config.toml, not a sweep's folder"),
        ("fig2 --runs {unfinished}", "not finished"),
        ("fig2 --runs {folder} {unfinished}", "not finished"),
        ("fig2 --runs {folder} --out {folder}/config.toml", "is a file; give the path of a folder"),
        (
            "fig2 --runs {folder} --out {folder}/config.toml/below",
            "config.toml is not writable",
        ),
        ("fig2 --runs {folder} --out /proc/jquanta", "/proc/jquanta"),
        ("fig2 --run {folder}", "did you mean --runs?"),
    ],
)
def test_bad_input(
    words: str,
    names: str,
    folder: Path,
    unfinished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = tree(folder), tree(tmp_path)
    argv = words.format(folder=folder, unfinished=unfinished, tmp=tmp_path).split()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jquanta: ")
    assert said.err.count("\n") == 1
    assert names in said.err
    assert (tree(folder), tree(tmp_path)) == before


def test_results_without_its_curves_are_refused(
    results: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = results.isel(run=[-1])  # a finite run alone is no sweep
    config = jq.load_config(PLANTED)
    folder = stored(one, config, tmp_path / "run")
    assert json.loads((folder / "record.json").read_text())["state"] == "done"
    before = tree(folder)
    assert main(["fig2", "--runs", str(folder)]) == 2
    assert "no width sweep and no data sweep" in capsys.readouterr().err
    assert tree(folder) == before
