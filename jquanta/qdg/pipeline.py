"""The whole path in one call: corpus and model → losses → samples → similarity → clusters → page.

Each stage is kept in the run folder under its own name once it is whole, so the same call
continues. What is expensive, the samples and their similarity, belongs to one configuration;
clusters and page are made anew where only their settings changed.
"""

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import jax
import xarray as xr

from jquanta.errors import BadInput
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.column import read_column
from jquanta.lm.losses.compute import run_job
from jquanta.lm.losses.job import Checkpoint, Job, open_checkpoint, require_room
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.models import cut
from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.weights.load import read_config, read_on_host, read_params
from jquanta.lm.weights.sources import open_source
from jquanta.machine import hosts
from jquanta.machine.memory import usable
from jquanta.machine.prices import noted
from jquanta.qdg.clusters.cluster import (
    STORE,
    cluster,
    cluster_features,
    open_clusters,
    save_clusters,
)
from jquanta.qdg.config import GIVEN, ClusterConfig, InputConfig, QDGConfig, load_qdg
from jquanta.qdg.cosines import shards
from jquanta.qdg.cosines.features import VECTOR, features
from jquanta.qdg.cosines.given import given_features, read_rows, require_same_file
from jquanta.qdg.cosines.matrix import COSINE, COSINE_ABS
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.pages.data import page_from
from jquanta.qdg.pages.render import render
from jquanta.qdg.results import PAGE, open_likeness, stages, stored_config
from jquanta.qdg.samples.predictions import (
    SELECTION,
    Predictions,
    open_selection,
    stored_selection,
)
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.samples.selection import Newly, select
from jquanta.qdg.views.per_sample import placement_for
from jquanta.qdg.views.stored import configured
from jquanta.qdg.views.view import View
from jquanta.run import kinds, together
from jquanta.run.files import SHARD_SETTINGS, as_path, write_whole
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shard import Shard, cut_of, require_same_cut, shards_in


