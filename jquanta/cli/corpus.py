"""``python -m jquanta.lm.corpus``: tokenise documents into a corpus."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jquanta.cli import door
from jquanta.errors import BadInput


@dataclass(frozen=True)
class Options:
    """Tokenise documents into a corpus folder: tokens, offsets, hashes and the tokenizer.

    SOURCE is one of
      a .jsonl, .jsonl.gz or .jsonl.zst file: a JSON object a line, the document in "text"
      a .parquet file: a document a row, in the column "text"
      a folder: each file is a document, in the order of their names; hidden ones are left out

    Documents are cut to --max_length tokens (or, by --long split, into documents of so many), in
    order, without special tokens; empty ones stay, blank lines do not count. The corpus appears
    when it is whole; until then it is DIR.part. The same command continues where it stopped, and
    checks a corpus that is finished.

    The paper's corpus: jquanta corpus 00.jsonl.zst --tokenizer EleutherAI/pythia-70m
    --documents 200000 --out corpora/pile

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    source: Annotated[
        Path | None, tyro.conf.Positional, door.option("file or folder of documents", "SOURCE")
    ] = None
    tokenizer: Annotated[
        str | None,
        door.option("a tokenizer.json, a folder that holds one, or a model on the hub", "FILE|ID"),
    ] = None
    out: Annotated[Path | None, door.option("the corpus folder", "DIR")] = None
    max_length: Annotated[
        int, tyro.conf.arg(help="tokens that documents are cut to", metavar="INT")
    ] = 1024
    long: Annotated[
        str,
        tyro.conf.arg(
            help="what becomes of longer documents: cut keeps the head, split makes several of one",
            metavar="cut|split",
        ),
    ] = "cut"
    documents: Annotated[
        int | None, door.option("take the first INT documents (default: all)", "INT")
    ] = None
    pattern: Annotated[
        str,
        door.option("which files of a folder, such as '*.py' (* matches / too)", "GLOB"),
    ] = "*"
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def command(argv: Sequence[str]) -> None:
    """Parse, build, and tell what came of it."""
    options = door.parse(Options, argv, "python -m jquanta.lm.corpus")
    if options.source is None:
        raise BadInput("SOURCE is missing: give a file or folder of documents")
    if options.tokenizer is None:
        raise BadInput("--tokenizer is missing: give a tokenizer.json or a model on the hub")
    if options.out is None:
        raise BadInput("--out is missing: give the folder for the corpus")
    from jquanta.lm.corpus.build import build_corpus
    from jquanta.run.progress import Bar

    with Bar() as line:
        corpus = build_corpus(
            options.source,
            options.tokenizer,
            options.out,
            max_length=options.max_length,
            documents=options.documents,
            pattern=options.pattern,
            long=options.long,
            monitor=line,
        )
    print(
        f"{corpus.path}: {corpus.n_documents:,} documents, {corpus.n_tokens:,} tokens of a "
        f"vocabulary of {corpus.meta.vocab_size:,}, {corpus.n_predictions:,} predictions"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
