"""Draw masks on a photograph, in a surface of our own (`browser/drawing.js`).

The browser holds the label map and shows nothing else; it sends all of it after every stroke. Here it is kept with the
session and as a draft (`drafts`), so that another page, a reload or a restart loses nothing.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image
from streamlit import runtime

import sst_retrieval as sst
from sst_app import components, drafts, index_images
from sst_app.drafts import Draft
from sst_app.label_runs import decode_runs, encode_runs, join_masks, split_masks
from sst_app.markdown import escape_md

CANVAS_SIDE = 4096
"""Longer edge of the photograph in the browser, in pixels; the masks have its own size whatever this is."""

LOSSLESS_PIXELS = 500_000
"""Photographs with up to this many pixels are shown without loss."""

LEAST_SHARE, MOST_SHARE = 0.02, 0.97
"""Less of a box, or more, does not stand out in it."""

Point = tuple[float, float]
Masks = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Drawing:
    """A drawing that is open in this session.

    Attributes:
        identity: what is drawn on: kind, index or table, specimen, ...
        draft: the label map as it is now.
        changed: whether it was changed since it was opened or saved.
        kept: whether it is kept as a draft on disk.
        restored: whether it was found as a draft.
    """

    identity: tuple[str, ...]
    draft: Draft
    changed: bool = False
    kept: bool = True
    restored: bool = False

    @property
    def masks(self) -> Masks:
        """Decode the masks: trait -> bool (H, W) at the photograph's own size, without empty ones."""
        return split_masks(decode_runs(self.draft.runs, self.draft.size), list(self.draft.names))


def open_drawing(
    identity: tuple[str, ...], size: tuple[int, int], start: Callable[[], Mapping[str, npt.NDArray[np.bool_]]],
    *, base: str = "", kept: bool = True,
) -> Drawing:  # fmt: skip
    """Return the drawing of this session, else the draft on disk, else a new one.

    Args:
        identity: what is drawn on.
        size: (height, width) of the photograph.
        start: makes the initial masks of a new drawing.
        base: what identifies the saved file or decision that the drawing is to replace. If it is another one than an
            unchanged drawing was opened with, that is opened anew.
        kept: whether to keep drafts on disk.
    """
    known: Drawing | None = st.session_state.get(_get_key(identity))
    if known is not None and known.draft.size == size and (known.changed or known.draft.base == base):
        return known
    draft = _read_draft(identity) if kept and known is None else None
    if draft is not None and draft.size == size and _is_readable(draft):
        drawing = Drawing(identity, draft, changed=True, restored=True)
        st.session_state[_get_key(identity)] = drawing
        return drawing
    return replace_drawing(identity, size, start(), base=base, kept=kept, changed=False)


def list_traits(identity: tuple[str, ...]) -> tuple[str, ...]:
    """Return the traits of the drawing of this session, else of the draft on disk; none if there is neither."""
    known: Drawing | None = st.session_state.get(_get_key(identity))
    draft = _read_draft(identity) if known is None else known.draft
    return () if draft is None else draft.names


def replace_drawing(
    identity: tuple[str, ...], size: tuple[int, int], masks: Mapping[str, npt.NDArray[np.bool_]],
    *, base: str, kept: bool = True, changed: bool = True,
) -> Drawing:  # fmt: skip
    """Begin a drawing with masks; what the browser shows is replaced by them."""
    names = [name for name, mask in masks.items() if mask.any()]
    runs = encode_runs(join_masks({name: masks[name] for name in names}, names, size))
    draft = Draft(uuid.uuid4().hex, 0, tuple(names), runs, size, base, _get_time())
    drawing = Drawing(identity, draft, changed, kept)
    _keep(drawing)
    return drawing


def mark_saved(drawing: Drawing, base: str) -> None:
    """Mark a drawing as saved: its draft is removed."""
    known: Drawing = st.session_state.get(_get_key(drawing.identity), drawing)
    saved = replace(known, draft=replace(known.draft, base=base), changed=False, restored=False)
    st.session_state[_get_key(drawing.identity)] = saved
    _remove_draft(saved)


def set_base(drawing: Drawing, base: str) -> None:
    """Set what the drawing is to replace, once the person knows of it."""
    _keep(replace(drawing, draft=replace(drawing.draft, base=base)))


def discard(identity: tuple[str, ...]) -> None:
    """Forget a drawing and its draft."""
    drawing: Drawing | None = st.session_state.pop(_get_key(identity), None)
    if drawing is not None:
        _remove_draft(drawing)


