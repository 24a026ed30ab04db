"""Load tokenizers from a file or the hub, apply them to many documents at once, and train them."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import TOKENIZER
from jquanta.run.files import as_path, write_whole
from jquanta.run.hub import MODEL, Repo, Unreachable

END_OF_TEXT = "<|endoftext|>"
"""The special token of a tokenizer trained here, with id 0. Corpora do not contain it."""

ALPHABET = 256
"""The 256 single bytes, which every byte-level vocabulary contains."""

HEAD_CHARACTERS = 8
"""Characters of a long document that are tokenised at first, for each token that is needed: prose
has 4 to 5 characters per token."""

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(?<!\.json)")
_CUT = re.compile(r"(?<=[A-Za-z0-9])[ \n]")
"""A place where a text may be cut without changing the tokens before it."""

Encode = Callable[[Sequence[str]], list[list[int]]]
"""From texts to the token ids of each."""


@dataclass(frozen=True, eq=False)
class LoadedTokenizer:
    """A tokenizer and the content of its file.

    Attributes:
        tokenizer: of the ``tokenizers`` library, with truncation and padding switched off.
        file: the bytes of its ``tokenizer.json``.
    """

    tokenizer: Tokenizer
    file: bytes

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: one more than the largest id, added tokens included."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def load_tokenizer(name: Path | str) -> LoadedTokenizer:
    """Load a tokenizer from a file, a folder or the hub.

    Args:
        name: a ``tokenizer.json``, a folder that holds one, or the id of a model on the Hugging
            Face hub, such as ``EleutherAI/pythia-70m``.

    Raises:
        BadInput: if there is no such tokenizer, or it cannot be read.
    """
    path = as_path(name)
    if path.is_dir():
        path = path / TOKENIZER
    elif not path.exists() and _HUB_ID.fullmatch(str(name)):
        path = _download(str(name))
    if not path.is_file():
        raise BadInput(f"--tokenizer {name}: there is no file {path}")
    return parse_tokenizer(path.read_bytes(), f"--tokenizer {name}")


def parse_tokenizer(file: bytes, what: str) -> LoadedTokenizer:
    """Make a tokenizer from the content of a ``tokenizer.json``.

    Args:
        file: the content.
        what: the beginning of an error message: where the file is from.

    Raises:
        BadInput: if the content is not a tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_str(file.decode("utf-8-sig"))
    except Exception as error:  # the library raises plain Exception
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{what}: not a tokenizer.json of the tokenizers library ({reason})"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return LoadedTokenizer(tokenizer, file)


def _download(model: str) -> Path:
    """The path of a model's ``tokenizer.json`` in the hub client's cache, downloaded if needed."""
    what = f"--tokenizer {model}"
    repo = Repo(MODEL, model, "main", what, "no such file here, and on the hub no such model")
    try:
        path = repo.get(TOKENIZER)
    except Unreachable:
        raise BadInput(
            f"{what}: no such file here, and the hub cannot be reached; give a {TOKENIZER}"
        ) from None
    if path is None:
        raise BadInput(f"{what}: this model has no {TOKENIZER} on the hub")
    return path


def encoder(tokenizer: Tokenizer, max_length: int | None) -> Encode:
    """Make a function that tokenises many texts at once, on all cores.

    No special tokens are added.

    Only the beginning of a long text is tokenised where that is exact: if the tokenizer always
    splits text between a letter or digit and a space, no later character can change the tokens
    before such a place. For other tokenizers, and where the beginning had too few tokens, the
    whole text is tokenised.

    Args:
        tokenizer: of the ``tokenizers`` library; its truncation is set.
        max_length: how many tokens of each text to return at most; None for all.

    Returns:
        A function from texts to the token ids of each.
    """
    if max_length is None:
        tokenizer.no_truncation()
        return partial(_rows, tokenizer)
    tokenizer.enable_truncation(max_length)
    head = _head if splits_before_spaces(tokenizer) else _whole

    def encode(texts: Sequence[str]) -> list[list[int]]:
        heads = [head(text, HEAD_CHARACTERS * max_length) for text in texts]
        found = _rows(tokenizer, heads)
        # The texts whose beginning had too few tokens.
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
    """Token ids of each text, without special tokens."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def splits_before_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a space or line end after an ASCII letter or digit always begins a new piece of text.

    Then no token contains both. True of the byte-level tokenizers of GPT-2, GPT-Neo and GPT-NeoX;
    False wherever it is not certain.
    """
    parts = json.loads(tokenizer.to_str())
    # GPT-2's regular expression splits text into words, each with the space before it.
    split = parts["pre_tokenizer"] or {}
    by_words = split.get("type") == "ByteLevel" and split.get("use_regex", True)
    # NFC combines neighbouring characters only, and never across a letter and a space.
    local = (parts["normalizer"] or {"type": "NFC"})["type"] == "NFC"
    # An added token is matched before the text is split, so it may not contain such a place, nor
    # absorb the spaces behind it (rstrip).
    plain = not any(
        _CUT.search(token["content"]) or token["rstrip"] for token in parts["added_tokens"]
    )
    return bool(by_words and local and plain)


def _head(text: str, length: int) -> str:
    """The first ``length`` characters of a text, and on to the end of a word."""
    cut = _CUT.search(text, length) if len(text) > length else None
    return text[: cut.start()] if cut else text


def _whole(text: str, length: int) -> str:
    return text


def train_tokenizer(documents: Iterable[str], vocab_size: int, path: Path | str) -> None:
    """Train a byte-level BPE tokenizer and write it as a ``tokenizer.json``.

    Text is split into words by GPT-2's regular expression, as in the Pythia tokenizer, and merges
    do not cross words. The same documents give the same file.

    Args:
        documents: the texts to train on; iterated over once.
        vocab_size: size of the vocabulary: the end-of-text token (id 0), the 256 bytes, and the
            merges.
        path: the file to write.

    Raises:
        BadInput: if ``vocab_size`` is less than 257, or the documents have too few different words
            for so many merges.
    """
    least = 1 + ALPHABET
    if vocab_size < least:
        raise BadInput(f"vocab_size = {vocab_size}: a byte-level vocabulary has at least {least}")
    tokenizer = Tokenizer(models.BPE())
    # Byte-level: text is split into words, and each byte of their UTF-8 is mapped to a printable
    # character, so that every text can be encoded and no token is unknown.
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
