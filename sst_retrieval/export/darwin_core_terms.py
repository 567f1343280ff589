"""Which columns of a collection are terms of Darwin Core or Dublin Core, and what these are called in full.

The names are those of the Occurrence core (https://dwc.tdwg.org/terms/) with its Dublin Core terms. A column may be
called by the name alone (`catalogNumber`), with its usual prefix (`dwc:catalogNumber`, `dcterms:license`), or in full
(`http://rs.tdwg.org/dwc/terms/catalogNumber`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sst_retrieval.collection.darwin_core_archive import MEDIA_PREFIX, RECORD_TERMS

DWC = "http://rs.tdwg.org/dwc/terms/"
DCTERMS = "http://purl.org/dc/terms/"

_RECORD = """institutionID collectionID datasetID institutionCode collectionCode datasetName ownerInstitutionCode
    basisOfRecord informationWithheld dataGeneralizations dynamicProperties"""
_OCCURRENCE = """occurrenceID catalogNumber recordNumber recordedBy recordedByID individualCount organismQuantity
    organismQuantityType sex lifeStage reproductiveCondition caste behavior vitality establishmentMeans
    degreeOfEstablishment pathway georeferenceVerificationStatus occurrenceStatus associatedMedia associatedOccurrences
    associatedReferences associatedTaxa otherCatalogNumbers occurrenceRemarks preparations disposition
    associatedSequences"""
_MATERIAL = """materialEntityID materialEntityRemarks materialEntityType verbatimLabel materialSampleID organismID
    organismName organismScope associatedOrganisms previousIdentifications organismRemarks individualID
    causeOfDeath"""
_EVENT = """eventID parentEventID eventType fieldNumber eventDate eventTime startDayOfYear endDayOfYear year month day
    verbatimEventDate habitat samplingProtocol sampleSizeValue sampleSizeUnit samplingEffort fieldNotes eventRemarks
    projectTitle projectID fundingAttribution fundingAttributionID"""
_LOCATION = """locationID higherGeographyID higherGeography continent waterBody islandGroup island country countryCode
    stateProvince county municipality locality verbatimLocality minimumElevationInMeters maximumElevationInMeters
    verbatimElevation verticalDatum minimumDepthInMeters maximumDepthInMeters verbatimDepth
    minimumDistanceAboveSurfaceInMeters maximumDistanceAboveSurfaceInMeters locationAccordingTo locationRemarks
    decimalLatitude decimalLongitude geodeticDatum coordinateUncertaintyInMeters coordinatePrecision
    pointRadiusSpatialFit verbatimCoordinates verbatimLatitude verbatimLongitude verbatimCoordinateSystem verbatimSRS
    footprintWKT footprintSRS footprintSpatialFit georeferencedBy georeferencedDate georeferenceProtocol
    georeferenceSources georeferenceRemarks"""
_GEOLOGY = """geologicalContextID earliestEonOrLowestEonothem latestEonOrHighestEonothem earliestEraOrLowestErathem
    latestEraOrHighestErathem earliestPeriodOrLowestSystem latestPeriodOrHighestSystem earliestEpochOrLowestSeries
    latestEpochOrHighestSeries earliestAgeOrLowestStage latestAgeOrHighestStage lowestBiostratigraphicZone
    highestBiostratigraphicZone lithostratigraphicTerms group formation member bed"""
_IDENTIFICATION = """identificationID verbatimIdentification identificationQualifier typeStatus typifiedName
    identifiedBy identifiedByID dateIdentified identificationReferences identificationVerificationStatus
    identificationRemarks"""
_TAXON = """taxonID scientificNameID acceptedNameUsageID parentNameUsageID originalNameUsageID nameAccordingToID
    namePublishedInID taxonConceptID scientificName acceptedNameUsage parentNameUsage originalNameUsage nameAccordingTo
    namePublishedIn namePublishedInYear higherClassification kingdom phylum class order superfamily family subfamily
    tribe subtribe genus genericName subgenus infragenericEpithet specificEpithet infraspecificEpithet cultivarEpithet
    taxonRank verbatimTaxonRank scientificNameAuthorship vernacularName nomenclaturalCode taxonomicStatus
    nomenclaturalStatus taxonRemarks"""

_DARWIN_CORE = frozenset(
    " ".join((_RECORD, _OCCURRENCE, _MATERIAL, _EVENT, _LOCATION, _GEOLOGY, _IDENTIFICATION, _TAXON)).split()
)
_OF_PHOTOGRAPHS = frozenset(("creator", "created", "contributor", "publisher", "title", "format"))
_PREFIXES = {"dwc:": DWC, "dcterms:": DCTERMS, "dc:": DCTERMS, "http://purl.org/dc/elements/1.1/": DCTERMS}


def occurrence_terms(columns: Iterable[str]) -> dict[str, str]:
    """Find the terms of occurrences among the columns of a collection.

    A column `group` without a prefix is not Darwin Core's, which is a group of rocks: here it says whose support a
    specimen shares.

    Args:
        columns: of the collection.

    Returns:
        Term in full -> column, in the order of the columns. Of two columns for one term the first is taken.

    >>> occurrence_terms(["catalogNumber", "image", "group", "dwc:sex", "license"])  # doctest: +NORMALIZE_WHITESPACE
    {'http://rs.tdwg.org/dwc/terms/catalogNumber': 'catalogNumber', 'http://rs.tdwg.org/dwc/terms/sex': 'dwc:sex',
     'http://purl.org/dc/terms/license': 'license'}
    """
    plain = {name: DWC for name in _DARWIN_CORE - {"group"}} | dict.fromkeys(RECORD_TERMS, DCTERMS)
    known = {f"{DWC}{name}" for name in _DARWIN_CORE} | {f"{DCTERMS}{name}" for name in RECORD_TERMS}
    found: dict[str, str] = {}
    for column in columns:
        term = _in_full(column, plain)
        if term in known:
            found.setdefault(term, column)
    return found


def media_terms(columns: Iterable[str]) -> dict[str, str]:
    """Find the terms of photographs among the columns of a collection.

    Returns:
        Term in full -> column: who made a photograph, and when; under `media_license` and its like, its own licence.

    >>> media_terms(["creator", "license", "media_license"])
    {'http://purl.org/dc/terms/creator': 'creator', 'http://purl.org/dc/terms/license': 'media_license'}
    """
    found: dict[str, str] = {}
    for column in columns:
        own = column.removeprefix(MEDIA_PREFIX)
        terms = _OF_PHOTOGRAPHS if own == column else _OF_PHOTOGRAPHS | RECORD_TERMS - {"type"}
        term = _in_full(own, dict.fromkeys(terms, DCTERMS))
        if term.removeprefix(DCTERMS) in terms:
            found.setdefault(term, column)
    return found


def _in_full(column: str, plain: Mapping[str, str]) -> str:
    """Write the name of a column as a term in full; "" if it is none.

    Args:
        column: its name.
        plain: names that are terms without a prefix -> what they begin with.
    """
    name = column.strip()
    if name in plain:
        return plain[name] + name
    for prefix, begins in (*_PREFIXES.items(), (DWC, DWC), (DCTERMS, DCTERMS)):
        if name.casefold().startswith(prefix):
            return begins + name[len(prefix) :]
    # Elsewhere than on a spreadsheet, capitals may have been lost; Dublin Core's plain words mean many things then.
    folded = {each.casefold(): each for each, begins in plain.items() if begins == DWC}
    return DWC + folded[name.casefold()] if name.casefold() in folded else ""