def show_canvas(
    drawing: Drawing, image: npt.NDArray[np.uint8], content: str, colours: Mapping[str, str], *, tighten: bool = False
) -> Masks:
    """Show the surface on which traits are drawn on a photograph.

    Args:
        drawing: see `open_drawing`.
        image: uint8 (H, W, 3).
        content: its hash, see `components.hash_content`.
        colours: trait -> colour, in the order of the number keys.
        tighten: whether a box is tightened to what stands out in it.

    Returns:
        trait -> bool (H, W) at the photograph's own size, without empty masks: what the surface shows.
    """
    key = components.hash_key(f"canvas-{'-'.join(drawing.identity)}-{content}")
    drawing = _take_drawing(drawing, _get_state(key).get("drawing"))
    clicks = _get_state(key).get("clicks")
    grown = _grow(image, content, clicks) if clicks else None
    draft = drawing.draft
    shown = components.show_drawing(
        {
            "version": draft.version,
            "image": _publish_photograph(key, content, image),
            "width": image.shape[1],
            "height": image.shape[0],
            "traits": [{"name": name, "colour": colour} for name, colour in colours.items()],
            "start": {"names": list(draft.names), "runs": draft.runs},
            "grown": grown,
            "tighten": tighten,
        },
        key=key,
        on_drawing=lambda: _take_stroke(drawing.identity, key),
    )
    # Of a browser that reconnects, after the server was started again, nothing is known before this.
    drawing = _take_drawing(drawing, shown)
    return {name: mask for name, mask in drawing.masks.items() if name in colours}


def show_draft_note(drawing: Drawing) -> bool:
    """Say that a drawing was found as a draft; return whether the person discards it."""
    if not drawing.restored:
        return False
    with st.container(horizontal=True, vertical_alignment="center"):
        when = drawing.draft.time[:16].replace("T", " ")
        st.caption(f"Here is the drawing of {when}, which is not saved yet.", width="content")
        return st.button("Discard it", key=f"discard-{'-'.join(drawing.identity)}", type="tertiary")


def _get_key(identity: tuple[str, ...]) -> str:
    return "drawing " + "\0".join(identity)


def _get_state(key: str) -> dict[str, Any]:
    """Return the state of the component as the browser has sent it."""
    state = st.session_state.get(key)
    return dict(state) if isinstance(state, Mapping) else {}


def _take_stroke(identity: tuple[str, ...], key: str) -> None:
    """Take over what the browser has sent, in a callback: also if the person is on another page by now."""
    drawing = st.session_state.get(_get_key(identity))
    if drawing is not None:
        try:
            _take_drawing(drawing, _get_state(key).get("drawing"))
        except sst.QueryError as error:
            st.error(escape_md(error))


def _take_drawing(drawing: Drawing, sent: Any) -> Drawing:
    """Return the drawing as the browser has sent it, if that is newer, and keep it."""
    draft = drawing.draft
    if not isinstance(sent, Mapping) or sent.get("version") != draft.version:
        return drawing
    serial, names, runs = sent.get("serial"), sent.get("names"), sent.get("runs")
    if not (isinstance(serial, int) and isinstance(names, list) and isinstance(runs, str)) or serial <= draft.serial:
        return drawing
    decode_runs(runs, draft.size)  # Raises if it is no map of this size.
    newer = replace(draft, serial=serial, names=tuple(map(str, names)), runs=runs, time=_get_time())
    drawing = replace(drawing, draft=newer, changed=True)
    _keep(drawing)
    return drawing


def _keep(drawing: Drawing) -> None:
    """Keep a drawing with the session and, once it was changed, on disk."""
    st.session_state[_get_key(drawing.identity)] = drawing
    if not drawing.kept or not drawing.changed:
        return
    try:
        drafts.write(drawing.identity, drawing.draft)
        st.session_state.pop("draft-problem", None)
    except OSError as error:
        st.session_state["draft-problem"] = (
            f"Drawings are not kept until they are saved: {error.filename or drafts.find_folder()} cannot be written "
            f"({error.strerror}). Save often, or start the app with SST_RETRIEVAL_HOME set to another folder."
        )


def _read_draft(identity: tuple[str, ...]) -> Draft | None:
    try:
        return drafts.read(identity)
    except OSError as error:
        st.session_state["draft-problem"] = f"The draft {error.filename} cannot be read ({error.strerror})."
        return None


def _remove_draft(drawing: Drawing) -> None:
    if not drawing.kept:
        return
    try:
        drafts.remove(drawing.identity)
    except OSError as error:
        st.session_state["draft-problem"] = f"{error.filename} cannot be removed ({error.strerror})."


def show_draft_problem() -> None:
    """Show why drafts cannot be kept, if they cannot."""
    if "draft-problem" in st.session_state:
        st.warning(escape_md(st.session_state["draft-problem"]))


def _is_readable(draft: Draft) -> bool:
    try:
        decode_runs(draft.runs, draft.size)
    except sst.QueryError:
        return False
    return True


def _get_time() -> str:
    return datetime.datetime.now().isoformat(timespec="seconds")


