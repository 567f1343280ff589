"""See, search, draw, review: the app. `sst-retrieval app INDEX`, or `streamlit run app/Home.py -- INDEX`."""

import streamlit as st
from sst_app import opening

st.set_page_config(page_title="sst-retrieval", page_icon="🦋", layout="wide")

PAGES = [
    st.Page("sst_app/search.py", title="Search", icon=":material/search:", default=True),
    st.Page("sst_app/annotate.py", title="Annotate", icon=":material/draw:", url_path="annotate"),
    st.Page("sst_app/review.py", title="Review", icon=":material/fact_check:", url_path="review"),
    st.Page("sst_app/collection.py", title="Collection", icon=":material/inventory_2:", url_path="collection"),
    st.Page("sst_app/morphospace.py", title="Morphospace", icon=":material/scatter_plot:", url_path="morphospace"),
]

st.html((opening.HERE / "style.html").read_text(encoding="utf-8"))
with opening.explained():
    # Without an index there is nothing to search: only the page that draws the first support.
    page = st.navigation(PAGES if opening.bare_table() is None else PAGES[1:2], position="top")
    opening.choose()
    page.run()
