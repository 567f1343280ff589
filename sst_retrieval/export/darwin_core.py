"""A Darwin Core Archive: specimens, their measurements (MeasurementOrFact), photographs and regions (Audiovisual Core).

meta.xml                 what the files are
eml.xml                  where they come from
occurrence.csv           the core: one row a specimen, the Darwin Core columns of the collection
measurementorfact.csv    one row a measurement: what, how much, in which unit, by which method
multimedia.csv           one row a photograph; `ac:hasROI` names its regions
regionofinterest.csv     one row a region: its box as fractions of the photograph, from the top left corner
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sst_retrieval.export.about import about, as_text, condition, in_a_line, write_beside
from sst_retrieval.images import atomic
from sst_retrieval.measure import MEASUREMENTS
from sst_retrieval.morphology.table import IN_MILLIMETRES, Scale, called
from sst_retrieval.query import Index
from sst_retrieval.types import Region, Specimen

_DWC, _AC = "http://rs.tdwg.org/dwc/terms/", "http://rs.tdwg.org/ac/terms/"
_DC, _DCTERMS = "http://purl.org/dc/elements/1.1/", "http://purl.org/dc/terms/"

OCCURRENCE_TERMS = (
    *("basisOfRecord", "catalogNumber", "collectionCode", "institutionCode", "scientificName", "infraspecificEpithet"),
    *("specificEpithet", "genus", "family", "order", "sex", "lifeStage", "locality", "country", "countryCode"),
    *("stateProvince", "decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters"),
    *("eventDate", "recordedBy", "identifiedBy", "typeStatus", "preparations"),
)
"""Darwin Core terms that are taken over from columns of the collection with the same name."""

_FACTS = (
    *("measurementID", "measurementType", "measurementValue", "measurementUnit", "measurementMethod"),
    *("measurementDeterminedBy", "measurementDeterminedDate", "measurementRemarks"),
)
_MEDIA = (_DC + "type", _DCTERMS + "identifier", _AC + "accessURI", _AC + "hasROI", _DCTERMS + "description")
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
    chosen = condition(where, min_confidence)
    rows = index.trait_table(traits, where=chosen, scale=scale).pandas().to_dict("records")
    regions = list(index.drawn(traits, where=chosen))
    shown = {region.specimen for region in regions}
    specimens = [each for each in index.specimens() if each.id in shown]
    said = about(index, "Darwin Core Archive", traits=traits, where=where, min_confidence=min_confidence)
    terms = [term for term in OCCURRENCE_TERMS if term in index.columns]
    tables = {
        "occurrence.csv": (["occurrenceID", *terms], _occurrences(specimens, terms)),
        "measurementorfact.csv": (["occurrenceID", *_FACTS], _facts(rows, said, called(index.columns))),
        "multimedia.csv": (["occurrenceID", *map(_last, _MEDIA)], _media(specimens, regions)),
        "regionofinterest.csv": (["occurrenceID", *map(_last, _ROI)], _rois(regions)),
    }
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.xml", _meta(terms))
        archive.writestr("eml.xml", _eml(said))
        archive.writestr("provenance.json", as_text(said))
        for name, (head, lines) in tables.items():
            archive.writestr(name, _csv(head, lines))
    write_beside(path, said)
    return len(regions)


def _occurrences(specimens: Sequence[Specimen], terms: Sequence[str]) -> Iterable[Sequence[object]]:
    return ([each.id, *(each.metadata[term] for term in terms)] for each in specimens)


def _facts(
    rows: Sequence[Mapping[str, Any]], said: Mapping[str, Any], name_of: Callable[[str], str]
) -> Iterable[Sequence[object]]:
    known = {name: (unit, meaning) for name, (unit, meaning) in MEASUREMENTS.items()}
    for pixels, (name, power) in IN_MILLIMETRES.items():
        known[name] = ("mm²" if power == 2 else "mm", f"{MEASUREMENTS[pixels][1]}; pixels times millimetres a pixel")
    for row in rows:
        for name, (unit, meaning) in known.items():
            value = row.get(name_of(name))
            if value is not None and value == value:
                identity = f"{_region_id(row['specimen'], row['trait'])}/{name}"
                remarks = f"confidence of the mask {row['confidence']:.3f}"
                review = row.get(name_of("review"))
                remarks += f"; mask {review} by a person" if review else ""
                what = f"{row['trait']} {name}"
                yield (
                    *(row["specimen"], identity, what, repr(float(value)), "" if unit == "1" else unit),
                    *(meaning, said["program"], said["written"], remarks),
                )


def _media(specimens: Sequence[Specimen], regions: Sequence[Region]) -> Iterable[Sequence[object]]:
    of: dict[str, list[str]] = {}
    for region in regions:
        of.setdefault(region.specimen, []).append(_region_id(region.specimen, region.trait))
    for each in specimens:
        # The name only: a path on this computer is of no use on another.
        yield each.id, "StillImage", _photograph_id(each.id), each.image.name, " | ".join(of[each.id]), each.group


def _rois(regions: Sequence[Region]) -> Iterable[Sequence[object]]:
    for region in regions:
        (height, width), (x0, y0, x1, y1) = region.size, region.box
        box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        identity = _region_id(region.specimen, region.trait)
        about_it = f"{region.trait}, confidence {region.confidence:.3f}"
        yield region.specimen, identity, _photograph_id(region.specimen), *(f"{value:.8f}" for value in box), about_it


def _photograph_id(specimen: str) -> str:
    return f"{specimen}#photograph"


def _region_id(specimen: str, trait: str) -> str:
    return f"{specimen}#{trait}"


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    return text.getvalue()


def _last(term: str) -> str:
    return term.rpartition("/")[2]


def _meta(terms: Sequence[str]) -> str:
    files = [
        ("core", "id", "occurrence.csv", _DWC + "Occurrence", [_DWC + term for term in ("occurrenceID", *terms)]),
        ("extension", "coreid", "measurementorfact.csv", _DWC + "MeasurementOrFact", ["", *(_DWC + t for t in _FACTS)]),
        ("extension", "coreid", "multimedia.csv", _AC + "Multimedia", ["", *_MEDIA]),
        ("extension", "coreid", "regionofinterest.csv", _AC + "RegionOfInterest", ["", *_ROI]),
    ]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append('<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">')
    for kind, identity, name, row_type, fields in files:
        lines.append(
            f'  <{kind} encoding="UTF-8" fieldsTerminatedBy="," linesTerminatedBy="\\n" fieldsEnclosedBy="&quot;" '
            f'ignoreHeaderLines="1" rowType={quoteattr(row_type)}>'
        )
        lines += [f"    <files><location>{name}</location></files>", f'    <{identity} index="0"/>']
        lines += [f'    <field index="{i}" term={quoteattr(term)}/>' for i, term in enumerate(fields) if term]
        lines.append(f"  </{kind}>")
    return "\n".join([*lines, "</archive>", ""])


def _eml(said: Mapping[str, Any]) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="export" system="sst-retrieval">'
        f"\n  <dataset>\n    <title>Traits of {escape(said['index']['name'])}</title>\n"
        f"    <abstract><para>{escape(in_a_line(said))}</para></abstract>\n  </dataset>\n</eml:eml>\n"
    )
