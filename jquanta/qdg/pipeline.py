"""The whole path in one call: corpus and model → losses → samples → similarity → clusters → page.

Each stage is kept in the run folder under its own name once it is whole, so the same call
continues. What is dear, the samples and their similarity, belongs to one configuration; clusters
and page are made anew where only their settings changed.
"""

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jquanta.errors import BadInput, JquantaError
from jquanta.qdg.config import InputConfig, QDGConfig, chosen_counts, load_qdg
from jquanta.qdg.results import STAGES, stored_config
from jquanta.run.environment import environment, now
from jquanta.run.files import write_whole
from jquanta.run.folder import DONE, FAILED, RUNNING, RunFolder
from jquanta.run.progress import Monitor, Silence

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.lm.corpus.reader import Corpus
    from jquanta.lm.losses.job import Checkpoint
    from jquanta.qdg.samples.selection import Selection

PAGE = "quanta.html"


def run(
    config: QDGConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """Discover the quanta of a model, or continue where an earlier call stopped::

        clusters = jq.qdg.run("configs/qdg/stdlib.toml")
        clusters.label.sel(count=400)  # (sample): 0 is the largest cluster

    Args:
        config: a ``QDGConfig``, the path of a TOML file, its content as a mapping, or None for
            the embedded default, which takes the suite that ``jquanta pretrain`` makes.
        out: the run folder; ``runs/NAME`` by default. It holds ``selection.zarr``,
            ``similarity.zarr``, ``clusters.zarr``, figure 5 and the page.
        monitor: is told of the progress.

    Returns:
        The clusters: see ``jquanta.qdg.cluster``.

    Raises:
        BadInput: for a wrong configuration, or parts that do not go together.
        RunFailed: if the disk or a device is full. The same call continues.
        Interrupted: on Ctrl-C. The same call continues.
    """
    from jquanta.qdg.clusters.cluster import open_clusters
    from jquanta.qdg.cosines.similarity import SIMILARITY

    if not isinstance(config, QDGConfig):
        config = load_qdg(config)
    config = dataclasses.replace(config, input=_anchored(config.input))
    monitor = monitor or Silence()
    folder = RunFolder(Path("runs") / config.name if out is None else out)
    before = stored_config(folder.path) if folder.config.exists() else None
    _check(folder, before, config)
    whole = all((folder.path / name).exists() for name in (*STAGES, PAGE))
    if before == config and folder.state == DONE and whole:
        monitor.say(f"{folder.path}: already finished; nothing to do")
        return open_clusters(folder.path)
    inputs = _inputs(config, monitor)  # what is wrong with them is told before anything is written
    made = folder.missing()
    with folder.locked():
        write_whole(folder.config, config.to_toml())
        folder.update_record(
            name=config.name,
            folder=os.path.abspath(folder.path),
            state=RUNNING,
            started=folder.read_record().get("started", now()),
            **environment(),
        )
        try:
            clusters = _stages(folder, config, inputs, monitor)
        except JquantaError as error:
            dear = before is not None or (folder.path / SIMILARITY).exists()
            if isinstance(error, BadInput) and not dear:
                folder.withdraw(made)
            else:
                folder.update_record(state=FAILED, error=str(error))
            raise
        folder.update_record(state=DONE, finished=now())
    return clusters


def _anchored(wanted: InputConfig) -> InputConfig:
    """With paths that hold from every folder; what is no file, such as the hub's id of a model,
    stays as it is."""

    def absolute(path: str) -> str:
        return os.path.abspath(Path(path).expanduser())

    def known(path: str) -> str:
        return absolute(path) if path and Path(path).expanduser().exists() else path

    corpus, losses = absolute(wanted.corpus), absolute(wanted.losses)  # there or to be made
    return dataclasses.replace(wanted.at(known), corpus=corpus, losses=losses)


class _Inputs(NamedTuple):
    corpus: "Corpus"
    checkpoints: Sequence["Checkpoint"]
    """The model whose quanta are looked for, and those whose losses are shown besides."""


def _check(folder: RunFolder, before: QDGConfig | None, config: QDGConfig) -> None:
    """Raise ``BadInput`` unless the folder can take, or already holds, the configuration."""
    from jquanta.qdg.samples.selection import SELECTION, open_selection

    path = folder.path
    if path.exists() and not path.is_dir():
        raise BadInput(f"--out {path}: is a file; give the path of a folder")
    if before is None:
        if path.exists() and {p.name for p in path.iterdir()} - {"lock", "config.toml.part"}:
            raise BadInput(f"--out {path}: holds other files and no config.toml; give a new folder")
        return
    if not (path / SELECTION).exists():
        return
    if names := before.differences(config):
        raise BadInput(
            f"--out {path}: its samples are of another configuration, which differs in "
            f"{', '.join(names)}; give another folder, or delete this one"
        )
    chosen_counts(config.cluster.chosen, len(open_selection(path)))


def _inputs(config: QDGConfig, monitor: Monitor) -> _Inputs:
    """The corpus, built if need be, and the models that go with it."""
    from jquanta.lm.corpus.build import build_corpus
    from jquanta.lm.corpus.reader import open_corpus
    from jquanta.lm.losses.job import open_checkpoint, require_room
    from jquanta.lm.losses.reader import open_losses
    from jquanta.lm.weights.load import read_config
    from jquanta.lm.weights.sources import open_source
    from jquanta.qdg.views.parameters import chosen

    wanted = config.input
    path = Path(wanted.corpus)
    there = path.exists()
    if not there and not wanted.source:
        raise BadInput(
            f"input.corpus = {path}: there is no such folder; make it with jquanta corpus, or with "
            "jquanta pretrain where it belongs to a suite"
        )
    shape = read_config(open_source(wanted.model, wanted.revision or None))
    chosen(shape, config.similarity.parameters)  # refuses a pattern that finds nothing
    corpus = (
        open_corpus(path)
        if there
        else build_corpus(
            wanted.source,
            wanted.tokenizer or wanted.model,
            path,
            max_length=wanted.max_length,
            documents=wanted.documents or None,
            monitor=monitor,
        )
    )
    corpus.verify()
    require_room(Path(wanted.losses), corpus)
    models = [(wanted.model, wanted.revision), *map(_named, wanted.others)]
    found = [open_checkpoint(model, revision or None, corpus) for model, revision in models]
    newly = config.select.newly_model
    if newly and newly not in {checkpoint.label for checkpoint in found}:
        open_losses(wanted.losses, models=[newly])  # refuses what is not there
    return _Inputs(corpus, found)


def _named(text: str) -> tuple[str, str]:
    model, _, revision = text.partition("@")
    return model, revision


def _stages(
    folder: RunFolder, config: QDGConfig, inputs: _Inputs, monitor: Monitor
) -> "xr.Dataset":
    """All that is missing, one stage after another."""
    from jquanta.lm.losses.compute import run_job
    from jquanta.lm.losses.job import Job
    from jquanta.lm.losses.reader import open_losses
    from jquanta.lm.weights.load import read_params
    from jquanta.qdg.cosines.similarity import open_similarity, similarity

    corpus, own = inputs.corpus, inputs.checkpoints[0]
    columns = Path(config.input.losses)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: monitor.say(f"warning: {message}")
        job = Job(corpus, tuple(inputs.checkpoints), columns, "float32")
        run_job(job, monitor=monitor)
    losses = open_losses(columns)
    selection = _selection(folder.path, config, corpus, losses, own.label, monitor)
    chosen_counts(config.cluster.chosen, len(selection))
    wanted = config.similarity
    similarity(
        own.config,
        read_params(own.source, own.config),
        corpus,
        selection,
        mode=wanted.mode,
        parameters=wanted.parameters,
        absolute=wanted.absolute,
        sketch_size=wanted.sketch_size,
        memory=wanted.memory or None,
        dtype=wanted.dtype,
        out=folder.path,
        monitor=monitor,
    )
    clusters = _clusters(folder.path, config, open_similarity(folder.path), monitor)
    _show(folder, config, monitor)
    return clusters


def _selection(
    path: Path,
    config: QDGConfig,
    corpus: "Corpus",
    losses: "xr.Dataset",
    model: str,
    monitor: Monitor,
) -> "Selection":
    from jquanta.qdg.samples.selection import SELECTION, Newly, open_selection, select

    if (path / SELECTION).exists():
        selection = open_selection(path)
        selection.require_corpus(corpus)
        return selection
    rule = config.select
    newly = Newly(rule.newly_model, rule.newly_above) if rule.newly_model else None
    selection = select(
        corpus,
        losses,
        model,
        threshold=rule.threshold,
        induction=rule.induction,
        stride=rule.stride,
        count=rule.count,
        newly=newly,
    )
    selection.save(path)
    monitor.say(f"{len(selection):,} samples selected, loss of {model} below {rule.threshold} nats")
    return selection


def _clusters(
    path: Path, config: QDGConfig, similarity: "xr.Dataset", monitor: Monitor
) -> "xr.Dataset":
    from jquanta.qdg.clusters.cluster import STORE, cluster, open_clusters, save_clusters

    wanted = config.cluster
    settings = json.dumps(dataclasses.asdict(wanted))
    if (path / STORE).exists():
        stored = open_clusters(path)
        same = stored.attrs.get("settings") == settings
        if same and stored.attrs.get("samples") == similarity.attrs["samples"]:
            return stored
        monitor.say("clusters: other settings than before; making them anew")
    matrix = similarity["cosine_abs" if wanted.affinity == "absolute" else "cosine"]
    matrix = matrix.assign_attrs(similarity.attrs)
    clusters = cluster(
        matrix,
        wanted.chosen,
        affinity=wanted.affinity,
        seed=wanted.seed,
        kmeans=wanted.kmeans,
        n_init=wanted.n_init,
        monitor=monitor,
    ).assign_attrs(settings=settings)
    save_clusters(clusters, path)
    return clusters


def _show(folder: RunFolder, config: QDGConfig, monitor: Monitor) -> None:
    """The page, written whole."""
    from jquanta.qdg.pages.data import page_from
    from jquanta.qdg.pages.render import render

    page = page_from(
        folder.path,
        corpus=config.input.corpus,
        losses=[config.input.losses],
        before=config.page.before,
        after=config.page.after,
        title=config.name,
        monitor=monitor,
    )
    write_whole(folder.path / PAGE, render(page))
