"""``jquanta pretrain``."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument, configured
from jquanta.lm.pretrain.config import SCHEMA, ModelConfig, SuiteConfig, load_suite
from jquanta.run.settings import knob

TIMED = 3
"""Steps that the plan times, the fastest of which counts: the machine may have been busy."""


@dataclass(frozen=True)
class Options:
    """Pretrain a small suite of Pythia-shaped language models, or continue one.

    Models of several sizes are trained on the same tokens in the same order, and saved in Hugging
    Face layout after a number of steps that doubles. The loss of each saved model on every token of
    held-out text is stored, in nats. Without CONFIG: four sizes on the source of Python's standard
    library, about 15 minutes on two cores; with --mini three sizes, in about one.

    A CONFIG holds the tables [corpus] and [train], whose fields are the flags below, and a
    [[model]] with layers, width and heads for each size; see jquanta configs lm/stdlib.

    Examples:
      jquanta pretrain --plan
      jquanta pretrain --mini
      jquanta pretrain --train.seeds "0, 1, 2" --out runs/seeds

    The same command on the same folder continues where it stopped. Next:
      jquanta figures fig3 --losses runs/stdlib/losses
      jquanta qdg
    In Python: jq.pretrain(CONFIG), jq.load_model("DIR/models/SIZE", "stepN"),
    jq.open_losses("DIR/losses"), jq.open_corpus("DIR/corpus/test").
    """

    config: Path | None = argument(
        "TOML file, or a name such as stdlib; jquanta configs lists them", "CONFIG", default=None
    )
    out: Path | None = knob(None, "run folder (default: runs/NAME, after the configuration)", "DIR")
    mini: bool = knob(False, "apply the configuration's [mini] table: a small variant", was="smoke")
    plan: bool = knob(False, "print sizes and steps, time a few of them, and train nothing")
    fields: Mapping[str, str] = configured(SCHEMA)


def command(options: Options) -> None:
    """Print the plan, or train."""
    config = load_suite(options.config, flags=options.fields, mini=options.mini)
    if options.plan:
        if options.out is not None:
            from jquanta.lm.pretrain.folder import SuiteFolder

            SuiteFolder(options.out).check(config)
        from jquanta.lm.pretrain.data import parts

        parts(config.corpus)  # refuses a source that is not there
        print_plan(config)
    else:
        train(config, options.out or Path("runs") / config.name)


def describe(config: SuiteConfig) -> None:
    """Print the sizes and the recipe."""
    train, corpus = config.train, config.corpus
    steps = ", ".join(f"{step:,}" for step in train.checkpoint_steps)
    tokenizer = corpus.tokenizer or f"a byte-level BPE of {corpus.vocab:,} trained on it"
    seeds = len(train.seed_list)
    print(
        f"{config.name}: {len(config.models)} sizes{f' of {seeds} seeds' * (seeds > 1)} on "
        f"{corpus.source}, tokenizer: {tokenizer}; {corpus.test:.0%} held out"
    )
    print(
        f"training  {train.steps:,} steps of {train.batch} × {train.context} tokens "
        f"({train.steps * train.batch * train.context / 1e6:,.2f}M); models saved after {steps}"
    )
    for model in config.models:
        print(
            f"  {model.label:8} {model.size:>13,} parameters without embeddings: "
            f"{model.layers} layers, width {model.width}, {model.heads} heads; learning rate "
            f"{config.lr(model):.1e}"
        )


def print_plan(config: SuiteConfig) -> None:
    """Print what the suite would train, and what it would take here. Trains nothing.

    A few steps of each size are taken to time them, on random tokens.
    """
    from jquanta.run.progress import duration

    describe(config)
    seconds = [step_seconds(config, model) for model in config.models]
    for model, one in zip(config.models, seconds, strict=True):
        print(f"  {model.label:8} {one:.3f} s a step")
    total = config.train.steps * sum(seconds)
    count = config.train.checkpoints * len(config.models) * len(config.train.seed_list)
    print(
        f"time      about {duration(total)} of training here, and a third of a step's time for as "
        f"many test tokens, {count} times"
    )


def step_seconds(config: SuiteConfig, model: ModelConfig) -> float:
    """Seconds that a step of a size takes here, once compiled."""
    import jax
    import numpy as np

    from jquanta.lm.pretrain.step import initial, make_step
    from jquanta.machine import devices

    train, vocab = config.train, config.corpus.vocab
    network, peak, mesh = (
        model.network(vocab, train.context),
        config.lr(model),
        devices.mesh(train.batch),
    )
    step = make_step(network, train, peak, mesh)
    state = jax.device_put(initial(network, train, peak), devices.copied(mesh))
    shape = len(train.seed_list), train.batch, train.context + 1
    windows = np.random.default_rng(0).integers(0, vocab, shape, np.int32)
    windows = jax.device_put(windows, devices.cut(mesh, 1))
    times = []
    for _ in range(1 + TIMED):
        began = time.monotonic()
        state, _ = jax.block_until_ready(step(state, windows))
        times.append(time.monotonic() - began)
    return min(times[1:])


def train(config: SuiteConfig, out: Path) -> None:
    """Train or continue a suite in the run folder ``out``, and print its losses."""
    from jquanta.lm.pretrain.drive import pretrain
    from jquanta.lm.pretrain.folder import SuiteFolder
    from jquanta.run.progress import Bar, duration

    folder = SuiteFolder(out)
    folder.check(config)
    describe(config)
    if folder.done:
        print(f"{out}: already trained; nothing to do")
        pretrain(config, out)
    else:
        began = time.monotonic()
        with Bar() as line:
            pretrain(config, out, monitor=line)
        print(f"trained   all of it in {duration(time.monotonic() - began)}")
    print("\n".join(table(config, out)))
    print(f"models    {folder.models}")
    print(f"losses    {folder.losses}")


def table(config: SuiteConfig, out: Path) -> list[str]:
    """A line for each size: its parameters, final test losses and training time."""
    from jquanta.lm.losses.reader import mean_loss, open_losses
    from jquanta.lm.pretrain.folder import SuiteFolder
    from jquanta.run.progress import duration

    folder = SuiteFolder(out)
    seconds = folder.read_record().get("training_seconds", {})
    last = config.train.checkpoint_steps[-1]
    lines = [f"{'size':10}{'parameters':>12}{'time':>10}   final test loss, nats"]
    for model in config.models:
        columns = [f"{name}@step{last}" for name in config.names(model)]
        losses = mean_loss(open_losses(folder.losses, models=columns)).sel(model=columns)
        spent = duration(seconds[model.label]) if model.label in seconds else ""
        final = ", ".join(f"{loss:.3f}" for loss in losses.to_numpy())
        lines.append(f"{model.label:10}{model.size:>12,}{spent:>10}   {final}")
    return lines


main = door.command("pretrain", Options, command)

if __name__ == "__main__":
    sys.exit(main())
