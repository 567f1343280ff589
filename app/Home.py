"""Search, annotate and review in the browser: `sst-retrieval app INDEX`, or `streamlit run app/Home.py -- INDEX`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st
from sst_app import current_index
from sst_app.markdown import escape_md

import sst_retrieval as sst

PAGES = [
    st.Page("sst_app/pages/search.py", title="Search", icon=":material/search:", default=True),
    st.Page("sst_app/pages/annotate.py", title="Annotate", icon=":material/draw:", url_path="annotate"),
    st.Page("sst_app/pages/review.py", title="Review", icon=":material/fact_check:", url_path="review"),
    st.Page("sst_app/pages/collection.py", title="Collection", icon=":material/inventory_2:", url_path="collection"),
    st.Page(
        "sst_app/pages/morphospace.py", title="Morphospace", icon=":material/scatter_plot:", url_path="morphospace"
    ),
]
STYLE = Path(__file__).parent / "sst_app" / "style.html"
LOG = logging.getLogger("sst_app")


def main() -> None:
    """Show the chosen page."""
    st.set_page_config(page_title="sst-retrieval", page_icon="🦋", layout="wide")
    st.html(STYLE.read_text(encoding="utf-8"))
    with show_errors():
        # Without an index there is nothing to search: show only the page on which the first support is drawn.
        pages = PAGES if current_index.get_unindexed_table() is None else PAGES[1:2]
        page = st.navigation(pages, position="top")
        current_index.show_index_choice()
        page.run()


@contextmanager
def show_errors() -> Iterator[None]:
    """Show what is wrong as a sentence; the program's own mistakes keep their traceback, in the terminal."""
    try:
        yield
    except sst.SSTError as error:
        st.error(escape_md(error), icon=":material/error:")
    except MemoryError:
        st.error("This does not fit into the computer's memory; choose fewer specimens or a smaller photograph.")
    except Exception:
        LOG.exception("a page of the app failed")
        st.error(
            "The program made a mistake here; nothing is lost. The terminal in which the app was started says where. "
            "Load the page again, and if that does not help, report those lines."
        )


main()
