"""Tokenizers: loaded from a file or the hub, applied to many documents at once, and trained."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import TOKENIZER
from jquanta.run.files import write_whole

END_OF_TEXT = "<|endoftext|>"
"""The special token of a trained tokenizer, number 0. Corpora hold none."""

ALPHABET = 256
"""The bytes, which a byte-level vocabulary holds whatever it is trained on."""

HEAD_CHARACTERS = 8
"""Characters tokenised for each token wanted, at first: prose has 4 to 5 a token."""

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(?<!\.json)")
_CUT = re.compile(r"(?<=[A-Za-z0-9])[ \n]")

Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True, eq=False)
class LoadedTokenizer:
    """A tokenizer and the file that it came from.

    Attributes:
        tokenizer: as the ``tokenizers`` library has it, without truncation and padding.
        file: the content of its ``tokenizer.json``.
    """

    tokenizer: Tokenizer
    file: bytes

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: one more than the largest token, added tokens included."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def load_tokenizer(name: Path | str) -> LoadedTokenizer:
    """A tokenizer by file, folder or hub id.

    Args:
        name: a ``tokenizer.json``, a folder that holds one, or a model on the hub, such as
            ``EleutherAI/pythia-70m``.

    Raises:
        BadInput: if there is none, or it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / TOKENIZER
    elif not path.exists() and _HUB_ID.fullmatch(str(name)):
        path = _download(str(name))
    if not path.is_file():
        raise BadInput(f"--tokenizer {name}: there is no file {path}")
    return parse_tokenizer(path.read_bytes(), f"--tokenizer {name}")


def parse_tokenizer(file: bytes, what: str) -> LoadedTokenizer:
    """A tokenizer from the content of a ``tokenizer.json``, or ``BadInput`` that names ``what``."""
    try:
        tokenizer = Tokenizer.from_str(file.decode("utf-8"))
    except Exception as error:  # the library raises nothing more special
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{what}: not a tokenizer.json of the tokenizers library ({reason})"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return LoadedTokenizer(tokenizer, file)


def _download(model: str) -> Path:
    what = f"--tokenizer {model}"
    chatter = logging.getLogger("huggingface_hub")
    level = chatter.level
    chatter.setLevel(logging.ERROR)  # each of its retries is a line, and ours says it all
    try:
        return Path(hf_hub_download(model, TOKENIZER))
    except LocalEntryNotFoundError:
        raise BadInput(
            f"{what}: no such file here, and the hub cannot be reached; give a {TOKENIZER}"
        ) from None
    except EntryNotFoundError:
        raise BadInput(f"{what}: this model has no {TOKENIZER} on the hub") from None
    except HFValidationError:
        raise BadInput(f"{what}: neither a file here nor the name of a model") from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"{what}: no such file here, and on the hub no such model, or one that needs a login"
        ) from None
    except HfHubHTTPError as error:
        raise BadInput(f"{what}: the hub refuses ({' '.join(str(error).split())[:200]})") from None
    finally:
        chatter.setLevel(level)


def encoder(tokenizer: Tokenizer, max_length: int | None) -> Encode:
    """A function that gives the first ``max_length`` tokens of each of many texts, None for all.

    No special tokens are added. The tokenizers library spreads the texts over all cores.

    Where the tokenizer splits text before spaces in any case, only as much of a long text is
    tokenised as is needed, which is exact: an ASCII letter or digit before a space ends a piece
    that nothing later can change. Otherwise, and where that was not enough, the whole text is.
    """
    if max_length is None:
        tokenizer.no_truncation()
        return partial(_rows, tokenizer)
    tokenizer.enable_truncation(max_length)
    head = _head if splits_before_spaces(tokenizer) else _whole

    def encode(texts: Sequence[str]) -> list[list[int]]:
        heads = [head(text, HEAD_CHARACTERS * max_length) for text in texts]
        found = _rows(tokenizer, heads)
        short = [
            i
            for i, row in enumerate(found)
            if len(row) < max_length and len(heads[i]) < len(texts[i])
        ]
        for i, row in zip(short, _rows(tokenizer, [texts[i] for i in short]), strict=True):
            found[i] = row
        return found

    return encode


def _rows(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def splits_before_spaces(tokenizer: Tokenizer) -> bool:
    """Whether no token can hold an ASCII letter or digit and a later space or line end.

    True of the byte-level tokenizers of GPT-2, GPT-Neo and GPT-NeoX; where in doubt, false.
    """
    parts = json.loads(tokenizer.to_str())
    split = parts["pre_tokenizer"] or {}
    by_words = split.get("type") == "ByteLevel" and split.get("use_regex", True)
    local = (parts["normalizer"] or {"type": "NFC"})["type"] == "NFC"
    plain = not any(
        _CUT.search(token["content"]) or token["rstrip"] for token in parts["added_tokens"]
    )
    return bool(by_words and local and plain)


def _head(text: str, length: int) -> str:
    """At least ``length`` characters, up to the end of a word."""
    cut = _CUT.search(text, length) if len(text) > length else None
    return text[: cut.start()] if cut else text


def _whole(text: str, length: int) -> str:
    return text


def train_tokenizer(documents: Iterable[str], vocab_size: int, path: Path | str) -> None:
    """Train a byte-level BPE and write it as a ``tokenizer.json``.

    The same documents give the same file. The pieces that merges stay within are GPT-2's, as in
    the Pythia tokenizer.

    Args:
        documents: texts; read once.
        vocab_size: tokens in all: the end-of-text token (number 0), 256 bytes, then merges.
        path: the file to write.

    Raises:
        BadInput: if the vocabulary is smaller than its alphabet, or the documents too few for it.
    """
    least = 1 + ALPHABET
    if vocab_size < least:
        raise BadInput(f"vocab_size = {vocab_size}: a byte-level vocabulary has at least {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    if (found := tokenizer.get_vocab_size()) != vocab_size:
        raise BadInput(f"vocab_size = {vocab_size}: the documents give only {found} tokens")
    write_whole(Path(path), tokenizer.to_str())
