"""What mkdocs is told of this repository: pages that lie outside docs/, links, the reference, and
tutorials, which are run. Called by `make site`; see mkdocs.yml."""

import ast
import hashlib
import importlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import markup  # noqa: E402

from jquanta.machine import cache  # noqa: E402

log = logging.getLogger("mkdocs.plugins.jquanta")

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Documents outside docs/, and the pages that show them."""

CONFIGS = "jquanta/configs"

TUTORIALS = ("sweeps", "language-models", "quanta")
"""In this order, in one folder: each reads what those before it have made."""

LIVE = "runs/quanta/quanta.html"
"""What the tutorials make that is put beside them: a page of quanta to browse."""

USED = {".py", ".toml", ".html", ".css", ".js"}
"""Files of the package on which what a tutorial shows depends."""

FRONTS = ("jquanta", "jquanta.qdg")
"""Packages that gather names from the modules inside; their pages describe those names."""

sources: dict[str, str] = {}
"""For each page that shows a document of the repository, where that lies."""


def on_files(files: Files, config: Any) -> Files:
    """Add every page that docs/ has not."""
    sources.clear()
    sources.update({f.src_uri: f"docs/{f.src_uri}" for f in files.documentation_pages()})
    sources.update({page: path for path, page in OUTSIDE.items()})
    made = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in OUTSIDE.items()}
    made["cite.md"] = cite()
    made["configs.md"] = configs()
    made |= reference()
    for name, content in [*made.items(), *tutorials().items()]:
        files.append(File.generated(config, name, content=content))
    for path in sorted(linked(files)):
        name = plain(str(path.relative_to(ROOT)))
        if path.is_dir():
            files.append(File.generated(config, name, content=listing(path)))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Take comments out, and lead links of the repository to pages of the site."""
    source = sources.get(page.file.src_uri)
    if source is None:
        return markdown

    def new(link: str) -> str:
        found = markup.split(link, source)
        if found is None:
            return link
        path, anchor = found
        if not page.file.src_uri.startswith("tutorials/"):  # which link their own scripts
            path = re.sub(r"^(docs/tutorials/.*)\.py$", r"\1.md", path)
        return markup.relative(place(path), page.file.src_uri) + (anchor or module_anchor(path))

    return markup.rewritten(markup.without_comments(markdown), new)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn, which is an error, of what a reader's browser would fetch from elsewhere."""
    for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", output):
        if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag) and "canonical" not in tag:
            log.warning("%s fetches from elsewhere: %s", page.file.src_uri, tag)
    return output


# Links that leave docs/


def place(path: str) -> str:
    """The page or file of the site that shows a file of the repository."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    if path == "CITATION.cff":
        return "cite.md"
    if path in ("configs", CONFIGS) or path.startswith(("configs/", f"{CONFIGS}/")):
        return "configs.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("jquanta/") and path.endswith(".py"):
        return f"reference/{room(module(path))}.md"
    return plain(path)


def plain(path: str) -> str:
    """Where the site shows a file as it is, programs as text, so that a browser opens them; or the
    list of a folder's files."""
    if (ROOT / path).is_dir():
        return f"files/{path}.md"
    return f"files/{path}" + (".txt" if path.endswith((".py", ".toml")) else "")


def linked(files: Files) -> set[Path]:
    """Files and folders outside docs/ that documents link, and what lies in such folders."""
    found: set[Path] = set()
    for file in files.documentation_pages():
        source = sources.get(file.src_uri)
        for link in markup.links(file.content_string) if source else ():
            named = markup.split(link, source)
            if named and place(named[0]).startswith("files/"):
                path = ROOT / named[0]
                found |= {path, *path.rglob("*")} if path.is_dir() else {path}
    return {path for path in found if path.exists()}


def listing(folder: Path) -> str:
    """A folder as a page."""
    name = str(folder.relative_to(ROOT))
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    page = plain(name)
    ways = [markup.relative(plain(str(path.relative_to(ROOT))), page) for path in inside]
    lines = [
        f"- [{path.relative_to(folder)}]({way})" for path, way in zip(inside, ways, strict=True)
    ]
    return "\n".join([f"# {name}\n", *lines]) + "\n"


def cite() -> str:
    """CITATION.cff as a page."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return f"# How to cite\n\n`CITATION.cff` of the repository:\n\n```yaml\n{text}```\n"


def configs() -> str:
    """Every configuration as a page, with its heading."""
    parts = [
        "# Configurations\n\nWhat comes with the package, by name: `jquanta configs` lists them."
    ]
    for path in [
        *sorted((ROOT / CONFIGS).glob("*.toml")),
        *sorted((ROOT / CONFIGS).glob("*/*.toml")),
    ]:
        command = {"lm": "pretrain", "qdg": "qdg"}.get(path.parent.name, "sweep")
        text = path.read_text(encoding="utf-8")
        parts.append(f"## jquanta {command} {path.stem}\n\n```toml\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


# The reference


def module(path: str) -> str:
    """The name of the module in a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def module_anchor(path: str) -> str:
    return f"#{module(path)}" if path.startswith("jquanta/") and path.endswith(".py") else ""


