"""Pages of the documentation site that are made when it is built (a hook of MkDocs).

- `reference/commands.md` is made from the commands themselves, `reference/python.md` from `__init__.pyi`: mkdocstrings
  then takes each name's docstring.
- Some pages lie elsewhere in the repository, where people look for them; the site shows them, too.
- Links between all these are turned into links within the site, and links to other files into the files' names.
"""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from sst_retrieval.cli import app

ROOT = Path(__file__).resolve().parents[1]

ELSEWHERE = {
    "benchmarks/README.md": "measured.md",
    "indexes/README.md": "index-folder.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
"""File of the repository -> the page of the site that shows it."""

SECTIONS = (
    ("Collections and photographs", ("collection", "fetch", "imaging", "synthetic")),
    ("Annotated specimens", ("annotate", "track", "find", "foregrounds")),
    ("Building an index", ("build", "engines", "describe", "nets")),
    ("Searching", ("search", "index", "words", "types")),
    ("Comparing and exporting", ("morphology", "export", "evaluate")),
    ("Pictures", ("pictures",)),
    ("Errors", ("errors", "files")),
)
"""Headings of the reference of Python names, and the packages whose names stand below each."""


KINDS = {Path: "path", str: "text", int: "number", float: "number", bool: "yes or no"}
"""Types of parameters, in words."""


OPTIONAL = ("scaling.md",)
"""Pages that a checkout may lack; links to them are then plain words."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take pages that are not there out of the navigation."""
    missing = [page for page in OPTIONAL if not (ROOT / "docs" / page).is_file()]

    def is_missing(entry: Any) -> bool:
        return isinstance(entry, dict) and any(page in missing for page in entry.values() if isinstance(page, str))

    def keep(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        (title, inside), *_ = entry.items()
        return {title: [keep(each) for each in inside if not is_missing(each)] if isinstance(inside, list) else inside}

    config.nav = [keep(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {"reference/commands.md": describe_commands(), "reference/python.md": list_public_names()}
    for source, page in ELSEWHERE.items():
        if page != "index.md" and (ROOT / source).is_file():
            made[page] = relink((ROOT / source).read_text(encoding="utf-8"), posixpath.dirname(source), page)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links out of docs/ into links within the site."""
    source = page.file.src_uri
    if source in ELSEWHERE.values() and source != "index.md":
        return markdown
    return relink(markdown, posixpath.join("docs", posixpath.dirname(source)), source)


def relink(text: str, folder: str, page: str) -> str:
    """Turn links relative to a folder of the repository into links relative to a page of the site.

    Args:
        text: Markdown.
        folder: of the repository, that its links start from.
        page: of the site, that shows it.
    """

    def replace(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        inside = posixpath.normpath(posixpath.join(folder, path))
        if inside in ELSEWHERE:
            shown = ELSEWHERE[inside]
        elif inside.removeprefix("docs/") in OPTIONAL and not (ROOT / inside).is_file():
            return words
        elif inside.startswith("docs/"):
            shown = inside.removeprefix("docs/")
        else:
            return f"{mark}{words} (`{inside}`)" if words != f"`{inside}`" else words
        link = posixpath.relpath(shown, posixpath.dirname(page) or ".")
        return f"{mark}[{words}]({link}{'#' + anchor if anchor else ''})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", replace, text)


# --------------------------------------------------------------------------------------------------------- commands


def describe_commands() -> str:
    """Write the reference of commands from the commands themselves."""
    lines = [
        "# Commands",
        "",
        "Every command says the same with `--help`. `sst-retrieval --install-completion` lets the shell complete "
        "commands and options with the Tab key; `--debug`, before the command, says where an error arose.",
        "",
    ]
    for words, command in walk_commands(typer.main.get_command(app)):
        lines += describe_command(words, command)
    return "\n".join(lines)


def walk_commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Go through the commands, those of groups after them: the words that name it, the command."""
    for name in group.commands:
        command = group.commands[name]
        yield " ".join((*words, name)), command
        if hasattr(command, "commands"):
            yield from walk_commands(command, *words, name)


def describe_command(words: str, command: Any) -> list[str]:
    """Write a command's section: what it does, its usage, its arguments and options."""
    lines = [f"## {words}" if " " not in words else f"### {words}", "", inspect.cleandoc(command.help or ""), ""]
    parameters = [each for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]
    if hasattr(command, "commands"):
        return lines
    names = [each.name.upper() if each.required else f"[{each.name.upper()}]" for each in parameters if is_word(each)]
    lines += ["```text", " ".join(["sst-retrieval", words, *names, "[OPTIONS]"]), "```", ""]
    if parameters:
        lines += ["| | | |", "|---|---|---|"]
    for each in parameters:
        spelt = each.name.upper() if is_word(each) else ", ".join(f"`{name}`" for name in each.opts)
        lines.append(f"| {spelt} | {describe_type(each)} | {escape(each.help or '')}{describe_default(each)} |")
    return [*lines, ""]


def is_word(parameter: Any) -> bool:
    """Say whether a parameter is an argument: a word without a name."""
    return bool(parameter.param_type_name == "argument")


def describe_type(parameter: Any) -> str:
    """Name the type of a parameter, and that it may be repeated or must be given."""
    found = getattr(parameter, "type_descriptor", None)
    if found is None:  # Typer before 0.29, which used click's own parameters.
        kind, repeatable = str(parameter.type.name), parameter.multiple
    else:
        repeatable = get_origin(found.annotation) is list
        inner = get_args(found.annotation)[0] if repeatable else found.annotation
        kind = KINDS.get(inner, getattr(inner, "__name__", str(inner)))
    words = ["" if getattr(parameter, "is_flag", False) else kind]
    if not is_word(parameter):
        words += ["repeatable"] * bool(repeatable) + ["required"] * bool(parameter.required)
    return ", ".join(filter(None, words))


def describe_default(parameter: Any) -> str:
    """Say a parameter's default, if it has one worth saying."""
    default = parameter.default
    if default is None or default is False or default == () or callable(default) or parameter.required:
        return ""
    return f" Default: `{default}`."


def escape(text: str) -> str:
    """Write a text so that a table of Markdown shows it as it is."""
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return text.replace("_", "\\_").replace("[", "\\[")


# ----------------------------------------------------------------------------------------------------------- Python


def list_public_names() -> str:
    """Write the page of public names, in sections, for mkdocstrings to fill in."""
    lines = [
        "# Python",
        "",
        "`import sst_retrieval as sst`; every name below is `sst.NAME`. Importing the package loads no model library. "
        "All functions have types (`py.typed`).",
        "",
    ]
    names = public_names()
    for heading, packages in SECTIONS:
        inside = [(module, name) for module, name in names if module.split(".")[0] in packages]
        if inside:
            lines += [f"## {heading}", ""]
        for module, name in inside:
            lines += [f"::: sst_retrieval.{module}.{name}", ""]
    listed = {package for _, packages in SECTIONS for package in packages}
    forgotten = sorted({module for module, _ in names if module.split(".")[0] not in listed})
    if forgotten:
        raise SystemExit(f"give these modules a section in {__file__}: {', '.join(forgotten)}")
    return "\n".join(lines)


def public_names() -> list[tuple[str, str]]:
    """List the public names: (module without sst_retrieval, name), as `__init__.pyi` has them."""
    stub = ast.parse((ROOT / "sst_retrieval" / "__init__.pyi").read_text(encoding="utf-8"))
    found = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return found
