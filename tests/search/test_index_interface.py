"""What users may rely on: the public names of an index, what each takes, and that `help` explains it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from invented import a_collection, a_region, built

from sst_retrieval.search.index import Index, open_index

ATTRIBUTES = {"blocks", "catalog", "columns", "settings", "state", "synonyms", "trait_numbers", "traits"}

# fmt: off
METHODS = {
    "__enter__": "(self) -> 'Self'",
    "__exit__": (
        "(self, kind: 'type[BaseException] | None', error: 'BaseException | None', trace: 'TracebackType | "
        "None') -> 'None'"
    ),
    "__init__": "(self, store: 'Store', generation: 'Generation', reach: 'ReadPolicy | None' = None) -> 'None'",
    "asymmetry": (
        "(self, trait: 'str', *, by: 'str | None' = None, measurement: 'str' = 'area_px', where: 'str | None'"
        " = None) -> 'Asymmetry'"
    ),
    "close": "(self) -> 'None'",
    "convergence": (
        "(self, trait: 'str', *, by: 'str' = 'scientificName', tree: 'str | Path | None' = None, apart: 'str "
        "| None' = None, between: 'str' = 'mean', where: 'str | None' = None, weights: 'Mapping[str, float] |"
        " None' = None) -> 'Convergence'"
    ),
    "crop": "(self, specimen: 'str', trait: 'str') -> 'bytes | None'",
    "decision": "(self, specimen: 'str', trait: 'str') -> 'Review | None'",
    "described": (
        "(self, trait: 'str', ids: 'Sequence[int]', similarities: 'Sequence[float]', blocks: "
        "'Sequence[Mapping[str, float]]') -> 'list[Hit]'"
    ),
    "disparity": (
        "(self, trait: 'str', *, by: 'str', where: 'str | None' = None, weights: 'Mapping[str, float] | None'"
        " = None, permutations: 'int' = 999, seed: 'int' = 0) -> 'Disparity'"
    ),
    "distances": (
        "(self, trait: 'str', *, by: 'str | None' = None, between: 'str' = 'mean', where: 'str | None' = "
        "None, weights: 'Mapping[str, float] | None' = None) -> 'DistanceMatrix'"
    ),
    "drawn": (
        "(self, trait: 'str | Sequence[str] | None' = None, *, where: 'str | None' = None) -> "
        "'Iterator[Region]'"
    ),
    "examples": "(self, name: 'str', trait: 'str') -> 'list[str]'",
    "groups": "(self) -> 'dict[str, str]'",
    "individual_reviews": "(self, photograph: 'str | None' = None) -> 'list[Review]'",
    "info": "(self) -> 'dict[str, Any]'",
    "mantel": (
        "(self, trait: 'str', other: 'str | DistanceMatrix', *, by: 'str | None' = None, between: 'str' = "
        "'mean', where: 'str | None' = None, weights: 'Mapping[str, float] | None' = None, method: 'str' = "
        "'pearson', permutations: 'int' = 999, seed: 'int' = 0) -> 'Mantel'"
    ),
    "mask": "(self, specimen: 'str', trait: 'str') -> 'Mask'",
    "measurements": "(self, trait: 'str', where: 'str | None' = None) -> 'dict[str, npt.NDArray[Any]]'",
    "morphospace": (
        "(self, trait: 'str', *, of: 'str' = 'vectors', where: 'str | None' = None, weights: 'Mapping[str, "
        "float] | None' = None, components: 'int' = 10) -> 'Morphospace'"
    ),
    "individual": "(self, name: 'str') -> 'Individual'",
    "iterate_individuals": "(self, where: 'str | None' = None) -> 'Iterator[Individual]'",
    "iterate_photographs": "(self) -> 'Iterator[Photograph]'",
    "iterate_table": "(self, trait: 'str | None' = None) -> 'Iterator[pa.RecordBatch]'",
    "iterate_vectors": (
        "(self, trait: 'str', *, where: 'str | None' = None) -> 'Iterator[tuple[npt.NDArray[np.int64], "
        "Floats]]'"
    ),
    "individuals": "(self, where: 'str | None' = None) -> 'list[Individual]'",
    "photographs": "(self) -> 'list[Photograph]'",
    "outlines": (
        "(self, trait: 'str', *, points: 'int' = 128, sides: 'bool' = True, where: 'str | None' = None, "
        "scale: 'Scale | None' = None) -> 'Outlines'"
    ),
    "patterns": "(self, trait: 'str', ids: 'npt.NDArray[np.int64]') -> 'Floats'",
    "pending_individuals": "(self, photograph: 'str | None' = None) -> 'dict[str, str]'",
    "photograph": "(self, specimen: 'str') -> 'RGBImage'",
    "region": "(self, specimen: 'str', trait: 'str') -> 'Region'",
    "review": (
        "(self, specimen: 'str', trait: 'str', decision: 'str', *, reviewer: 'str', mask: 'Mask | None' = "
        "None, comment: 'str' = '') -> 'Review'"
    ),
    "review_individual": (
        "(self, individual: 'str', decision: 'str', *, reviewer: 'str', outline: 'Mask | None' = None, comment: "
        "'str' = '') -> 'Review'"
    ),
    "add_individual": "(self, photograph: 'str', outline: 'Mask', *, reviewer: 'str', comment: 'str' = '') -> 'str'",
    "reviews": "(self) -> 'list[Review]'",
    "search": (
        "(self, *, like: 'Pair | Sequence[Pair] | None' = None, unlike: 'Pair | Sequence[Pair] | None' = "
        "None, vectors: 'Floats | None' = None, trait: 'str | None' = None, k: 'int' = 12, where: 'str | "
        "None' = None, weights: 'Mapping[str, float] | None' = None, expand: 'int' = 0, among: 'Sequence[int]"
        " | npt.NDArray[np.int64] | None' = None, per: 'str' = 'specimen', rerank: 'int' = 0) -> 'list[Hit]'"
    ),
    "search_many": (
        "(self, queries: 'Iterable[Mapping[str, Any]]', *, trait: 'str | None' = None, k: 'int' = 12, where: "
        "'str | None' = None, weights: 'Mapping[str, float] | None' = None, expand: 'int' = 0, among: "
        "'Sequence[int] | npt.NDArray[np.int64] | None' = None, per: 'str' = 'specimen', rerank: 'int' = 0, "
        "device: 'str' = 'cpu') -> 'Iterator[list[Hit]]'"
    ),
    "sides": "(self, trait: 'str', *, where: 'str | None' = None, scale: 'Scale | None' = None) -> 'Any'",
    "silhouette": "(self, individual: 'str') -> 'Mask'",
    "size": "(self) -> 'int'",
    "skipped": "(self) -> 'list[Skipped]'",
    "suggest_support": "(self, n: 'int' = 5) -> 'list[Suggestion]'",
    "region_vectors": "(self, trait: 'str', ids: 'npt.NDArray[np.int64]') -> 'Floats'",
    "table": "(self, trait: 'str | None' = None) -> 'Any'",
    "thumbnail": "(self, specimen: 'str') -> 'bytes | None'",
    "trait_table": (
        "(self, trait: 'str | Sequence[str] | None' = None, *, where: 'str | None' = None, scale: 'Scale | "
        "None' = None) -> 'TraitTable'"
    ),
    "trait_vectors": "(self, trait: 'str', *, where: 'str | None' = None) -> 'tuple[tuple[str, ...], Floats]'",
    "window": "(self, individual: 'str') -> 'Box | None'",
    "vectors": "(self, trait: 'str') -> 'tuple[list[str], Floats]'",
}
# fmt: on


def test_an_index_keeps_its_methods_and_what_they_take() -> None:
    signatures = {name: str(inspect.signature(getattr(Index, name))) for name in METHODS}
    assert signatures == METHODS
    public = {name for name in dir(Index) if not name.startswith("_")}
    assert public <= ATTRIBUTES | METHODS.keys()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_help_tells_what_a_method_does_and_takes(name: str) -> None:
    text = inspect.getdoc(getattr(Index, name)) or ""
    assert text.split("\n")[0].endswith((".", "?"))
    keywords = [
        each for each in inspect.signature(getattr(Index, name)).parameters.values() if each.kind == each.KEYWORD_ONLY
    ]
    assert all(each.name in text for each in keywords)


def test_an_index_keeps_its_attributes(tmp_path: Path) -> None:
    table = a_collection(["CAM 000"], {"sex": "VARCHAR"}, sex=["male"])
    built(tmp_path / "index", [a_region("CAM 000", "wing")], table, numbers={"wing": 2})
    with open_index(tmp_path / "index") as index:
        assert {name for name in ATTRIBUTES if not hasattr(index, name)} == set()
        assert (index.traits, dict(index.trait_numbers), dict(index.columns)["sex"]) == (
            ("wing",),
            {"wing": 2},
            "VARCHAR",
        )
        assert repr(index.state) == repr(index.state)


def test_an_index_is_opened_and_searched_without_torch(tmp_path: Path) -> None:
    """Importing it takes seconds; only `search_many` multiplies with it."""
    built(tmp_path / "index", [a_region("w1", "band"), a_region("w2", "band")], numbers={"band": 1})
    code = f"""
import sys
from sst_retrieval.search.index import open_index
with open_index({str(tmp_path / "index")!r}) as index:
    assert len(index.search(like=("w1", "band"))) == 1
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