def run(
    config: QDGConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    mini: bool = False,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Discover the quanta of a model, or continue where an earlier call stopped::

        clusters = jq.qdg.run("stdlib")
        clusters.label.sel(count=400)  # (sample): 0 is the largest cluster

    Args:
        config: a ``QDGConfig``, the path of a TOML file, its content as a mapping, or None for
            the embedded default, which takes the suite that ``jquanta pretrain`` makes.
        out: the run folder; ``runs/NAME`` by default. It holds ``selection.zarr``,
            ``similarity.zarr`` (``features.zarr`` where there is no matrix of all pairs),
            ``clusters.zarr`` and the page.
        mini: apply the configuration's ``[mini]`` table.
        monitor: sees the progress.

    Returns:
        The clusters: see ``jquanta.qdg.cluster``.

    Raises:
        BadInput: for a wrong configuration, or parts that do not go together.
        RunFailed: if the disk or a device is full. The same call continues.
        Interrupted: on Ctrl-C. The same call continues.
    """
    if not isinstance(config, QDGConfig):
        config = load_qdg(config, mini=mini)
    config = dataclasses.replace(config, input=anchored(config.input))
    monitor = monitor or Silence()
    folder = RunFolder(Path("runs") / config.name if out is None else out)
    only_shards = not folder.begun and cut_of(folder.path) is not None
    before = stored_config(folder.path) if not only_shards and folder.require_place() else None
    shards.require_same_settings(shards_in(folder.path), config)
    if before is not None:
        _require_same_samples(folder.path, before, config)
    whole = all((folder.path / name).exists() for name in (*stages(config), PAGE))
    if before == config and folder.done and whole:
        folder.tidy()
        stored_selection(folder.path)  # whole, or refused
        likeness = open_likeness(folder.path)
        if config.similarity.mode == GIVEN:
            place = folder.path / stages(config)[1]
            require_same_file(Path(config.input.features), place, likeness)
        monitor.say(f"{folder.path}: already finished; nothing to do")
        return open_clusters(folder.path)
    if hosts.here()[0] > 0:
        return _take_part(folder.path, config, monitor)
    inputs = _inputs(config, monitor)  # what is wrong with them is said before anything is written
    made = folder.missing()
    with folder.locked():
        write_whole(folder.config, config.to_toml())  # clusters and page may differ from before
        folder.begin(config.name, config.to_toml(), folder=os.path.abspath(folder.path))
        try:
            remedy = "give similarity.memory a size, such as '4 GB'"
            with noted(), folder.failures_recorded(remedy):
                clusters = _stages(folder.path, config, inputs, monitor)
        except BadInput:
            if before is None and not (folder.path / stages(config)[1]).exists():
                folder.withdraw(made)  # nothing expensive is lost
            raise
        folder.finish()
    return clusters


def run_shard(
    config: QDGConfig, out: Path | str, shard: Shard, *, monitor: Monitor | None = None
) -> Path:
    """Compute a shard of the similarity, for ``run`` in the same folder to go on with.

    Args:
        config: whose corpus and losses are there.
        out: the folder of the whole.
        shard: which.
        monitor: sees the progress.

    Returns:
        The folder of the shard.

    Raises:
        BadInput: if corpus or losses are missing, with the command that makes them; and as ``run``.
        RunFailed, Interrupted: as ``run``. The same call continues.
    """
    if config.similarity.mode == GIVEN:
        raise BadInput(f"--shard {shard}: features that are there need no shards; leave it out")
    config = dataclasses.replace(config, input=anchored(config.input))
    monitor, whole = monitor or Silence(), as_path(out)
    folder = RunFolder(whole)
    require_same_cut(whole, shard)
    if folder.begun and (before := stored_config(whole)) is not None:
        _require_same_samples(whole, before, config)
    if not Path(config.input.corpus).exists():
        remedy = "make it by the command without --shard, or jquanta corpus; then cut the rest"
        raise kinds.wrong(Path(config.input.corpus), "corpus", remedy, flag="input.corpus =")
    inputs = _inputs(config, monitor)
    checkpoint = inputs.checkpoints[0]
    job = Job(inputs.corpus, (checkpoint,), Path(config.input.losses), "float32")
    if "finished" not in (read_column(job.column(checkpoint)) or {}):
        raise BadInput(
            f"--shard {shard}: there are no losses of {checkpoint.label} to select samples by; "
            f"first: {job.command(checkpoint)} --out {quote(str(job.out))}"
        )
    predictions = (
        open_selection(whole, inputs.corpus)
        if (whole / SELECTION).exists()
        else selected(config, inputs.corpus, open_losses(job.out), checkpoint.label)
    )
    shards.require_few(shard, len(predictions))
    shards.require_same_settings(shards_in(whole), config)
    place = shard.folder(whole)
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / SHARD_SETTINGS, config.to_toml())
    model = _model(config, checkpoint, predictions, monitor)
    _shard(whole, config, model, predictions, shard, monitor)
    return place


def _take_part(path: Path, config: QDGConfig, monitor: Monitor) -> xr.Dataset:
    """What a process does in a run that another one leads: its shards of losses and similarity.
    ``_stages`` waits at the same points."""
    together.wait(path)
    inputs = _inputs(config, monitor)
    _losses(config, inputs, monitor)
    together.wait(path)
    predictions = open_selection(path, inputs.corpus)
    _shards(path, config, inputs.checkpoints[0], predictions, monitor)
    together.wait(path)
    return open_clusters(path)


class _Inputs(NamedTuple):
    """What a run is made from.

    Attributes:
        corpus: whose predictions are selected.
        checkpoints: the model whose quanta are looked for, then those whose losses are shown
            besides.
    """

    corpus: Corpus
    checkpoints: Sequence[Checkpoint]


def anchored(wanted: InputConfig) -> InputConfig:
    """With paths that hold from every folder; what is no file, such as the hub's id of a model,
    stays as it is."""

    def absolute(path: str) -> str:
        return os.path.abspath(as_path(path))

    def known(path: str) -> str:
        return absolute(path) if path and as_path(path).exists() else path

    corpus, losses = absolute(wanted.corpus), absolute(wanted.losses)  # there or to be made
    return dataclasses.replace(wanted.at(known), corpus=corpus, losses=losses)


def _require_same_samples(path: Path, before: QDGConfig, config: QDGConfig) -> None:
    """Raise ``BadInput`` if the folder holds samples, and they are not this configuration's."""
    if not (path / SELECTION).exists():
        return
    if names := before.differences(config):
        raise BadInput(
            f"--out {path}: its samples are of another configuration, which differs in "
            f"{', '.join(names)}; give another folder, or delete this one"
        )
    config.cluster.counts_of(stored_selection(path).sizes["sample"])


def _inputs(config: QDGConfig, monitor: Monitor) -> _Inputs:
    """The corpus, built if need be, and the models that go with it."""
    wanted = config.input
    path = Path(wanted.corpus)
    there = path.exists()
    if wanted.samples:
        remedy = "give a folder that jquanta qdg made"
        kinds.require(wanted.samples, "quanta", remedy=remedy, flag="input.samples =")
    if not there and not wanted.source:
        remedy = "jquanta pretrain makes the default's corpus, and jquanta corpus others"
        raise kinds.wrong(path, "corpus", remedy, flag="input.corpus =")
    shape = read_config(open_source(wanted.model, wanted.revision or None))
    if config.similarity.mode != GIVEN:
        configured(config.similarity).cost(shape)  # refuses what finds nothing
    corpus = (
        open_corpus(path)
        if there
        else build_corpus(
            wanted.source,
            wanted.tokenizer or wanted.model,
            path,
            max_length=wanted.max_length,
            documents=wanted.documents or None,
            long=wanted.long,
            monitor=monitor,
        )
    )
    corpus.verify()
    if wanted.samples:
        samples = len(open_selection(wanted.samples, corpus))
        config.cluster.counts_of(samples)
        if config.similarity.mode == GIVEN and Path(wanted.features).exists():
            read_rows(Path(wanted.features), samples)
    require_room(Path(wanted.losses), corpus)
    models = [(wanted.model, wanted.revision), *map(named, wanted.others)]
    found = [open_checkpoint(model, revision or None, corpus) for model, revision in models]
    newly = config.select.newly_model
    if newly and newly not in {checkpoint.label for checkpoint in found}:
        open_losses(wanted.losses, models=[newly])  # refuses what is not there
    return _Inputs(corpus, found)


def named(text: str) -> tuple[str, str]:
    """``model@revision`` in its two parts; the second may be empty."""
    model, _, revision = text.partition("@")
    return model, revision


def _stages(path: Path, config: QDGConfig, inputs: _Inputs, monitor: Monitor) -> xr.Dataset:
    """All that is missing, one stage after another."""
    together.wait(path)  # the corpus is there: other processes can open it
    losses = _losses(config, inputs, monitor)
    label = inputs.checkpoints[0].label
    predictions = _selection(path, config, inputs.corpus, losses, label, monitor)
    config.cluster.counts_of(len(predictions))
    together.wait(path)  # so are the samples
    _shards(path, config, inputs.checkpoints[0], predictions, monitor)
    cosines = _similarity(path, config, inputs.checkpoints[0], predictions, monitor)
    clusters = _clusters(path, config, cosines, monitor)
    _page(path, config, monitor)
    together.wait(path)
    return clusters


def _losses(config: QDGConfig, inputs: _Inputs, monitor: Monitor) -> xr.Dataset:
    columns = Path(config.input.losses)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: monitor.say(f"warning: {message}")
        job = Job(inputs.corpus, tuple(inputs.checkpoints), columns, "float32")
        run_job(job, placement=config.similarity.placement or None, monitor=monitor)
    return open_losses(columns)


def _selection(
    path: Path,
    config: QDGConfig,
    corpus: Corpus,
    losses: xr.Dataset,
    model: str,
    monitor: Monitor,
) -> Predictions:
    if (path / SELECTION).exists():
        return open_selection(path, corpus)
    predictions = selected(config, corpus, losses, model)
    predictions.save(path)
    how = f"selected, loss of {model} below {config.select.threshold} nats"
    if config.input.samples:
        how = f"of {config.input.samples}"
    monitor.say(f"{len(predictions):,} samples {how}")
    return predictions


def selected(config: QDGConfig, corpus: Corpus, losses: xr.Dataset, model: str) -> Predictions:
    """The samples of a configuration: those of another run, or else by the losses of the model with
    this label."""
    if config.input.samples:
        found = open_selection(config.input.samples, corpus)
        return dataclasses.replace(found, model=model, rule={"of": found.model} | dict(found.rule))
    rule = config.select
    newly = Newly(rule.newly_model, rule.newly_above) if rule.newly_model else None
    return select(
        corpus,
        losses,
        model,
        threshold=rule.threshold,
        induction=rule.induction,
        stride=rule.stride,
        count=rule.count,
        newly=newly,
    )


def _shards(
    path: Path,
    config: QDGConfig,
    checkpoint: Checkpoint,
    predictions: Predictions,
    monitor: Monitor,
) -> None:
    """Compute and join shards of the similarity, if there are any or several processes are."""
    there = (path / stages(config)[1]).exists() or config.similarity.mode == GIVEN
    if there or not together.in_shards(path):
        return
    model = _model(config, checkpoint, predictions, monitor)
    wanted = config.similarity
    together.compute(
        path,
        shards.most_shards(len(predictions)),
        lambda shard, part: _shard(path, config, model, predictions, shard, part),
        lambda _: shards.join(
            model,
            predictions,
            configured(wanted),
            cut_of(path) or 1,
            path,
            matrix=config.cluster.has_matrix,
            absolute=wanted.absolute,
            dtype=wanted.dtype,
        ),
        monitor,
    )


def _shard(
    path: Path,
    config: QDGConfig,
    model: Model,
    predictions: Predictions,
    shard: Shard,
    monitor: Monitor,
) -> None:
    wanted = config.similarity
    shards.compute(
        model,
        predictions,
        configured(wanted),
        shard,
        path,
        absolute=wanted.absolute,
        memory=wanted.memory or None,
        dtype=wanted.dtype,
        monitor=monitor,
    )


def _model(
    config: QDGConfig, checkpoint: Checkpoint, predictions: Predictions, monitor: Monitor
) -> Model:
    """The model, its parameters placed as the configuration says, or else as they fit."""
    wanted, shape = config.similarity, checkpoint.config
    view = configured(wanted)
    placement = wanted.placement or _placement(shape, view, predictions)
    if placement == CUT and not wanted.placement:
        words = cut.described(shape, "float32", usable(), jax.local_device_count())
        monitor.say(f"{checkpoint.label}: {words}")
    read = read_on_host if placement == CUT else read_params
    return Model(shape, read(checkpoint.source, shape), placement=placement)


def _similarity(
    path: Path,
    config: QDGConfig,
    checkpoint: Checkpoint,
    predictions: Predictions,
    monitor: Monitor,
) -> xr.Dataset:
    """The cosines of all pairs; of a run without a matrix, the samples' features."""
    wanted = config.similarity
    if wanted.mode == GIVEN:
        return given_features(
            config.input.features,
            predictions,
            out=path,
            matrix=config.cluster.has_matrix,
            memory=wanted.memory or None,
            dtype=wanted.dtype,
            monitor=monitor,
        )
    view = configured(wanted)
    model = _model(config, checkpoint, predictions, monitor)
    if not config.cluster.has_matrix:
        return features(model, predictions, view, out=path, monitor=monitor)
    return similarity(
        model,
        predictions,
        view,
        absolute=wanted.absolute,
        out=path,
        memory=wanted.memory or None,
        dtype=wanted.dtype,
        monitor=monitor,
    )


def _placement(config: LMConfig, view: View, predictions: Predictions) -> str:
    """Where the model's parameters lie, unless it is said: ``copied`` if that fits."""
    longest = int(prefixes(predictions, config).lengths.max())
    kind, count = jax.default_backend(), jax.local_device_count()
    return placement_for(view.cost(config), longest, config, kind, usable(), count)


def _clusters(path: Path, config: QDGConfig, cosines: xr.Dataset, monitor: Monitor) -> xr.Dataset:
    wanted = config.cluster
    if (path / STORE).exists():
        stored = open_clusters(path)
        same = _settings(stored) == dataclasses.asdict(wanted)
        if same and stored.attrs.get("samples") == cosines.attrs["samples"]:
            return stored
        monitor.say("clusters: other settings than before; making them anew")
    made: dict[str, Any] = {"seed": wanted.seed, "n_init": wanted.n_init, "kmeans": wanted.kmeans}
    if wanted.has_matrix:
        matrix = cosines[COSINE_ABS if wanted.affinity == "absolute" else COSINE]
        clusters = cluster(
            matrix.assign_attrs(cosines.attrs),
            wanted.chosen,
            affinity=wanted.affinity,
            monitor=monitor,
            **made,
        )
    else:
        clusters = cluster_features(
            cosines[VECTOR].assign_attrs(cosines.attrs),
            wanted.chosen,
            method=wanted.method,
            neighbours=wanted.neighbours,
            monitor=monitor,
            **made,
        )
    clusters = clusters.assign_attrs(settings=json.dumps(dataclasses.asdict(wanted)))
    save_clusters(clusters, path)
    return clusters


def _settings(clusters: xr.Dataset) -> dict[str, Any]:
    """The settings that clusters were made with; those that there were not yet, at what they do by
    default."""
    defaults = {field.name: field.default for field in dataclasses.fields(ClusterConfig)}
    return defaults | json.loads(clusters.attrs.get("settings", "{}"))


def _page(path: Path, config: QDGConfig, monitor: Monitor) -> None:
    """The page, written whole."""
    page = page_from(
        path,
        corpus=config.input.corpus,
        losses=[config.input.losses],
        before=config.page.before,
        after=config.page.after,
        monitor=monitor,
    )
    write_whole(path / PAGE, render(page))
