"""Specimen tables in the styles of many programs, damaged.

The undamaged table must give exactly the cells that were written, or be refused. A damaged one must give an error, a
note, or the cells of an independent reading (Python's csv module or pandas, with and without quoting); no row of that
reading may be missing from specimens, left-out rows and notes.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pandas as pd
import polars as pl
from PIL import Image

from fuzzing.damages import damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, REFUSED, RIGHT, Check, Outcome
from sst_retrieval.collection.expected_individuals import check_shared_photographs
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.collection.table_files import read_table
from sst_retrieval.errors import CollectionError

Cells = list[list[str]]

PHOTOGRAPHS = 8
WORDS = ("Panama", "Zürich", "São Paulo", "x", "0", "00123", "1923-05-01", "1923-00-00", "0.5", "12,5", "-7", "NA", "")
HARD = (
    'say "cheese"',
    '"',
    "a, b",
    "a; b",
    "a\tb",
    " blanks ",
    "two\nlines",
    "'",
    "=1+1",
    "ñandú",
    "日本",
    "\u200b",
    "NULL",
)
COLUMNS = ("sex", "locality", "eventDate", "decimalLatitude", "remarks", "mmPerPixel", "recordedBy", "genus", "order")
PLACES = {
    "view": ("dorsal", "ventral", "Dorsal", "left lateral", ""),
    "photograph": ("P1", "P2", "007", "B0", ""),
    "box": ("0 0 2 2", "1,1,4,3", "[0 0 1 1]", "0 0 9 9", "x", ""),
    "individual": ("1", "2", "3", "F12", ""),
    "xFrac": ("0", "0.5", ""),
}
"""Columns that say which photograph or individual a row is -> cells."""
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Table:
    """A valid table.

    Attributes:
        cells: header and rows, as written.
        content: of the file.
        suffix: of its file.
        style: what writes tables so.
    """

    cells: Cells
    content: bytes
    suffix: str
    style: str


def make_cells(rng: Random) -> Cells:
    """Make a header and up to eight rows, a photograph each."""
    header = [rng.choice(("catalogNumber", "specimen", "id", "dwc:catalogNumber")), rng.choice(("image", "file"))]
    several, shared = rng.random() < 0.25, rng.random() < 0.15  # Photographs of a specimen, rows of a photograph.
    header += rng.choice(([], ["group"])) + rng.sample(COLUMNS, rng.randint(0, 5))
    header += rng.sample(list(PLACES), rng.randint(0, 3)) if several or shared else []
    rows = []
    hard = rng.random() < 0.5
    for i in range(rng.randint(1, PHOTOGRAPHS)):
        row = [f"B{i // 2 if several else i}", f"p{i // 2 if shared else i}.png"]
        if several and rng.random() < 0.1:
            row[1] += f"|p{(i + 1) % PHOTOGRAPHS}.png"
        for name in header[2:]:
            word = rng.choice(HARD if hard and rng.random() < 0.3 else WORDS)
            if name in PLACES:
                word = rng.choice(PLACES[name])
            row.append(rng.choice(("0.042", "")) if name == "mmPerPixel" else "erato" if name == "group" else word)
        rows.append(row)
    if rng.random() < 0.3:  # Another order of the columns.
        order = rng.sample(range(len(header)), len(header))
        header, rows = [header[i] for i in order], [[row[i] for i in order] for row in rows]
    return [header, *rows]


def make_table(rng: Random) -> Table:
    """Write a table in the style of some program."""
    cells = make_cells(rng)
    style = rng.choice(("csv", "Excel", "GBIF", "R", "R without quotes", "pandas", "quoted", "Parquet"))
    if style == "Parquet":
        return Table(cells, write_parquet(cells, rng), ".parquet", style)
    suffix, ends = ".csv", rng.choice(("\n", "\r\n"))
    if style == "GBIF":  # No quoting: neither tabs nor line breaks in a cell.
        cells = [[" ".join(cell.split()) for cell in row] for row in cells]
        text = "".join("\t".join(row) + ends for row in cells)
        suffix = rng.choice((".tsv", ".txt", ".csv"))
    elif style == "R":
        lines = [["", *cells[0]], *([str(i), *row] for i, row in enumerate(cells[1:], 1))]
        text = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + ends for row in lines)
    elif style == "R without quotes":
        cells = [[" ".join(cell.split()).replace('"', "") for cell in row] for row in cells]
        lines = [cells[0], *([str(i), *row] for i, row in enumerate(cells[1:], 1))]
        text, suffix = "".join("\t".join(row) + ends for row in lines), ".txt"
    elif style == "pandas":
        text = pd.DataFrame(cells[1:], columns=cells[0]).to_csv(index=rng.random() < 0.5, lineterminator=ends)
    else:
        delimiter = ";" if style == "Excel" else rng.choice(DELIMITERS)
        quoting = csv.QUOTE_ALL if style == "quoted" else csv.QUOTE_MINIMAL
        with io.StringIO(newline="") as file:
            csv.writer(file, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows(cells)
            text = file.getvalue()
        text = "sep=;" + ends + text if style == "Excel" and rng.random() < 0.3 else text
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"))
    if encoding == "cp1252" and any(ord(sign) > 255 for sign in text):
        encoding = "utf-8"
    return Table(cells, text.encode(encoding), suffix, style)


def write_parquet(cells: Cells, rng: Random) -> bytes:
    """Write a Parquet file of text and numbers."""
    frame = pd.DataFrame(cells[1:], columns=cells[0]).assign(count=range(len(cells) - 1))
    with io.BytesIO() as file:
        frame.to_parquet(file, compression=rng.choice(("snappy", "zstd", "none")), index=False)
        return file.getvalue()


# ------------------------------------------------------------------------------------------------------- damages


def mutate(table: Table, rng: Random) -> tuple[bytes, str]:
    """Damage a table: its bytes, its marks, or its lines."""
    if table.style == "Parquet" or rng.random() < 0.35:
        return damage(table.content, rng, head=120)
    text = decode(table.content)
    assert text is not None
    how = rng.choice(("marks", "marks", "lines", "a cell", "characters"))
    if how == "marks":
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text) + 1)
            mark = rng.choice(('"', '"', ",", ";", "\t", "\n", "\r", '""', "'", "\\", "|"))
            text = text[:at] + mark + text[at + rng.choice((0, 0, 1)) :]
    elif how == "lines":
        lines = text.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        change = rng.randrange(5)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif change == 2:
            rng.shuffle(lines)
        elif change == 3:
            lines[at] = lines[at].strip()
        else:
            lines.insert(at, rng.choice(("\n", "# comment\n", ",,,\n", "\t\n", '""\n')))
        text = "".join(lines)
    elif how == "a cell":
        cells = [cell for row in table.cells for cell in row if cell]
        text = text.replace(
            rng.choice(cells), rng.choice((*WORDS, *HARD, "1e999", "nan", "B0", "../p0.png", "sst:x")), 1
        )
    else:
        at = rng.randrange(len(text) + 1)
        sign = rng.choice(
            ("\0", "\ufeff", "\u2028", "\x85", "\x1c", "\x0b", "\x0c", "\ud7ff", "\U0001f98b", "\u0301", "\xa0")
        )
        text = text[:at] + sign + text[at:]
    encoding = "utf-16" if table.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return text.encode(encoding), how


# ------------------------------------------------------------------------------------------- independent readings


def decode(content: bytes) -> str | None:
    """Decode a file by its byte order mark, else as UTF-8, else as Windows-1252."""
    marks = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    encodings = [encoding for mark, encoding in marks if content.startswith(mark)] or ["utf-8", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def read_independently(content: bytes) -> Iterator[tuple[str, Cells]]:
    """Read the cells by other programs, in all ways that a table may be meant."""
    text = decode(content)
    if text is None:
        return
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower().startswith("sep="):
        text = rest
    for delimiter in DELIMITERS:
        for quoting, name in ((csv.QUOTE_MINIMAL, "csv"), (csv.QUOTE_NONE, "csv without quotes")):
            try:
                rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))
            except csv.Error:
                continue
            yield name, rows
        lines = [line.split(delimiter) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        yield "lines", lines
        try:
            frame = pd.read_csv(
                io.StringIO(text), sep=delimiter, header=None, dtype=str, keep_default_na=False, engine="python"
            )
        except (ValueError, csv.Error, IndexError, pd.errors.ParserError):
            continue
        yield "pandas", [[str(cell) for cell in row] for row in frame.values.tolist()]


def clean(cells: Cells) -> Cells:
    """Leave out what no reader keeps: blanks around cells, empty rows, empty columns at the end."""
    rows = [[cell.strip() for cell in row] for row in cells]
    rows = [row for row in rows if any(row)]
    while rows and rows[0] and not rows[0][-1].strip("\u200b"):
        rows[0].pop()
    width = len(rows[0]) if rows else 0
    for row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
    return rows


def same_cells(ours: Cells, theirs: Cells) -> bool:
    """Compare the cells of two readings; theirs may have a first column of row numbers, and rows like the header."""
    theirs = clean(theirs)
    if not theirs:
        return False
    header = [name.strip("\ufeff\u200b") for name in theirs[0]]
    rows = [row for row in theirs[1:] if row != theirs[0]]
    if ours == [header, *rows]:
        return True
    if header[:1] == [""]:  # Row numbers, or a column without a name.
        if ours == [header[1:], *(row[1:] for row in rows)]:
            return True
    elif rows and all(len(row) == len(header) + 1 for row in rows) and ours == [header, *(row[1:] for row in rows)]:
        return True
    named = [name or f"column_{i}" for i, name in enumerate(header, 1)]
    return ours == [named, *rows]


# ---------------------------------------------------------------------------------------------------------- check


def prepare(folder: Path) -> Check:
    """Make the photographs that the tables name."""
    for i in range(PHOTOGRAPHS):
        Image.new("RGB", (4, 3)).save(folder / f"p{i}.png")

    def check(rng: Random) -> Outcome:
        table = make_table(rng)
        undamaged = rng.random() < 0.15
        content, how = (table.content, "undamaged") if undamaged else mutate(table, rng)
        path = folder / f"table{table.suffix}"
        path.write_bytes(content)
        try:
            return judge(path, content, table.cells if undamaged else None, f"{table.style}, {how}")
        except CollectionError as error:
            if undamaged and not any("\n" in cell or "\t" in cell for row in table.cells for cell in row):
                # Nothing in it is ambiguous.
                # R's row numbers without a name are recognised by rows that are longer than the header.
                unclear = table.style == "R without quotes" and not any(row[-1] for row in table.cells[1:])
                # Two photographs may have one name, and rows one photograph.
                unclear |= any(
                    word in str(error) for word in ("would be called", "would be a photograph", "several times")
                )
                if not unclear and "mmPerPixel" not in str(error):
                    return Outcome(DIFFERENT, "an undamaged table is refused", f"{table.style}: {error}\n{content!r}")
            return Outcome(REFUSED, "CollectionError", str(error))

    return check


def judge(path: Path, content: bytes, expected: Cells | None, name: str) -> Outcome:
    collection = read_collection(path)
    raw = read_table(path)
    detail = f"{name}: {content[:1500]!r}; notes {collection.notes}"
    rows = [["" if cell is None else str(cell) for cell in row] for row in zip(*raw.columns.values(), strict=True)]
    ours = [list(raw.columns), *rows]
    if path.suffix == ".parquet":
        return judge_parquet(path, raw.columns, expected, detail)
    if expected is not None and not same_cells(ours, expected):
        return Outcome(DIFFERENT, "an undamaged table is read otherwise", f"{detail}; read as {ours}")
    used = [each.id for each in collection.photographs] + [each.photograph for each in collection.left_out]
    if len(used) < len(rows) and not collection.notes:
        return Outcome(DIFFERENT, "a row is missing without a word", f"{detail}; read as {ours}")
    if len(set(used)) < len(used):
        return Outcome(DIFFERENT, "two specimens of one id", f"{detail}; read as {ours}")
    for group in ("one", "many"):
        with suppress(CollectionError):  # Refused with the reason.
            check_shared_photographs(collection, dict.fromkeys(("all", "erato"), group))
    if (outcome := judge_values(collection, raw.columns, detail)) is not None:
        return outcome
    agreeing = next((reader for reader, cells in read_independently(content) if same_cells(ours, cells)), None)
    if agreeing is not None:
        return Outcome(RIGHT, f"the cells are those of {agreeing}")
    if collection.notes:
        return Outcome(EXPLAINED, "a note", detail)
    return Outcome(DIFFERENT, "no other program reads these cells", f"{detail}; read as {ours}")


def judge_parquet(path: Path, columns: dict[str, Sequence[object]], expected: Cells | None, detail: str) -> Outcome:
    """Compare with what Polars reads, which shares no code with Arrow."""
    try:
        frame = pl.read_parquet(path)
    except BaseException as error:  # Also a panic of Rust, which is no Exception.
        if expected is not None:
            raise
        return Outcome(EXPLAINED, "Parquet has no checksums; Polars refuses it", f"{detail}; {error}")
    theirs = {name: [normalise(value) for value in frame[name].to_list()] for name in frame.columns}
    ours = {name: [normalise(value) for value in values] for name, values in columns.items()}
    if ours == theirs:
        return Outcome(RIGHT, "the values are those of Polars")
    if expected is not None:
        return Outcome(DIFFERENT, "an undamaged table is read otherwise", f"{detail}; {ours} and {theirs}")
    return Outcome(EXPLAINED, "Parquet has no checksums; Polars reads other values", f"{detail}; {ours} and {theirs}")


def normalise(value: object) -> str | None:
    """Write a value as text; an empty one is missing."""
    return None if value is None or not str(value).strip() else str(value).strip()


WITHOUT_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
"""Characters that are taken off the ends of ids, files, groups and views, with a note."""


def judge_values(collection: object, columns: dict[str, Sequence[object]], detail: str) -> Outcome | None:
    """Compare typed values with the text that they were made of."""
    specimens = collection.photographs  # type: ignore[attr-defined]
    for column, kind in collection.columns.items():  # type: ignore[attr-defined]
        if column not in columns:
            return Outcome(DIFFERENT, "a column that the table does not have", detail)
        text = {unicodedata.normalize("NFC", str(cell).strip()) for cell in columns[column] if cell is not None}
        text |= {part.strip() for cell in text for part in re.split(r"[|;]", cell)}  # A list is a row for each.
        if any(f"{column} has characters without width; left out" in note for note in collection.notes):  # type: ignore[attr-defined]
            text |= {cell.strip(WITHOUT_WIDTH).strip() for cell in text}
        for specimen in specimens:
            value = specimen.metadata[column]
            if value is None:
                if kind == "VARCHAR" and None not in columns[column]:
                    return Outcome(DIFFERENT, "a text is missing", f"{detail}; {column}")
                continue
            if kind == "VARCHAR" and unicodedata.normalize("NFC", str(value)) not in text:
                return Outcome(DIFFERENT, "a text that the table does not have", f"{detail}; {column} {value!r}")
            if kind in ("BIGINT", "DOUBLE") and float(value) not in {number for t in text for number in numbers(t)}:
                return Outcome(DIFFERENT, "a number that the table does not have", f"{detail}; {column} {value!r}")
    return None


def numbers(text: str) -> list[float]:
    """Read a number with a decimal point or comma."""
    found = []
    for each in (text, text.replace(",", ".")):
        try:
            found.append(float(each))
        except ValueError:
            continue
    return found