def room(name: str) -> str:
    """The page of the reference on which a module stands."""
    if name in FRONTS:
        return name
    words = name.split(".")
    if len(words) == 2:
        return "modules"
    if words[1] in ("lm", "qdg"):
        return ".".join(words[:3]) if len(words) > 3 else ".".join(words[:2])
    return ".".join(words[:2])


def modules() -> dict[str, str]:
    """Every public module of the package with its docstring, but for the command line."""
    found = {}
    for path in sorted((ROOT / "jquanta").rglob("*.py")):
        name, text = module(str(path.relative_to(ROOT))), path.read_text(encoding="utf-8")
        said = ast.get_docstring(ast.parse(text)) or ""
        if not path.stem.startswith("_") and "cli" not in name and not said.startswith("The old"):
            found[name] = said
    return found


def reference() -> dict[str, str]:
    """The pages of the reference: one a room, with every module in it."""
    rooms: dict[str, list[str]] = {}
    for name in modules():
        rooms.setdefault(room(name), []).append(name)
    pages = {}
    for page in {*rooms, *FRONTS}:
        title = "Pure modules" if page == "modules" else page
        parts = [f"# {title}", *front(page), *(f"::: {name}" for name in rooms.get(page, []))]
        pages[f"reference/{page}.md"] = "\n\n".join(parts) + "\n"
    return pages


def front(package: str) -> list[str]:
    """What a package says of itself, and the names that it gathers from modules inside."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    if not path.exists():
        return []
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    parts = [markup.from_docstring(said)]
    homes = getattr(importlib.import_module(package), "_HOMES", {}) if package in FRONTS else {}
    short = package.replace("jquanta", "jq", 1)
    known = modules()
    for name, home in homes.items():
        full = f"{home}.{name}"
        if defined(home, name):
            options = {
                "heading": f"{short}.{name}",
                "toc_label": name,
                "skip_local_inventory": "true",
            }
            lines = [f"      {key}: {said}" for key, said in options.items()]
            parts.append("\n".join([f"::: {full}", "    options:", *lines]))
        else:
            said = known.get(home, "Its own page.").partition("\n")[0]
            way = f"[{home}]({home}.md)" if home in FRONTS else f"[{home}][]"
            parts.append(f"## {short}.{name}\n\nA module, {way}: {said}")
    return parts


def defined(home: str, name: str) -> bool:
    """Whether a module defines a name; else the name is the module's own."""
    path = ROOT / home.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(getattr(node, "name", "") == name for node in tree.body)


# Tutorials


def tutorials() -> dict[str, str | bytes]:
    """The pages of the tutorials and what stands beside them."""
    sources.update({f"tutorials/{name}.md": f"docs/tutorials/{name}.md" for name in TUTORIALS})
    made: dict[str, str | bytes] = {}
    for path in sorted(ran().iterdir()):
        text = path.suffix == ".md"
        made[f"tutorials/{path.name}"] = (
            path.read_text(encoding="utf-8") if text else path.read_bytes()
        )
    return made


def ran() -> Path:
    """A folder with what the tutorials show: they are run one after another, unless they were
    with this very package. A folder beside the cache of compiled programs keeps it."""
    digest = hashlib.sha256(sys.version.encode())
    runner = Path(__file__).with_name("percent.py")
    scripts = [ROOT / "docs" / "tutorials" / f"{name}.py" for name in TUTORIALS]
    package = [path for path in (ROOT / "jquanta").rglob("*") if path.suffix in USED]
    for path in [ROOT / "requirements.lock", runner, *scripts, *sorted(package)]:
        digest.update(path.read_bytes())
    kept = (cache.folder() or Path(tempfile.mkdtemp(prefix="jquanta-site-"))) / "site"
    shown = kept / digest.hexdigest()[:16]
    if shown.exists():
        return shown
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="part-", dir=kept) as scratch:
        work, part = Path(scratch) / "work", Path(scratch) / "shown"
        work.mkdir()
        part.mkdir()
        for script in scripts:
            log.info("Running the tutorial %s", script.name)
            words = [sys.executable, str(runner), str(script), str(part)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            if subprocess.run(words, cwd=work, env=environment, check=False).returncode:
                raise PluginError(f"docs/tutorials/{script.name} failed; its error is above")
        shutil.copy(work / LIVE, part / "browse.html")
        part.rename(shown)
    return shown
