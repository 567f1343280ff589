"""What a page shows, in its URL and with the session: a link, a reload, Back and the menu bring it back.

Streamlit clears the URL and the widgets of a page that is left. Here what a person has chosen is kept for each page,
and written into the URL once a run, so that one step of the person's is one step of Back. Widgets with
`bind="query-params"` write their own part of the URL.

The URL is read when a session begins and when the person goes Back or Forward, and never else: a browser that has not
yet drawn what a run wrote sends the URL of before with the next click, and would take back what that click has done.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

OWN = {
    "search": ("specimen", "trait", "together", "like", "unlike", "page", "f."),
    "annotate": ("draw", "new"),
    "review": ("redraw",),
}
"""Page -> names, or beginnings of names, in the URL that this module reads and writes."""

EVERYWHERE = ("open",)
"""Names in the URLs of all pages."""

WIDGETS = {
    "search": (
        "way", "trait", "words", "together", "others", "sure", "sentence", "tiles", "view", "per", "f.", "compare-",
        "upload-trait", "pattern", "colour", "shape", "text",
    ),
    "annotate": ("annotate-group", "annotate-words", "annotate-specimen"),
    "review": ("review-trait", "review-status", "review-absent", "review-by", "review-days",
        "reviewer", "review-order", "review-grid",
        "review-what", "review-photograph", "comment-"),
    "collection": ("coverage-by",),
    "morphospace": ("space-trait", "space-blocks", "space-colour", "space-way"),
}  # fmt: skip
"""Page -> keys, or beginnings of keys, of the widgets whose values are kept while another page is shown."""

State = dict[str, list[str]]


def begin(page: str) -> None:
    """Begin the run of a page: take over what its URL says if the session begins, or the person went Back."""
    before = st.session_state.get("url-page")
    st.session_state["url-page"] = page
    if before is None or _is_history_navigation():
        _get("url")[page] = _read_url(page)
        st.session_state["url-adopted"] = set()
    if before not in (None, page):
        for key, value in st.session_state.get("url-widgets", {}).get(page, {}).items():
            st.session_state[key] = value


def take_adopted(name: str) -> bool:
    """Return, once, whether a name has a new value from the URL, which its widget is to show: a link, a reload, Back.

    A run may be interrupted before it comes to the widget; then the next one finds it.
    """
    taken: set[str] | None = st.session_state.get("url-adopted")
    new = taken is not None and name not in taken
    if new and taken is not None:
        taken.add(name)
    return new


def get_all(name: str) -> list[str]:
    """Return all values of a name."""
    return list(_get_state().get(name, []))


def get(name: str, default: str = "") -> str:
    """Return the value of a name."""
    found = get_all(name)
    return found[-1] if found else default


def put(name: str, *values: str) -> None:
    """Set the values of a name; none removes it."""
    if values:
        _get_state()[name] = list(values)
    else:
        _get_state().pop(name, None)


def write() -> None:
    """End the run of a page: write what it shows into its URL, in one step."""
    page = st.session_state.get("url-page", "")
    state, found = _get_state(), _read_url(page)
    if state != found:
        st.query_params.update({**{name: [] for name in found}, **state})
    st.session_state["url-adopted"] = None
    names = WIDGETS.get(page, ())
    kept = {str(key): value for key, value in st.session_state.items() if _is_one_of(str(key), names)}
    st.session_state.setdefault("url-widgets", {})[page] = kept


def _is_history_navigation() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _read_url(page: str) -> State:
    names = (*OWN.get(page, ()), *EVERYWHERE)
    found = {name: st.query_params.get_all(name) for name in st.query_params if _is_one_of(str(name), names)}
    return {name: values for name, values in found.items() if values}


def _get_state() -> State:
    return _get("url").setdefault(st.session_state.get("url-page", ""), {})


def _get(key: str) -> dict[str, State]:
    found: dict[str, State] = st.session_state.setdefault(key, {})
    return found


def _is_one_of(name: str, names: tuple[str, ...]) -> bool:
    return any(name.startswith(each) if each[-1] in ".-" else name == each for each in names)
