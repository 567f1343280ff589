"""A Darwin Core Archive: specimens, their measurements (MeasurementOrFact), photographs and regions (Audiovisual Core).

meta.xml                 what the files are
eml.xml                  where they come from
occurrence.csv           the core: one row an occurrence, all Darwin Core and Dublin Core terms of the collection
measurementorfact.csv    one row a measurement: what, how much, in which unit, by which method
multimedia.csv           one row a photograph; `ac:hasROI` names its regions
regionofinterest.csv     one row a region: its box as fractions of the photograph, from the top left corner; and one an
                         individual, of photographs that may show several

Rows of the four files are joined by the specimen's id in this index (`id`, `coreid`). What an occurrence is called in
the world is `occurrenceID`: the collection's own, so that links to it hold; the id stands there where it has none.
Photographs of one occurrence (one `occurrenceID`, or one specimen where there is none, all terms alike) share its row;
their `associatedMedia` are put together.

`individualCount` is the collection's own; where it says nothing of a specimen whose photographs may show several, it is
how many were found. Photographs of different views show the same individuals, others show more of them.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from sst_retrieval.export.photographs import PhotographContent, iterate_contents
from sst_retrieval.files import atomic_write
from sst_retrieval.index.duck import column_namer
from sst_retrieval.morphology.scales import IN_MILLIMETRES, Scale
from sst_retrieval.search.index import Index
from sst_retrieval.types import Box, Individual, Photograph, Region

_AC, _DC = "http://rs.tdwg.org/ac/terms/", "http://purl.org/dc/elements/1.1/"

_FACTS = (
    *("measurementID", "measurementType", "measurementValue", "measurementUnit", "measurementMethod"),
    *("measurementDeterminedBy", "measurementDeterminedDate", "measurementRemarks"),
)
_MEDIA = (_DC + "type", _DCTERMS + "identifier", _AC + "accessURI", _AC + "hasROI", _DCTERMS + "description")
_OCCURRENCE_ID, _COUNT = _DWC + "occurrenceID", _DWC + "individualCount"
_VIEW = _AC + "subjectOrientationLiteral"
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
    photographs, individuals = _find_shown(index, regions)
    provenance = file_provenance(
        index, "Darwin Core Archive", traits=traits, where=where, min_confidence=min_confidence
    )
    terms, of_media = occurrence_terms(index.columns), media_terms(index.columns)
    records = _records([each.photograph for each in photographs], terms)
    terms.pop(_OCCURRENCE_ID, None)
    if any(each.may_show_several for each in photographs):
        terms.setdefault(_COUNT, "")
        records = _fill_counts(records, list(terms).index(_COUNT), photographs)
    core = {each.id: record.id for record in records for each in record.photographs}
    views = any(each.photograph.view for each in photographs) and not index.catalog.plain
    facts = _facts(rows, core, individuals, index.catalog.owner_columns[-1], provenance, column_namer(index.columns))
    rois = [*_individual_rois(individuals.values()), *_rois(regions, individuals)]
    media = _media(photographs, rois, of_media, views=views)
    media_fields = [*_MEDIA, *[_VIEW] * views, *of_media]
    files = [
        _File("occurrence.csv", _DWC + "Occurrence", [_OCCURRENCE_ID, *terms], _occurrences(records)),
        _File("measurementorfact.csv", _DWC + "MeasurementOrFact", [_DWC + term for term in _FACTS], facts),
        _File("multimedia.csv", _AC + "Multimedia", media_fields, ((core[each], *cells) for each, *cells in media)),
        _File("regionofinterest.csv", _AC + "RegionOfInterest", _ROI, (each.cells(core) for each in rois)),
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
        id: what joins the files: the id of its first photograph, or of its specimen if it has several.
        occurrence: what the occurrence is called in the world.
        cells: its values of the collection's terms.
        photographs: whose row it is.
    """

    id: str
    occurrence: object
    cells: tuple[object, ...]
    photographs: tuple[Photograph, ...]


@dataclass(frozen=True, slots=True)
class _Roi:
    """One region of interest.

    Attributes:
        id: its own.
        photograph: id of the photograph that it is on.
        box: (x0, y0, x1, y1) in pixels, half-open.
        size: (height, width) of the photograph.
        description: what it shows.
    """

    id: str
    photograph: str
    box: Box
    size: tuple[int, int]
    description: str

    def cells(self, core: Mapping[str, str]) -> Sequence[object]:
        """Return its row."""
        (height, width), (x0, y0, x1, y1) = self.size, self.box
        box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        names = core[self.photograph], self.id, _photograph_id(self.photograph)
        return *names, *(f"{value:.8f}" for value in box), self.description


def _find_shown(index: Index, regions: Sequence[Region]) -> tuple[list[PhotographContent], dict[str, Individual]]:
    """Find the photographs that show some regions, and the individuals that these are of."""
    shown = {region.individual for region in regions}
    photographs = [
        each for each in iterate_contents(index) if any(individual.id in shown for individual in each.individuals)
    ]
    individuals = {each.id: each for content in photographs for each in content.individuals if each.id in shown}
    return photographs, individuals