def _publish_photograph(key: str, content: str, image: npt.NDArray[np.uint8]) -> str:
    """Let the browser fetch the photograph, as `st.image` does; return its URL."""
    file, kind = _encode_photograph(content, image)
    return runtime.get_instance().media_file_mgr.add(file, kind, key)


@st.cache_data(max_entries=8, show_spinner="Reading the photograph")
def _encode_photograph(content: str, _image: npt.NDArray[np.uint8]) -> tuple[bytes, str]:
    """Encode a photograph for the browser: the file and its type; a small one without loss, its pixels are seen."""
    if _image.shape[0] * _image.shape[1] <= LOSSLESS_PIXELS:
        return index_images.encode_png(_image), "image/png"
    return index_images.encode_jpeg(index_images.shrink(_image, CANVAS_SIDE)), "image/jpeg"


def _grow(image: npt.NDArray[np.uint8], content: str, clicks: Mapping[str, Any]) -> dict[str, Any] | None:
    """Grow the mask of the clicks: their number, and the map in runs; None, and a message, if that fails."""
    height, width = image.shape[:2]
    if clicks.get("box"):
        x0, y0, x1, y1 = (int(edge) for edge in clicks["box"])
        box = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
        found = tighten_box(image, box) if box[0] < box[2] and box[1] < box[3] else None
        return {
            "number": clicks.get("number"),
            "box": True,
            "runs": None if found is None else encode_runs(found.astype(np.uint8)),
        }
    inside, outside = (
        [(float(x), float(y)) for x, y in clicks.get(side, []) if 0 <= x < width and 0 <= y < height]
        for side in ("inside", "outside")
    )
    if not inside:
        return None
    checkpoint = str(st.session_state.get("clicker-checkpoint", "")).strip()
    try:
        mask = grow_mask(image, content, inside, outside, checkpoint or None)
    except sst.SSTError as error:
        st.error(escape_md(error))
        return None
    return {"number": clicks.get("number"), "runs": encode_runs(mask.astype(np.uint8))}


def tighten_box(image: npt.NDArray[np.uint8], box: tuple[int, int, int, int]) -> npt.NDArray[np.bool_] | None:
    """Find what stands out in a box from the colours around it.

    Args:
        image: uint8 (H, W, 3).
        box: (x0, y0, x1, y1) in pixels, half-open.

    Returns:
        bool (H, W), inside the box; None if nothing, or all of it, stands out.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    # The colours of what surrounds the box are those of the background.
    across, down = max(4, (x1 - x0) // 8), max(4, (y1 - y0) // 8)
    left, top, right, lower = max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)
    there = sst.load_foreground("colour").compute(np.ascontiguousarray(image[top:lower, left:right]))
    large = Image.fromarray(there.astype(np.float32)).resize((right - left, lower - top), Image.Resampling.BILINEAR)
    found = np.zeros((height, width), dtype=bool)
    found[top:lower, left:right] = np.asarray(large) > 0.5
    inside = np.zeros_like(found)
    inside[y0:y1, x0:x1] = found[y0:y1, x0:x1]
    share = np.count_nonzero(inside) / ((x1 - x0) * (y1 - y0))
    return inside if LEAST_SHARE < share < MOST_SHARE else None


def grow_mask(
    image: npt.NDArray[np.uint8], content: str, inside: list[Point], outside: list[Point], checkpoint: str | None = None
) -> npt.NDArray[np.bool_]:
    """Grow a mask from clicks.

    Args:
        image: uint8 (H, W, 3).
        content: hash of the photograph.
        inside: points (x, y) on the trait, in pixels.
        outside: points beside it.
        checkpoint: of SAM 2; None: regions of like colour and texture are grown.

    Returns:
        bool (H, W).
    """
    clicker = _load_clicker(checkpoint)
    picture = _prepare_clicks(content, checkpoint or "", clicker, image)
    mask: npt.NDArray[np.bool_] = picture.mask(inside, outside).mask
    return mask


def show_clicker_choice() -> None:
    """Show the choice of the model that grows masks from clicks."""
    with st.expander("What grows masks from clicks"):
        checkpoint = st.text_input(
            "SAM 2 checkpoint", key="clicker-checkpoint", placeholder="none: regions of like colour and texture",
            help="A name that `sst-retrieval weights list` knows, or the path of a .pt file.",
        )  # fmt: skip
        if not checkpoint.strip():
            st.caption(
                "Without SAM 2 regions of like colour and texture are grown: good for well-marked traits; correct the "
                "rest with brush and eraser."
            )


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _load_clicker(checkpoint: str | None) -> sst.Clicker:
    return sst.load_clicker(checkpoint)


@st.cache_resource(max_entries=3, show_spinner="Looking at the photograph")
def _prepare_clicks(content: str, checkpoint: str, _clicker: sst.Clicker, _image: npt.NDArray[np.uint8]) -> Any:
    """Encode a photograph for clicks; all sessions share it, so its content is the key, not a name."""
    return _clicker.look(_image)
