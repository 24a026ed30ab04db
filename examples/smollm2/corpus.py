"""Make folders of English text from packages of Debian: ``corpus.py DIR``.

Nothing is installed: packages are fetched by ``apt-get download``, unpacked in a folder that goes
again, and their documents written as plain text, ``DIR/DOMAIN/NAME.txt``. It takes a Debian or
Ubuntu machine with perl and man.
"""

import gzip
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

WORDS = 15_000
"""Of each domain, so that none is the whole of what the model knows."""

LONGEST = 2_000
"""Words of a document; the rest is left out, so that a domain has ten documents or more."""

BLOCKS = re.compile("p|div|h[1-6]|li|dt|dd|tr|table|pre|blockquote|title|item|screen")
"""Tags that begin and end a paragraph, in HTML and in Mallard, GNOME's format of help."""

ASIDE = {"head", "script", "style", "info", "navheader", "navfooter", "toc"}
"""Tags and classes of what is no part of the text."""

FORTUNES = re.compile(
    "computers|definitions|education|food|goedel|humorists|kids|law|linux|medicine|miscellaneous"
    "|news|paradoxum|people|platitudes|science|sports|wisdom|work"
)
"""Without those that hold songs, or quote a single author or series at length."""

Documents = Iterable[tuple[str, str]]
"""Names and texts."""


class Paragraphs(HTMLParser):
    """The paragraphs of a page, as plain text; lines are kept where the page keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words: list[str] = []
        self.kept = 0
        self.aside: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a paragraph, or what is left out: up to the end of that tag."""
        if self.aside:
            name, depth = self.aside
            self.aside = name, depth + (tag == name)
        elif {tag, *(dict(attrs).get("class") or "").split()} & ASIDE:
            self.aside = tag, 1
        elif BLOCKS.fullmatch(tag):
            self.end()
            self.kept += tag in ("pre", "screen")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag without anything in it begins nothing."""

    def handle_endtag(self, tag: str) -> None:
        """End a paragraph, or what is left out."""
        if self.aside:
            name, depth = self.aside
            left = depth - (tag == name)
            self.aside = (name, left) if left else None
        elif BLOCKS.fullmatch(tag):
            self.end()
            self.kept -= tag in ("pre", "screen")

    def handle_data(self, data: str) -> None:
        """Take up text."""
        if not self.aside:
            self.words.append(data)

    def end(self) -> None:
        """Write the paragraph down, if there is one."""
        text, self.words = "".join(self.words), []
        text = text.strip("\n").rstrip() if self.kept else " ".join(text.split())
        if text.strip():
            self.found.append(text)


def html(text: str) -> str:
    """The text of a page in HTML or Mallard, an empty line between paragraphs."""
    page = Paragraphs()
    page.feed(text)
    page.close()
    page.end()
    return "\n\n".join(page.found) + "\n"


def verses(text: str) -> Iterator[tuple[str, str]]:
    """Chapters, with a verse a line, from lines such as "Ge1:1 In the beginning"."""
    chapters: dict[str, dict[str, str]] = {}
    for book, chapter, verse, words in re.findall(r"(?m)^(\w+?)(\d+):(\d+) (.+)$", text):
        lines = chapters.setdefault(f"{book}-{int(chapter):03}", {})
        lines[verse] = f"{chapter}:{verse} {words}\n"
    for name, lines in chapters.items():
        yield name, "".join(lines.values())


def parts(documents: Documents, between: str) -> Iterator[tuple[str, str]]:
    """Collections of small pieces, as documents of whole pieces, of about ``LONGEST`` / 2 words."""
    for name, text in documents:
        found: list[list[str]] = [[]]
        for piece in re.split(between, text):
            if sum(len(one.split()) for one in found[-1]) >= LONGEST // 2:
                found.append([])
            found[-1].append(piece.strip("\n"))
        for number, pieces in enumerate(found):
            yield f"{name}-{number:03}", "\n\n".join(pieces) + "\n"


def output(*command: str | Path, given: str | None = None) -> str:
    """What a program prints."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout


