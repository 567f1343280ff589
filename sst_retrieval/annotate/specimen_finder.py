"""Find the specimen of a collection that an annotation file means, by its id or by its photograph's file name."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.files import unescape_name
from sst_retrieval.imaging.images import image_size
from sst_retrieval.types import Specimen


class SpecimenFinder:
    """Finds specimens of a collection by their ids and by the file names of their photographs.

    Attributes:
        position: id of a specimen -> its row among the specimens of the collection.
    """

    def __init__(self, collection: Collection) -> None:
        """Index the specimens by id and by file name."""
        self._source = collection.source
        self._without_photograph = {skipped.specimen for skipped in collection.left_out}
        self.position = {specimen.id: i for i, specimen in enumerate(collection.specimens)}
        # Some systems write "é" as one sign in tables and as two in file names.
        self._by_id = {unicodedata.normalize("NFC", specimen.id): specimen for specimen in collection.specimens}
        self._by_file: dict[str, list[Specimen]] = {}
        for specimen in collection.specimens:
            self._by_file.setdefault(specimen.image.name, []).append(specimen)

    def is_photograph(self, path: Path) -> bool:
        """Tell whether a file among the supports is a photograph of the collection, not a label picture."""
        return any(path.samefile(s.image) for s in self._by_file.get(path.name, ()) if s.image.exists())

    def find(self, source: Path, names: Sequence[str], *, ids_only: bool = False) -> Specimen:
        """Find a specimen.

        Args:
            source: the annotation file, for the message.
            names: ids or file names of the photograph, the most telling first; the first that is known counts.
            ids_only: take names for ids as they are, not for file names.

        Raises:
            SupportError: no name is known.
        """
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/"))
            same_file = [] if ids_only else self._by_file.get(parts.name, [])
            if len(same_file) > 1:
                same_file = [s for s in same_file if s.image.parts[-len(parts.parts) :] == parts.parts]
            if len(same_file) == 1:
                return same_file[0]
            for candidate in (name,) if ids_only else (parts.stem, parts.name, unescape_name(parts.stem)):
                if (specimen := self._by_id.get(unicodedata.normalize("NFC", candidate))) is not None:
                    return specimen
        raise SupportError(self._explain_unknown(source, names[0]))

    def image_size(self, source: Path, names: Sequence[str]) -> tuple[int, int]:
        """Return (height, width) in pixels of the photograph that the annotation file `source` means by `names`.

        Raises:
            SupportError: no name is known, or the photograph cannot be read.
        """
        specimen = self.find(source, names)
        try:
            return image_size(specimen.image)
        except ImageError as error:
            raise unusable_photograph(source, specimen, error) from error

    def _explain_unknown(self, source: Path, name: str) -> str:
        stem = name if name in self._without_photograph else PurePosixPath(base_name(name)).stem
        if stem in self._without_photograph:
            return f"{source}: {self._source} names no photograph for {stem}; add one to its row"
        # Comparing with very many names would take minutes.
        near = difflib.get_close_matches(stem, list(self._by_id)[:20_000], 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"its specimens are called like {next(iter(self._by_id), '')!r};"
        )
        return (
            f"{source} annotates {name!r}, which is not a specimen of {self._source}; {hint} "
            f"name label pictures after the specimen's id, and images in .json files after its photograph"
        )


def base_name(name: str) -> str:
    """Return the last part of a path as POSIX or Windows writes it."""
    return PurePosixPath(name.replace("\\", "/")).name


def unusable_photograph(source: Path, specimen: Specimen, error: ImageError) -> SupportError:
    """Make the error for a specimen whose photograph cannot be read, annotated in the file `source`."""
    return SupportError(f"{source}: the photograph of {specimen.id} cannot be used: {error}")
