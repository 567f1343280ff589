"""Tests of the app keep drafts of drawings to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_drafts(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.delenv("SST_RETRIEVAL_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder
