"""A Darwin Core Archive: specimens, their measurements (MeasurementOrFact), photographs and regions (Audiovisual Core).

meta.xml                 what the files are
eml.xml                  where they come from
occurrence.csv           the core: one row an occurrence, all Darwin Core and Dublin Core terms of the collection
measurementorfact.csv    one row a measurement: what, how much, in which unit, by which method
multimedia.csv           one row a photograph; `ac:hasROI` names its regions
regionofinterest.csv     one row a region: its box as fractions of the photograph, from the top left corner

Rows of the four files are joined by the specimen's id in this index (`id`, `coreid`). What an occurrence is called in
the world is `occurrenceID`: the collection's own, so that links to it hold; the id stands there where it has none.
Photographs of one occurrence (one `occurrenceID`, all terms alike) share its row.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sst_retrieval.describe.measure import MEASUREMENTS
from sst_retrieval.export.darwin_core_terms import DCTERMS as _DCTERMS
from sst_retrieval.export.darwin_core_terms import DWC as _DWC
from sst_retrieval.export.darwin_core_terms import media_terms, occurrence_terms
from sst_retrieval.export.file_provenance import (
    combine_predicate,
    file_provenance,
    provenance_json,
    provenance_line,
    write_provenance,
)
from sst_retrieval.files import atomic_write
from sst_retrieval.index.duck import column_namer
from sst_retrieval.morphology.scales import IN_MILLIMETRES, Scale
from sst_retrieval.search.index import Index
from sst_retrieval.types import Individual, Region

_AC, _DC = "http://rs.tdwg.org/ac/terms/", "http://purl.org/dc/elements/1.1/"

_FACTS = (
    *("measurementID", "measurementType", "measurementValue", "measurementUnit", "measurementMethod"),
    *("measurementDeterminedBy", "measurementDeterminedDate", "measurementRemarks"),
)
_MEDIA = (_DC + "type", _DCTERMS + "identifier", _AC + "accessURI", _AC + "hasROI", _DCTERMS + "description")
_OCCURRENCE_ID = _DWC + "occurrenceID"
_ROI = (
    *(_DCTERMS + "identifier", _AC + "isROIOf", _AC + "xFrac", _AC + "yFrac", _AC + "widthFrac", _AC + "heightFrac"),
    *(_DCTERMS + "description",),
)


def export_darwin_core(
    index: Index,
    path: Path,
    *,
    traits: Sequence[str] | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
    scale: Scale | None = None,
) -> int:
    """Write a Darwin Core Archive.

    Args:
        index: what to export.
        path: a .zip file.
        traits: which; None takes all.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.
        scale: group -> millimetres a pixel; where it is known, areas and lengths come in millimetres, too.

    Returns:
        The number of regions.
    """
    chosen = combine_predicate(where, min_confidence)
    rows = index.trait_table(traits, where=chosen, scale=scale).arrow().to_pylist()
    regions = list(index.drawn(traits, where=chosen))
    shown = {region.individual for region in regions}
    specimens = [each for each in index.individuals() if each.id in shown]
    provenance = file_provenance(
        index, "Darwin Core Archive", traits=traits, where=where, min_confidence=min_confidence
    )
    terms, of_media = occurrence_terms(index.columns), media_terms(index.columns)
    records = _records(specimens, terms.pop(_OCCURRENCE_ID, None), list(terms.values()))
    core = {each.id: record.id for record in records for each in record.specimens}
    facts = _facts(rows, core, provenance, column_namer(index.columns))
    files = [
        _File("occurrence.csv", _DWC + "Occurrence", [_OCCURRENCE_ID, *terms], _occurrences(records)),
        _File("measurementorfact.csv", _DWC + "MeasurementOrFact", [_DWC + term for term in _FACTS], facts),
        _File("multimedia.csv", _AC + "Multimedia", [*_MEDIA, *of_media], _media(specimens, core, regions, of_media)),
        _File("regionofinterest.csv", _AC + "RegionOfInterest", _ROI, _rois(regions, core)),
    ]
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.xml", _meta(files))
        archive.writestr("eml.xml", _eml(provenance))
        archive.writestr("provenance.json", provenance_json(provenance))
        for number, each in enumerate(files):
            archive.writestr(each.name, _csv(["coreid" if number else "id", *map(_last, each.fields)], each.lines))
    write_provenance(path, provenance)
    return len(regions)


@dataclass(frozen=True, slots=True)
class _File:
    """One text file of an archive.

    Attributes:
        name: of the file.
        row_type: what a row is.
        fields: the term of every column but the first, which is the id that joins the files.
        lines: the cells of every row, the id first.
    """

    name: str
    row_type: str
    fields: Sequence[str]
    lines: Iterable[Sequence[object]]


@dataclass(frozen=True, slots=True)
class _Record:
    """One row of the core.

    Attributes:
        id: what joins the files: the id of its first specimen.
        occurrence: what the occurrence is called in the world.
        cells: its values of the collection's terms.
        specimens: whose row it is.
    """

    id: str
    occurrence: object
    cells: tuple[object, ...]
    specimens: list[Individual]


def _records(specimens: Sequence[Individual], own: str | None, columns: Sequence[str]) -> list[_Record]:
    """Join the photographs of one occurrence; those that have no `occurrenceID` each stand alone.

    Args:
        specimens: of the index.
        own: column with the collection's own `occurrenceID`; None if it has none.
        columns: the collection's other terms.
    """
    found: dict[object, _Record] = {}
    for each in specimens:
        theirs = _cell(each.metadata[own]) if own else ""
        cells = tuple(_cell(each.metadata[column]) for column in columns)
        record = _Record(each.id, theirs or each.id, cells, [])
        found.setdefault((theirs, cells) if theirs else each.id, record).specimens.append(each)
    return list(found.values())


def _occurrences(records: Sequence[_Record]) -> Iterable[Sequence[object]]:
    return ([each.id, each.occurrence, *each.cells] for each in records)


def _facts(
    rows: Sequence[Mapping[str, Any]],
    core: Mapping[str, str],
    provenance: Mapping[str, Any],
    name_of: Callable[[str], str],
) -> Iterable[Sequence[object]]:
    known = {name: (unit, meaning) for name, (unit, meaning) in MEASUREMENTS.items()}
    for pixels, (name, power) in IN_MILLIMETRES.items():
        known[name] = ("mm²" if power == 2 else "mm", f"{MEASUREMENTS[pixels][1]}; pixels times millimetres a pixel")
    for row in rows:
        for name, (unit, meaning) in known.items():
            value = row.get(name_of(name))
            if value is not None and math.isfinite(value):
                identity = f"{_region_id(row['specimen'], row['trait'])}/{name}"
                remarks = f"confidence of the mask {row['confidence']:.3f}"
                review = row[name_of("review")]  # None: nobody decided.
                remarks += f"; mask {review} by a person" if review is not None else ""
                what = f"{row['trait']} {name}"
                yield (
                    *(core[row["specimen"]], identity, what, repr(float(value)), "" if unit == "1" else unit),
                    *(meaning, provenance["program"], provenance["written"], remarks),
                )


def _media(
    specimens: Sequence[Individual], core: Mapping[str, str], regions: Sequence[Region], terms: Mapping[str, str]
) -> Iterable[Sequence[object]]:
    of: dict[str, list[str]] = {}
    for region in regions:
        of.setdefault(region.individual, []).append(_region_id(region.individual, region.trait))
    for each in specimens:
        # The name only: a path on this computer is of no use on another.
        about_it = _photograph_id(each.id), each.image.name, " | ".join(of[each.id]), each.group
        yield core[each.id], "StillImage", *about_it, *(each.metadata[column] for column in terms.values())


def _rois(regions: Sequence[Region], core: Mapping[str, str]) -> Iterable[Sequence[object]]:
    for region in regions:
        (height, width), (x0, y0, x1, y1) = region.size, region.box
        box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        names = core[region.individual], _region_id(region.individual, region.trait), _photograph_id(region.individual)
        yield *names, *(f"{value:.8f}" for value in box), f"{region.trait}, confidence {region.confidence:.3f}"


def _photograph_id(specimen: str) -> str:
    return f"{specimen}#photograph"


def _region_id(specimen: str, trait: str) -> str:
    return f"{specimen}#{trait}"


def _cell(value: object) -> str:
    """Write one value; nothing where there is none: no NaN, no None."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in line] for line in lines)
    return text.getvalue()


def _last(term: str) -> str:
    return term.rpartition("/")[2]


def _meta(files: Sequence[_File]) -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append('<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">')
    for number, each in enumerate(files):
        kind, identity = ("extension", "coreid") if number else ("core", "id")
        lines.append(
            f'  <{kind} encoding="UTF-8" fieldsTerminatedBy="," linesTerminatedBy="\\n" fieldsEnclosedBy="&quot;" '
            f'ignoreHeaderLines="1" rowType={quoteattr(each.row_type)}>'
        )
        lines += [f"    <files><location>{each.name}</location></files>", f'    <{identity} index="0"/>']
        lines += [f'    <field index="{i}" term={quoteattr(term)}/>' for i, term in enumerate(each.fields, start=1)]
        lines.append(f"  </{kind}>")
    return "\n".join([*lines, "</archive>", ""])


def _eml(provenance: Mapping[str, Any]) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="export" system="sst-retrieval">'
        f"\n  <dataset>\n    <title>Traits of {escape(provenance['index']['name'])}</title>\n"
        f"    <abstract><para>{escape(provenance_line(provenance))}</para></abstract>\n  </dataset>\n</eml:eml>\n"
    )
