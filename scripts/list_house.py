"""Write the listing of `docs/house.md`: every module of the package with the first line of its docstring.

python scripts/list_house.py            writes it
python scripts/list_house.py --check    says whether it is up to date (exit code 1 if not)
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "docs" / "house.md"
BEGIN, END = "<!-- listing: scripts/list_house.py writes it -->", "<!-- end of the listing -->"
ORDER = (
    *(
        "",
        "imaging",
        "pictures",
        "collection",
        "fetch",
        "annotate",
        "nets",
        "foregrounds",
        "track",
        "find",
        "describe",
        "index",
        "build",
        "search",
    ),
    *("words", "morphology", "export", "evaluate", "synthetic", "cli"),
)
"""Packages, in the order in which data passes through them."""


def main(words: list[str]) -> int:
    """Write the listing, or compare it."""
    text = HOUSE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = f"{before}{BEGIN}\n\n{make_listing()}\n{END}{after}"
    if "--check" in words:
        if new != text:
            print(f"the listing in {HOUSE} is old; write it with: python scripts/list_house.py", file=sys.stderr)
        return int(new != text)
    HOUSE.write_text(new, encoding="utf-8")
    return 0


def make_listing() -> str:
    """Return the listing as Markdown: a heading a package, a line a module."""
    package = ROOT / "sst_retrieval"
    unlisted = {path.parent.relative_to(package).parts[:1] for path in package.glob("*/__init__.py")} - {
        (name,) for name in ORDER
    }
    if unlisted:
        raise SystemExit(f"give the packages a place in ORDER: {sorted(unlisted)}")
    return "\n".join(_list_package(package / name, name) for name in ORDER)


def _list_package(folder: Path, name: str) -> str:
    lines = [f"### sst_retrieval/{name}\n", f"{_first_line(folder / '__init__.py')}\n"]
    for path in sorted(folder.glob("*.py" if not name else "**/*.py")):
        inner = path.relative_to(folder)
        if path.name == "__init__.py":
            if inner.parent != Path():
                lines.append(f"- **{inner.parent}/** {_first_line(path)}")
        else:
            lines.append(f"- `{inner}` {_first_line(path)}")
    return "\n".join(lines) + "\n"


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
