"""Search, annotate and review in the browser: `sst-retrieval app INDEX`, or `streamlit run app/Home.py -- INDEX`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from sst_app import build_process, command_line, current_index, doors, heap, url_state
from sst_app.page_errors import show_errors

PAGES = [
    st.Page("sst_app/pages/search.py", title="Search", icon=":material/search:", default=True),
    st.Page("sst_app/pages/annotate.py", title="Annotate", icon=":material/draw:", url_path="annotate"),
    st.Page("sst_app/pages/review.py", title="Review", icon=":material/fact_check:", url_path="review"),
    st.Page("sst_app/pages/collection.py", title="Collection", icon=":material/inventory_2:", url_path="collection"),
    st.Page(
        "sst_app/pages/morphospace.py", title="Morphospace", icon=":material/scatter_plot:", url_path="morphospace"
    ),
]
# Without an index there is nothing to search: only the page on which the first support is drawn, whatever the address.
WITHOUT_INDEX = [
    st.Page("sst_app/pages/annotate.py", title="Annotate", icon=":material/draw:", default=True, url_path="start"),
    *(
        st.Page("sst_app/pages/annotate.py", title="Annotate", url_path=page.url_path, visibility="hidden")
        for page in PAGES[1:]
    ),
]
STYLE = Path(__file__).parent / "sst_app" / "style.html"


def main() -> None:
    """Show the chosen page."""
    heap.watch()
    st.set_page_config(page_title="sst-retrieval", page_icon="🦋", layout="wide")
    st.html(STYLE.read_text(encoding="utf-8"))
    with show_errors():
        command_line.check_audience()
        doors.reopen()
        pages = PAGES if current_index.get_unindexed_table() is None else WITHOUT_INDEX
        page = st.navigation(pages, position="top")
        st.html(f'<h1 class="for-readers">{page.title}</h1>')
        current_index.show_index_choice()
        st.set_page_config(page_title=f"{page.title}, {current_index.get_name()}")
        url_state.begin(page.title.lower())
        doors.show_way_back()
        if pages is PAGES:
            build_process.show_next_step(("demo", "first"))
        page.run()
    url_state.write()


main()
