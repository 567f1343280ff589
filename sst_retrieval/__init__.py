"""Trait-based image retrieval for biological specimen collections.

    import sst_retrieval as sst
    with sst.open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12)

What is public is named in `__init__.pyi` and loaded when first used: importing the package loads no model library.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _public = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_public, "__version__"], key=lambda name: (not name.isupper(), name))  # Constants first.
