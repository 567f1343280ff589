"""What the label picture of a specimen is called, and whose label picture a file is."""

from __future__ import annotations

from pathlib import Path

from sst_retrieval.files import escape_name, unescape_name


def name_label_picture(specimen: str) -> str:
    """Return the file name under which a specimen's label picture is saved, which every file system accepts.

    >>> name_label_picture("NHMUK 1929/12"), name_label_picture("r1")
    ('NHMUK 1929%2F12.png', 'r1.png')
    """
    return escape_name(specimen, ':*?"<>|') + ".png"


def read_label_picture_name(path: Path) -> str:
    """Return the specimen whose label picture has a name that `name_label_picture` has made.

    >>> read_label_picture_name(Path("NHMUK 1929%2F12.png"))
    'NHMUK 1929/12'
    """
    return unescape_name(path.stem)


def list_label_picture_names(specimen: str) -> tuple[str, ...]:
    """List the names that a specimen's label picture may have: as it is saved, as it is exported, and as its id is.

    >>> list_label_picture_names("BM:1/2"), list_label_picture_names("r1")
    (('BM%3A1%2F2.png', 'BM:1%2F2.png'), ('r1.png',))
    """
    names = dict.fromkeys([name_label_picture(specimen), f"{escape_name(specimen)}.png", f"{specimen}.png"])
    return tuple(name for name in names if Path(name).name == name)


def find_label_picture(folder: Path, specimen: str) -> Path | None:
    """Return the path of a specimen's label picture in a folder; None if there is none."""
    paths = (folder / name for name in list_label_picture_names(specimen))
    return next((path for path in paths if path.is_file()), None)
