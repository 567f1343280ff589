"""The column that says how large a pixel is: found by its usual spellings, and checked before a build."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from sst_retrieval.collection.column_types import NOT_AVAILABLE, parse_decimal
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Scalar

SCALE_COLUMN = "mmPerPixel"
"""A column of the collection of this name says how many millimetres a pixel is, photograph by photograph."""

_SPELLINGS = frozenset(
    f"{unit}{per}{pixel}"
    for unit in ("mm", "millimetres", "millimeters", "millimetre", "millimeter")
    for per in ("per", "/")
    for pixel in ("pixel", "pixels", "px", "pix")
) | {"mmpixel", "mmpx"}
_AROUND = re.compile(r"^(image|photo)?(scale|resolution|pixelsize|calibration)(in)?|(scale|resolution)$")
"""What may stand before or behind the unit: "scale (mm/px)"."""

_NO_UNIT = re.compile(
    r"(image|photo)?(scale|scaling|pixelsize|resolution|scalefactor|calibration|magnification)|ppmm|ppcm"
)
_LARGE = 5.0
"""Millimetres a pixel, above which pixels a millimetre are likelier: 5 m across a photograph of 1,000 pixels."""

_OTHER_UNITS = re.compile(
    r"(px|pixels?|pix)(per|/|a)(mm|cm|millimet\w+|inch)|(um|µm|μm|microns?|micromet\w+|cm|m|inch|nm)(per|/)(px|pixels?|pix)"
    r"|dpi|ppi"
)


def find_scale_column(columns: Iterable[str]) -> str | None:
    """Find the column of the scale: `mmPerPixel`, else the one that spells it otherwise; None if there is none.

    >>> find_scale_column(["sex", "mm_per_pixel"])
    'mm_per_pixel'
    """
    named = list(columns)
    found = [name for name in named if _simplify(name) in _SPELLINGS]
    return SCALE_COLUMN if SCALE_COLUMN in named else found[0] if len(found) == 1 else None


def check_scale_column(table: SpecimenTable) -> SpecimenTable:
    """Read the column of the scale as numbers, so that no export has to refuse it after the build.

    Args:
        table: with types.

    Returns:
        The table; cells that are no scale (0, -1, text) are empty in it, and noted.

    Raises:
        CollectionError: the column is filled, and no cell of it is a scale.
    """
    name = find_scale_column(table.columns)
    if name is None:
        return replace(table, notes=(*table.notes, *_suggest(table)))
    notes = []
    if name != SCALE_COLUMN:
        notes.append(f"{table.source}: the column {name} is taken as {SCALE_COLUMN}, millimetres a pixel")
    values = [_read_scale(value) for value in table.columns[name]]
    filled = [i for i, value in enumerate(table.columns[name]) if value is not None and str(value) not in NOT_AVAILABLE]
    wrong = [i for i in filled if values[i] is None]
    if filled and len(wrong) == len(filled):
        raise CollectionError(
            f"{table.source} {table.locate(wrong)}: {name} is {table.columns[name][wrong[0]]!r}, but must be "
            f"millimetres a pixel, a number above 0; leave unknown scales empty, or rename the column"
        )
    if wrong:
        notes.append(
            f"{table.source} {table.locate(wrong)}: {name} is no number above 0 "
            f"(such as {table.columns[name][wrong[0]]!r}); taken as unknown, so there are no millimetres"
        )
    large = [i for i in filled if (values[i] or 0) > _LARGE]
    if large:
        notes.append(
            f"{table.source} {table.locate(large)}: {name} is {values[large[0]]:g}, so 1,000 pixels would "
            f"be {values[large[0]]:g} m wide; are these pixels a millimetre?"
        )
    if (not wrong and table.types[name] in ("DOUBLE", "BIGINT")) or not filled:
        return replace(table, notes=(*table.notes, *notes))
    return replace(
        table,
        columns={**table.columns, name: values},
        types={**table.types, name: "DOUBLE"},
        notes=(*table.notes, *notes),
    )


def _suggest(table: SpecimenTable) -> list[str]:
    named = [name for name in table.columns if _simplify(name) in _SPELLINGS]
    if named:
        return [f"{table.source}: {' and '.join(named)} could both be {SCALE_COLUMN}; call one of them so"]
    other = [name for name in table.columns if _OTHER_UNITS.fullmatch(_simplify(name))]
    unclear = [
        name
        for name in table.columns
        if _NO_UNIT.fullmatch(_join_words(name)) and table.types[name] in ("DOUBLE", "BIGINT")
    ]
    return [
        *(
            f"{table.source}: the column {name} does not say its unit, and is no scale that is read; for lengths in "
            f"millimetres write millimetres a pixel into a column {SCALE_COLUMN}"
            for name in unclear
        ),
        *(
            f"{table.source}: the column {name} is no scale that is read; for lengths in millimetres write millimetres "
            f"a pixel into a column {SCALE_COLUMN}"
            for name in other
        ),
    ]


def _simplify(name: str) -> str:
    bare = _join_words(name)
    return _AROUND.sub("", bare) or bare


def _join_words(name: str) -> str:
    return re.sub(r"[\s_.()\[\]-]", "", name).casefold()


def _read_scale(value: Scalar) -> float | None:
    number = parse_decimal(str(value)) if value is not None and not isinstance(value, bool) else None
    return number if number is not None and number > 0 else None
