"""From a name on the command line to a foreground: "colour", "u2netp", "rembg:NAME"."""

from __future__ import annotations

from collections.abc import Mapping

from sst_retrieval.errors import ModelError
from sst_retrieval.foregrounds.colour import ColourForeground
from sst_retrieval.foregrounds.contract import Foreground
from sst_retrieval.foregrounds.rembg_session import RembgForeground
from sst_retrieval.foregrounds.u2netp import U2NetpForeground

FOREGROUNDS: Mapping[str, str] = {
    "colour": "what differs from the colours of the photograph's border: for plain backgrounds",
    "u2netp": "U2-Net's small network: things on any background (extra salient)",
    "u2netp-tiles": "the same, looking at tiles of the photograph, too: for many small specimens",
    "rembg:NAME": "a network of the program rembg, such as rembg:birefnet-general, which it downloads",
}
"""Foregrounds that come with the program -> what they are, in a few words."""


def load_foreground(name: str) -> Foreground:
    """Load a foreground.

    Args:
        name: a name of `FOREGROUNDS`.

    Raises:
        ModelError: the name is unknown, or what it needs is not installed.
    """
    if name == "colour":
        return ColourForeground()
    if name in ("u2netp", "u2netp-tiles"):
        return U2NetpForeground(tiled=name == "u2netp-tiles")
    kind, colon, model = name.partition(":")
    if kind == "rembg" and colon and model:
        return RembgForeground(model)
    raise ModelError(f"there is no foreground {name!r}; choose {', '.join(FOREGROUNDS)}")
