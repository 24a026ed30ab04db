"""``jquanta model``."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_model
from jquanta.run.settings import knob

if TYPE_CHECKING:
    from jquanta.lm.models.config import LMConfig


@dataclass(frozen=True)
class Options:
    """Tell what a checkpoint is, and whether jquanta computes it.

    MODEL is an id on the hub or a folder in Hugging Face layout. Its config.json and its tokenizer
    are read; with --check the weights, too, which on the hub may be gigabytes. What is supported
    goes through losses, gradients and all that follows from them; for anything else one line names
    the field or the tensors that are not, and the exit code is 2. docs/models.md lists the
    families.

    Examples:
      jquanta model EleutherAI/pythia-70m-v0 --revision step1000
      jquanta model runs/stdlib/models/793k --revision step1708 --check

    Next: jquanta losses --model MODEL. In Python: jq.load_model(MODEL).
    """

    model: str = argument("a model on the hub, or a folder", "MODEL")
    revision: str | None = knob(None, "a branch, tag or commit; a subfolder of a folder", "NAME")
    check: bool = knob(False, "read the weights, too")


def model(options: Options) -> None:
    """Read, and print."""
    require_model(options.model, [options.revision] if options.revision else [])
    from jquanta.lm.weights.load import read_config, read_params, read_tokenizer
    from jquanta.lm.weights.sources import open_source
    from jquanta.lm.weights.tables import architecture

    source = open_source(options.model, options.revision)
    for note in source.notes:
        print(f"note: {note}", file=sys.stderr)
    config = read_config(source)
    tokenizer = read_tokenizer(source, config)
    params = read_params(source, config) if options.check else {}  # refused before anything is told
    print(f"{source.label}: {architecture(config).kind}, supported")
    print(*described(config), sep="\n")
    if tokenizer is None:
        print("tokenizer   none: there is no tokenizer.json, and a corpus needs one")
    else:
        print(f"tokenizer   {tokenizer.get_vocab_size():,} tokens, {config.vocab:,} rows")
    if options.check:
        print(f"weights     whole: {len(params):,} arrays of finite numbers")


def described(config: "LMConfig") -> list[str]:
    """A shape, in lines."""
    from jquanta.lm.models.network import count, shapes
    from jquanta.qdg.views import parameters

    total, inner = count(config)
    sides = shapes(config)
    keys = sides.get("layers.0.attention.key.kernel", (0, config.attended))[1] // config.head_dim
    local = [i for i, window in enumerate(config.windows) if window]
    seen = f"the last {config.windows[local[0]]:,} positions" if local else "all earlier positions"
    where = f", in {len(local)} of {config.layers} blocks" if 0 < len(local) < config.layers else ""
    gradient = parameters.count(config, parameters.chosen(config))
    return [
        f"blocks      {config.layers}, of width {config.width:,}; MLP of {config.hidden:,}, "
        f"{config.activation}",
        f"attention   {config.heads} heads of {config.head_dim} numbers, {keys} of keys; sees "
        f"{seen}{where}",
        f"context     {config.context:,} tokens",
        f"parameters  {total:,}; {inner:,} without embeddings",
        f"gradient    {gradient:,} numbers a sample: attention and MLP, no norms, no embeddings",
    ]


main = door.command("model", Options, model)


if __name__ == "__main__":
    sys.exit(main())
