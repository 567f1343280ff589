"""Every error this package raises on purpose, so that a caller can catch one branch; how their texts list names.

SSTError
|-- InputError             what you gave cannot be used: says what, where, and the next step
|   |-- CollectionError    a specimen table
|   |-- SupportError       an annotated specimen
|   |-- ImageError         one photograph; a build records it in `skipped` and goes on
|   `-- QueryError         a search: unknown trait, bad predicate, bad weights
|-- IndexFolderError       an index folder is missing, foreign, broken or busy
|   `-- ModelMismatchError made by another model or with other settings
|-- ModelError             a model is not installed, its weights are missing or broken
|-- ClusterError           a Ray cluster cannot be reached, or its machines cannot do the work
`-- FetchError             a photograph cannot be had from where it is; a run lists it and goes on
"""

from __future__ import annotations

from collections.abc import Sequence


class SSTError(Exception):
    """Base of every error raised on purpose; its text is meant for the person at the keyboard."""


class InputError(SSTError, ValueError):
    """What was given cannot be used; the text says what, where, and the next step."""


class CollectionError(InputError):
    """A specimen table cannot be read or contradicts itself."""


class SupportError(InputError):
    """An annotated specimen cannot be read or does not fit its collection."""


class ImageError(InputError):
    """One photograph cannot be read. A build records it and goes on."""


class QueryError(InputError):
    """A search asks for something the index does not have, or in words it does not understand."""


class IndexFolderError(SSTError):
    """An index folder is missing, not an index, broken, or being built by another process."""


class ModelMismatchError(IndexFolderError):
    """An index was made by another model or with other settings than the ones asked for."""


class ModelError(SSTError):
    """A model is unknown or not installed, or its weights are missing or broken."""


class ClusterError(SSTError):
    """A Ray cluster cannot be reached, or its machines cannot do the work."""


class FetchError(SSTError):
    """A photograph cannot be had from where it is. A run lists it and goes on."""


def list_names(names: Sequence[str], most: int = 5) -> str:
    """List names in a sentence ("A, B and C"), and count the rest of very many ("A, B and 7 more")."""
    shown = [*names[:most], *([f"{len(names) - most:,} more"] if len(names) > most else [])]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)
