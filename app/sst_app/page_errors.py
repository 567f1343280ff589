"""What a person sees of an error: a sentence on the page; what the program did not expect is traced in the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

import sst_retrieval as sst
from sst_app.markdown import escape_md

LOG = logging.getLogger("sst_app")


@contextmanager
def show_errors() -> Iterator[None]:
    """Show what is wrong as a sentence, where the page is at that moment.

    Every fragment needs its own, since it runs without the rest of its page, and so does every callback.
    """
    try:
        yield
    except sst.SSTError as error:
        st.error(escape_md(error), icon=":material/error:")
    except MemoryError:
        st.error("This does not fit into the computer's memory; choose fewer specimens or a smaller photograph.")
    except OSError as error:
        LOG.warning("a page of the app failed", exc_info=True)
        st.error(escape_md(sst.explain_os_error(error)), icon=":material/error:")
    except Exception:
        LOG.exception("a page of the app failed")
        st.error(
            "The program made a mistake here; nothing is lost. The terminal in which the app was started says where. "
            "Load the page again, and if that does not help, report those lines."
        )
