"""Custom Streamlit components: clickable outlines, a scatter plot with a lasso, and a surface to draw masks on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from sst_app.index_images import Outline
from sst_app.json_values import replace_gaps

BROWSER = Path(__file__).parent / "browser"
STYLED_BY_PAGE = frozenset({"hits"})
"""Components that share the styles of `style.html`."""

POINT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A7A00", "#555555")
"""Colours of points, the same as in points.js: the palette of Okabe and Ito with a darker yellow, and grey."""


def show_specimen(
    picture: str,
    size: tuple[int, int],
    outlines: Sequence[Outline],
    colours: dict[str, str],
    *,
    key: str,
    chosen: str | Collection[str] | None = None,
    label: str = "",
    hint: str = "",
    clickable: bool = True,
    zoomable: bool = False,
    marks: Mapping[str, tuple[str, float, float]] | None = None,
    on_choice: Callable[[str], None] | None = None,
) -> str | None:
    """Show a photograph with the outlines of its traits.

    Args:
        picture: data URI of the photograph, at any scale.
        size: (height, width) of the photograph that the outlines are drawn on.
        outlines: of the traits, largest first.
        colours: trait -> colour.
        key: widget key.
        chosen: trait to highlight, or several.
        label: text for screen readers.
        hint: text below the picture while no trait is highlighted.
        clickable: whether a trait can be chosen.
        zoomable: whether the wheel and dragging zoom and move the picture.
        marks: trait -> a short text that is written on the picture, and its (x, y) in pixels; None writes nothing.
        on_choice: called with the trait that was clicked, before the page runs.

    Returns:
        The trait that was clicked in this run, or None.
    """
    traits = [
        {
            "name": each.trait,
            "path": each.path,
            "colour": colours[each.trait],
            "chosen": each.trait == chosen if isinstance(chosen, str) else each.trait in (chosen or ()),
            "mark": (marks or {}).get(each.trait),
            "note": f"{each.trait}, confidence {each.confidence:.2f}" + (f", {each.decision}" if each.decision else ""),
        }
        for each in outlines
    ]
    data = {"image": picture, "width": size[1], "height": size[0], "traits": traits, "label": label, "hint": hint}
    mount = _register("specimen", '<div class="specimen"></div>')
    result: Any = mount(
        data=replace_gaps({**data, "clickable": clickable, "zoomable": zoomable}),
        key=hash_key(key),
        on_trait_change=_ignore if on_choice is None else lambda: _tell(key, on_choice),
    )
    return result.trait if clickable else None


def _tell(key: str, on_choice: Callable[[str], None]) -> None:
    trait = (st.session_state.get(hash_key(key)) or {}).get("trait")
    if trait is not None:
        on_choice(str(trait))


def show_scatter(data: dict[str, Any], *, key: str) -> tuple[str | None, list[int] | None]:
    """Show a scatter plot; `browser/points.js` documents `data`.

    Returns:
        The specimen under the cursor whose picture is needed, or None; and the points in a new lasso, or None.
    """
    canvas = '<canvas aria-label="scatter of specimens"></canvas>'
    mount = _register("points", f'<div class="points">{canvas}<div class="tip"></div></div>')
    result: Any = mount(
        data=replace_gaps(data),
        key=hash_key(key),
        default={"hover": None},
        on_hover_change=_ignore,
        on_chosen_change=_ignore,
    )
    return result.hover, result.chosen


def show_pictures_together(pictures: Sequence[dict[str, str]], *, key: str) -> None:
    """Show pictures side by side with one common zoom.

    Args:
        pictures: image (data URI), label and note of each; all at one scale.
        key: widget key.
    """
    _register("compare", '<div class="compare"></div>')(data={"pictures": list(pictures)}, key=hash_key(key))


def show_hits(data: dict[str, Any], *, key: str, on_acts: Callable[[], None]) -> None:
    """Show the tiles of hits; `browser/hits.js` documents `data` and what it sends.

    Args:
        data: the hits in order.
        key: widget key, under which what was sent is found in the session.
        on_acts: called when acts have arrived.
    """
    _register("hits", '<div class="hits"></div>')(data=replace_gaps(data), key=key, on_acts_change=on_acts)


def show_review(data: dict[str, Any], *, key: str, on_decisions: Callable[[], None]) -> None:
    """Show the queue of masks to review; `browser/review.js` documents `data` and the state it sends.

    Args:
        data: the masks in order.
        key: widget key, under which its state is found in the session.
        on_decisions: called when decisions have arrived.
    """
    mount = _register("review", '<div class="review"></div>')
    mount(data=replace_gaps(data), key=key, on_decisions_change=on_decisions)


def show_drawing(data: dict[str, Any], *, key: str, on_drawing: Callable[[], None]) -> Any:
    """Show the surface that masks are drawn on; `browser/drawing.js` documents `data` and the state it sends.

    Args:
        data: photograph, traits and label map.
        key: widget key, under which its state is found in the session.
        on_drawing: called when a stroke has arrived.

    Returns:
        The state `drawing`: what the surface shows since the last stroke; None before the first.
    """
    mount = _register("drawing", '<div class="drawing"></div>')
    result: Any = mount(data=replace_gaps(data), key=key, on_drawing_change=on_drawing, on_clicks_change=_ignore)
    return result.get("drawing")


def hash_key(key: str) -> str:
    """Hash a text into a key of a component, in which Streamlit allows letters and digits only."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def hash_content(image: npt.NDArray[np.uint8]) -> str:
    """Hash the size and pixels of a photograph: a key that another photograph of the same name does not have."""
    found = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


@st.cache_resource
def _register(name: str, html: str) -> Any:
    """Register a component; cached, so that it happens once."""
    return st.components.v2.component(
        f"sst_{name}", html=html, css=_read_text(f"{name}.css"), js=_read_text(f"{name}.js"),
        isolate_styles=name not in STYLED_BY_PAGE,
    )  # fmt: skip


def _read_text(name: str) -> str:
    return (BROWSER / name).read_text(encoding="utf-8")


def _ignore() -> None:
    """Do nothing: Streamlit requires a callback."""