def _records(photographs: Sequence[Photograph], terms: Mapping[str, str]) -> list[_Record]:
    """Join the photographs of one occurrence.

    Args:
        photographs: of the index.
        terms: term -> column of the collection.
    """
    own = terms.get(_OCCURRENCE_ID)
    columns = [column for term, column in terms.items() if term != _OCCURRENCE_ID]
    media = terms.get(_DWC + "associatedMedia")
    joined: dict[object, list[Photograph]] = {}
    for each in photographs:
        theirs = _cell(each.metadata[own]) if own else ""
        alike = tuple(_cell(each.metadata[column]) for column in columns if column != media)
        joined.setdefault((theirs, "" if theirs else each.specimen, alike), []).append(each)
    names = Counter(each.specimen for members in joined.values() for each in members[:1])
    records = []
    for (theirs, *_), members in joined.items():  # type: ignore[misc]
        first = members[0]
        # A specimen that has several rows, as they contradict each other, gives its name to none of them.
        name = first.specimen if not theirs and names[first.specimen] == 1 else first.id
        cells = (
            _join_cells(members, column) if column == media else _cell(first.metadata[column]) for column in columns
        )
        records.append(_Record(name, theirs or name, tuple(cells), tuple(members)))
    return records


def _join_cells(photographs: Sequence[Photograph], column: str) -> str:
    """Join the values that photographs have in a column, each once, as lists are written in Darwin Core."""
    return " | ".join(dict.fromkeys(cell for each in photographs if (cell := _cell(each.metadata[column]))))


def _fill_counts(records: Sequence[_Record], place: int, photographs: Sequence[PhotographContent]) -> list[_Record]:
    """Fill in how many individuals were found, where the collection does not say it.

    Args:
        records: the rows of the core.
        place: of `individualCount` among their cells; one behind them if the collection has no such column.
        photographs: what is on them.
    """
    on = {each.id: each for each in photographs if each.may_show_several}
    filled = []
    for record in records:
        before, stated, after = record.cells[:place], record.cells[place : place + 1], record.cells[place + 1 :]
        count = (stated and stated[0]) or _count_individuals(
            [on[each.id] for each in record.photographs if each.id in on]
        )
        filled.append(replace(record, cells=(*before, count, *after)))
    return filled


def _count_individuals(photographs: Sequence[PhotographContent]) -> str:
    """Count the individuals of a specimen; "" if its photographs show one each, which is nothing that was counted."""
    views: dict[str, int] = {}
    for each in photographs:
        views[each.photograph.view] = views.get(each.photograph.view, 0) + len(each.individuals)
    return str(max(views.values())) if views else ""


def _occurrences(records: Sequence[_Record]) -> Iterable[Sequence[object]]:
    return ([each.id, each.occurrence, *each.cells] for each in records)


def _facts(
    rows: Sequence[Mapping[str, Any]],
    core: Mapping[str, str],
    individuals: Mapping[str, Individual],
    owner: str,
    provenance: Mapping[str, Any],
    name_of: Callable[[str], str],
) -> Iterable[Sequence[object]]:
    known = {name: (unit, meaning) for name, (unit, meaning) in MEASUREMENTS.items()}
    for pixels, (name, power) in IN_MILLIMETRES.items():
        known[name] = ("mm²" if power == 2 else "mm", f"{MEASUREMENTS[pixels][1]}; pixels times millimetres a pixel")
    for row in rows:
        individual = individuals[row[owner]]
        for name, (unit, meaning) in known.items():
            value = row.get(name_of(name))
            if value is not None and math.isfinite(value):
                identity = f"{_region_id(individual.id, row['trait'])}/{name}"
                remarks = f"confidence of the mask {row['confidence']:.3f}"
                review = row[name_of("review")]  # None: nobody decided.
                remarks += f"; mask {review} by a person" if review is not None else ""
                remarks += _say_where(individual)
                what = f"{row['trait']} {name}"
                yield (
                    *(core[individual.photograph.id], identity, what, repr(float(value)), "" if unit == "1" else unit),
                    *(meaning, provenance["program"], provenance["written"], remarks),
                )


def _say_where(individual: Individual) -> str:
    """Say which individual of its specimen was measured; "" if it is the only one."""
    photograph = individual.photograph
    if individual.id != photograph.id:
        return f"; individual {individual.number} on photograph {photograph.id}"
    return "" if photograph.id == photograph.specimen else f"; photograph {photograph.id}"


def _media(
    photographs: Sequence[PhotographContent], rois: Sequence[_Roi], terms: Mapping[str, str], *, views: bool
) -> Iterable[Sequence[Any]]:
    """Yield the rows of photographs: the photograph's id, then the cells."""
    of: dict[str, list[str]] = {}
    for roi in rois:
        of.setdefault(roi.photograph, []).append(roi.id)
    for each in (content.photograph for content in photographs):
        # The name only: a path on this computer is of no use on another.
        about_it = _photograph_id(each.id), each.image.name, " | ".join(of[each.id]), each.group
        values = [each.metadata[column] for column in terms.values()]
        yield each.id, "StillImage", *about_it, *[each.view] * views, *values


def _individual_rois(individuals: Iterable[Individual]) -> Iterable[_Roi]:
    for each in individuals:
        if each.id != each.photograph.id and each.box is not None and each.size is not None:
            sure = "" if each.score is None else f", score {each.score:.3f}"
            yield _Roi(each.id, each.photograph.id, each.box, each.size, f"individual {each.number}{sure}")


def _rois(regions: Sequence[Region], individuals: Mapping[str, Individual]) -> Iterable[_Roi]:
    for region in regions:
        individual = individuals[region.individual]
        whose = "" if individual.id == individual.photograph.id else f" of individual {individual.number}"
        about = f"{region.trait}{whose}, confidence {region.confidence:.3f}"
        name = _region_id(region.individual, region.trait)
        yield _Roi(name, individual.photograph.id, region.box, region.size, about)


def _photograph_id(photograph: str) -> str:
    return f"{photograph}#photograph"


def _region_id(individual: str, trait: str) -> str:
    return f"{individual}#{trait}"


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
