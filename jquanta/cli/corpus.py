"""``jquanta corpus``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument, needed
from jquanta.lm.corpus import LONG, MAX_LENGTH
from jquanta.run.settings import knob


@dataclass(frozen=True)
class Options:
    """Tokenise documents into a corpus folder: tokens, offsets, hashes and the tokenizer.

    SOURCE is one of
      a .jsonl, .jsonl.gz or .jsonl.zst file: a JSON object a line, the document in "text" (--field)
      a .parquet file: a document a row, in the column "text" (--field)
      a folder of nothing but such files: all of them, in the order of their names
      any other folder: each file is a document, in the order of their names; hidden files are not
      hf://datasets/OWNER/NAME/PATH: of a dataset on the hub; PATH may be a pattern (* in a name, **
        for any folders), NAME@REVISION is another branch, tag or commit. Files come one at a time,
        when needed, through the hub's cache, from the commit of the moment when the build began

    Documents are cut to --max_length tokens (or, by --long split, into documents of that length),
    in order, without special tokens. Empty documents stay; blank lines of a file do not count.
    The corpus appears when it is whole; until then it is DIR.part. The same command continues where
    it stopped, and checks a corpus that is finished.

    Examples:
      jquanta corpus src --pattern "*.py" --tokenizer EleutherAI/pythia-70m --out corpora/src
      jquanta corpus test.jsonl.zst --tokenizer EleutherAI/pythia-70m --documents 200000 \\
        --out corpora/pile   # the paper's
      jquanta corpus "hf://datasets/HuggingFaceFW/fineweb/sample/10BT/*.parquet" \\
        --documents 10000 --tokenizer HuggingFaceTB/SmolLM2-135M --out corpora/fineweb

    Next: jquanta losses. In Python: jq.build_corpus, jq.open_corpus(DIR).
    """

    source: str = argument("a file or folder of documents, or hf://datasets/…", "SOURCE")
    tokenizer: str = needed(
        "a tokenizer.json, a folder that holds one, or a model on the hub", "FILE|ID"
    )
    out: Path = needed("the folder for the corpus", "DIR")
    max_length: int = knob(MAX_LENGTH, "tokens that documents are cut to")
    long: str = knob(
        LONG[0],
        "what becomes of longer documents: cut keeps the head, split makes several of one",
        "|".join(LONG),
    )
    field: str = knob("text", "the JSON field or parquet column that holds the document", "NAME")
    documents: int | None = knob(None, "take so many documents, the first (default: all)")
    pattern: str = knob("*", "which files of a folder, such as '*.py' (* matches / too)", "GLOB")


def corpus(options: Options) -> None:
    """Build the corpus, and print its size."""
    from jquanta.lm.corpus.build import build_corpus
    from jquanta.run.progress import Bar

    with Bar() as line:
        made = build_corpus(**vars(options), monitor=line)
    print(
        f"{made.path}: {made.n_documents:,} documents, {made.n_tokens:,} tokens of a "
        f"vocabulary of {made.meta.vocab_size:,}, {made.n_predictions:,} predictions"
    )


main = door.command("corpus", Options, corpus, computes=False)

if __name__ == "__main__":
    sys.exit(main())