def opened(path: Path) -> str:
    """The content of a file; of a compressed one, decompressed."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix in (".gz", ".dz") else content
    return content.decode("utf-8", errors="replace")


def read(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Files by their names, each as its kind asks."""
    for path in sorted(paths):
        if path.suffix == ".pod":
            yield path.stem, output("pod2text", "--utf8", path)
        elif re.search(r"\.\d\.gz$", path.name):
            yield (
                path.name.removesuffix(".gz"),
                output("man", "--no-hyphenation", "--no-justification", "--local-file", path),
            )
        elif path.suffix in (".html", ".page"):
            yield path.stem, html(opened(path))
        else:
            yield path.name.removesuffix(".gz").removesuffix(".txt"), opened(path)


def domains(at: Path) -> Iterator[tuple[str, Documents]]:
    """Each domain by its name. ``at`` holds the unpacked packages."""
    share, doc = at / "usr/share", at / "usr/share/doc"
    yield "anarchism", read((doc / "anarchism/html").glob("sec*.html"))
    whole = output(at / "usr/bin/bible", "-f", "-p", at / "usr/lib", given="Gen1:1-Rev22:21\n")
    yield "bible", verses(whole)
    game = read((share / "crawl/dat/descript").glob("*.txt"))
    game = ((name, re.sub(r"(?m)^#.*\n", "", text)) for name, text in game if name != "quotes")
    yield "crawl", parts(game, r"\n%%%%\n")
    yield "debian", read((share / "debian-reference").glob("ch*.en.html"))
    fortunes = (share / "games/fortunes").iterdir()
    yield "fortunes", parts(read(p for p in fortunes if FORTUNES.fullmatch(p.name)), "\n%\n")
    yield "git", read((doc / "git/html").glob("*.html"))
    yield "gnome", read((share / "help/C/gnome-help").glob("*.page"))
    jargon = opened(share / "dictd/jargon.dict.dz")
    yield "jargon", parts([("jargon", jargon)], r"\n\n(?=\S)")
    laws = [doc / f"debian/{name}.txt.gz" for name in ("constitution", "social-contract")]
    yield "law", read([*laws, *(share / "state").glob("us-*.gz")])
    yield "manual", read((share / "man/man7").glob("*.7.gz"))
    guides = re.compile(r"perl(faq\d|\w*tut|intro|style|trap|policy|hack|sec)\.pod")
    yield "perl", read(p for p in (share / "perl").rglob("pod/*.pod") if guides.match(p.name))


PACKAGES = [
    "anarchism",
    "bible-kjv",
    "bible-kjv-text",
    "crawl-common",
    "debian-reference-en",
    "fortunes",
    "git-doc",
    "gnome-user-docs",
    "dict-jargon",
    "doc-debian",
    "miscfiles",
    "manpages",
    "perl-doc",
]


def chosen(documents: Documents) -> Iterator[tuple[str, str]]:
    """Documents in an order that their names' hashes give, until there are ``WORDS`` words."""
    left = WORDS
    for name, text in sorted(documents, key=lambda one: hashlib.sha256(one[0].encode()).digest()):
        ends = [found.end() for found in re.finditer(r"\S+", text)][: min(left, LONGEST)]
        if not left:
            return
        if len(ends) > 50:  # what is shorter is a remark or a link to another page
            left -= len(ends)
            yield name, text[: ends[-1]].strip("\n") + "\n"


def main(folder: Path) -> None:
    """Fetch, unpack, extract, choose, write."""
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch) / "unpacked"
        subprocess.run(["apt-get", "--quiet=2", "download", *PACKAGES], cwd=scratch, check=True)
        for package in sorted(Path(scratch).glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", package, at], check=True)
            print(output("dpkg-deb", "--show", package).strip())
        for domain, documents in domains(at):
            (folder / domain).mkdir(parents=True, exist_ok=True)
            number = words = 0
            for name, text in chosen(documents):
                (folder / domain / f"{name}.txt").write_text(text, encoding="utf-8")
                number, words = number + 1, words + len(text.split())
            print(f"{domain:<12}{number:>5} documents{words:>8,} words")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: corpus.py DIR")
    main(Path(sys.argv[1]))
