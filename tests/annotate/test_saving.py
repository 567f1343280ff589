"""Masks that a person drew, saved as a support."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of

from sst_retrieval.annotate.label_names import read_label_picture_name
from sst_retrieval.annotate.saving import save_support
from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging.images import read_labels, write_png


def a_mask(top: int = 5, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[top : top + 8, 10:30] = True
    return mask


def test_what_was_saved_is_what_the_build_reads(tmp_path: Path) -> None:
    table = a_collection_of(tmp_path)
    save_support(tmp_path / "supports", "r2", {"spot": a_mask(5), "left eye": a_mask(20), "empty": a_mask() & False})
    supports = read_supports(tmp_path / "supports", read_collection(table))
    (mine,) = [support for support in supports.load("red") if support.individual == "r2"]
    assert dict(zip(mine.traits, mine.masks.sum(axis=(1, 2)), strict=True)) == {"spot": 160, "left eye": 160}
    assert supports.numbers == {"spot": 7, "bar": 3, "left eye": 8}


def test_a_new_folder_gets_the_numbers_of_the_index(tmp_path: Path) -> None:
    path = save_support(tmp_path / "new", "r2", {"bar": a_mask(), "tail": a_mask(20)}, numbers={"spot": 7, "bar": 3})
    assert read_traits(tmp_path / "new" / "traits.toml").numbers == {"spot": 7, "bar": 3, "tail": 8}
    assert set(np.unique(read_labels(path))) == {0, 3, 8}


def test_what_else_stands_in_traits_toml_stays(tmp_path: Path) -> None:
    text = '# mine\n[traits]  # names\nspot = 7 # a dot\n\n[synonyms]\nspot = ["dot"]\n'
    (tmp_path / "traits.toml").write_text(text)
    save_support(tmp_path, "r2", {"bar": a_mask()})
    added = (tmp_path / "traits.toml").read_text()
    assert added == text.replace("spot = 7 # a dot\n", "spot = 7 # a dot\nbar = 8\n")
    assert read_traits(tmp_path / "traits.toml").synonyms == {"spot": ("dot",)}


def test_an_older_label_is_kept(tmp_path: Path) -> None:
    path = save_support(tmp_path, "r2", {"spot": a_mask()})
    before = path.read_bytes()
    save_support(tmp_path, "r2", {"spot": a_mask(20)})
    assert path.read_bytes() != before
    assert (tmp_path / ".r2.png.old").read_bytes() == before


@pytest.mark.parametrize(
    ("specimen", "drawn", "complaint"),
    [
        ("r2", {}, "nothing is drawn"),
        ("r2", {"spot": a_mask() & False}, "nothing is drawn"),
        ("", {"spot": a_mask()}, "id is empty"),
        ("r2", {" ": a_mask()}, "name of a trait"),
        ("r2", {"spot": a_mask(), "eye": a_mask()}, "wholly under"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, specimen: str, drawn: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(SupportError, match=complaint):
        save_support(tmp_path / "supports", specimen, drawn)
    assert list(tmp_path.rglob("*.png")) == []


@pytest.mark.parametrize("specimen", ["../r2", ".5 a", "..", "/etc/r2", "a/../../r2"])
def test_a_support_lies_in_its_folder_and_is_not_hidden(tmp_path: Path, specimen: str) -> None:
    path = save_support(tmp_path / "supports", specimen, {"spot": a_mask()})
    assert path.parent.resolve() == tmp_path / "supports"
    assert not path.name.startswith(".")
    assert read_label_picture_name(path) == specimen
    assert list(tmp_path.rglob("*.png")) == [path]


def test_traits_written_in_another_way_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "traits.toml").write_text("traits = {spot = 7}\n")
    with pytest.raises(SupportError, match="by hand"):
        save_support(tmp_path, "r2", {"bar": a_mask()})
    assert (tmp_path / "traits.toml").read_text() == "traits = {spot = 7}\n"


def test_a_photograph_is_not_taken_for_a_label_picture(tmp_path: Path) -> None:
    write_png(tmp_path / "r2.png", np.zeros((4, 6, 3), dtype=np.uint8))
    before = (tmp_path / "r2.png").read_bytes()
    with pytest.raises(SupportError, match="no label picture"):
        save_support(tmp_path, "r2", {"spot": a_mask()})
    assert (tmp_path / "r2.png").read_bytes() == before
