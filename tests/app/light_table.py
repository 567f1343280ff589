"""The tiles of the hits in a page that Streamlit's AppTest runs: what they show, and what a person does with them."""

from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest


def read_tiles(app: AppTest) -> list[dict[str, Any]]:
    """The tiles as the browser gets them, in their order; none if there are no hits."""
    return list(_read_data(app).get("tiles", []))


def read_text(app: AppTest) -> list[str]:
    """All text of the tiles, each piece between > and <, as it is in the page."""
    tiles = read_tiles(app)
    words = [text for tile in tiles for text in (tile["name"], *tile["lines"], tile["similarity"], tile["confidence"])]
    return [f">{text}<" for text in words + [bar["short"] for tile in tiles for bar in tile["bars"]]]


def act(app: AppTest, kind: str, individual: str) -> AppTest:
    """Ask with a tile, tick or untick it, add it as an example, or open its details; as the browser says it."""
    data = _read_data(app)
    tile = next(each for each in data["tiles"] if each["id"] == individual)
    app.session_state["hit-acts"] = [*_get_noted(app), (kind, individual, tile["trait"], tuple(data["traits"]))]
    return app


def _get_noted(app: AppTest) -> list[object]:
    # AppTest's session state has no `get`.
    return list(app.session_state["hit-acts"]) if "hit-acts" in app.session_state else []


def _read_data(app: AppTest) -> dict[str, Any]:
    shown = [each.proto for each in app.get("bidi_component") if each.proto.component_name.endswith("sst_hits")]
    found: dict[str, Any] = json.loads(shown[0].json) if shown else {}
    return found
