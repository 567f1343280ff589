"""Comparative morphology of an invented index: two species alike, a third different; figures worked out another way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from invented import BLOCKS, a_collection, a_region, built
from pairs import IDS, MM_PER_PIXEL, SPECIES, SPECIES_OF, TREE, an_index_of_pairs, band, mask_of, vector_of
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.decomposition import PCA

from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.morphology import distances as by_distance
from sst_retrieval.morphology.morphospace import Morphospace
from sst_retrieval.morphology.scales import read_scales
from sst_retrieval.morphology.trees import newick_name, read_tree
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Floats, Skipped

SPECIES_COLUMN = np.array([SPECIES_OF[name] for name in IDS])


@pytest.fixture(scope="module")
def folder(pairs: Path) -> Path:
    return pairs


def scaled(trait: str = "band", weights: tuple[float, ...] = (1, 1, 1)) -> Floats:
    """Vectors whose distances are those of the trait space, one row a specimen."""
    vectors = np.stack([vector_of(name, trait) for name in IDS]).astype(np.float64)
    edges = pairwise(np.cumsum([0, *BLOCKS.values()]))
    for weight, (start, stop) in zip(weights, edges, strict=True):
        vectors[:, start:stop] *= np.sqrt(weight / sum(weights))
    return vectors


# ----------------------------------------------------------------------------------------------------- the table


def test_one_row_a_region_with_all_that_is_known(index: Index) -> None:
    table = index.trait_table()
    assert len(table) == 23  # The spot of the first specimen is absent.
    frame = table.pandas()
    assert list(frame.columns) == list(table.columns)
    assert {"region_id", "specimen", "trait", "confidence", "review", "group", "scientificName", "area_px"} <= {*frame}
    row = frame[(frame["specimen"] == IDS[4]) & (frame["trait"] == "spot")].iloc[0]
    assert (row["scientificName"], row["area_px"]) == (SPECIES_OF[IDS[4]], mask_of(IDS[4], "spot").sum())
    assert row["area_mm2"] == pytest.approx(row["area_px"] * 0.05**2)
    assert row["length_mm"] == pytest.approx(row["length_px"] * 0.05)
    assert frame[frame["specimen"] == IDS[11]]["area_mm2"].isna().all()  # Its scale is not known.


def test_arrow_pandas_and_polars_hold_the_same(index: Index) -> None:
    table = index.trait_table("band", where="sex = 'female'")
    assert table.arrow().num_rows == 6
    assert table.polars(["specimen", "area_px"]).rows() == [(n, float(mask_of(n, "band").sum())) for n in IDS[:6]]
    assert pl.DataFrame(table).equals(table.polars())
    assert pa.table(table).equals(table.arrow())
    assert "6 regions" in repr(table)
    with pytest.raises(QueryError, match="no column 'mass'"):
        table.arrow(["mass"])


def test_a_scale_given_for_a_group_wins_over_the_column(index: Index) -> None:
    frame = index.trait_table("band", scale={"group": 0.2}).pandas()
    assert frame["area_mm2"].to_numpy() == pytest.approx(frame["area_px"].to_numpy() * 0.04)
    with pytest.raises(QueryError, match="above 0"):
        index.trait_table(scale={"group": 0})


def test_a_scale_of_a_group_that_is_not_there_is_refused(index: Index) -> None:
    for ask in (lambda: index.trait_table(scale={"grup": 0.2}), lambda: index.outlines("band", scale={"grup": 0.2})):
        with pytest.raises(QueryError, match="'grup', which is no group of the index; its groups: group"):
            ask()


def test_scales_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scales.csv"
    path.write_text("group,mmPerPixel,lengthMm,lengthPx\na,0.5,,\nb,,10,400\n")
    assert read_scales(path) == {"a": 0.5, "b": 0.025}
    for text in (
        "group,mmPerPixel\na,none\n",
        "group\na\n",
        "group,lengthMm,lengthPx\na,1,0\n",
        "group,mmPerPixel\na,-1\n",
    ):
        path.write_text(text)
        with pytest.raises(InputError, match="line 2"):
            read_scales(path)
    path.write_text("group,mmPerPixel\na,1\na,2\n")
    with pytest.raises(InputError, match="line 3"):
        read_scales(path)


def test_a_column_that_is_called_like_a_measurement_hides_none(tmp_path: Path) -> None:
    """People measure specimens by hand, too: their column and ours stand side by side."""
    values = {"area_px": ["large", "small", "small"], "Length_mm": [41.0, 39.5, 40.0], "mmPerPixel": [0.5, 0.5, None]}
    kinds = {"area_px": "VARCHAR", "Length_mm": "DOUBLE", "mmPerPixel": "DOUBLE"}
    measured = {"area_px": 8.0, "length_px": 4.0}
    regions = [a_region(name, measurements=measured) for name in "abc"]
    built(tmp_path / "index", regions, a_collection(list("abc"), kinds, **values))
    with open_index(tmp_path / "index") as index:
        table = index.trait_table()
        assert len(set(table.columns)) == len(table.columns)
        row = table.pandas().iloc[0]
        assert (row["area_px"], row["Length_mm"]) == ("large", 41.0)
        assert (row["sst:area_px"], row["area_mm2"], row["sst:length_mm"]) == (8.0, 2.0, 2.0)
        assert table.arrow(["sst:length_mm"]).column(0).to_pylist() == [2.0, 2.0, None]


def test_a_column_that_is_called_like_one_of_ours_is_not_lost(tmp_path: Path) -> None:
    kinds = {"Confidence": "VARCHAR", "trait": "VARCHAR", "sex": "VARCHAR"}
    values = {"Confidence": ["certain", "doubtful"], "trait": ["melanic", None], "sex": ["f", "m"]}
    regions = [a_region(name, confidence=0.5) for name in "ab"]
    built(tmp_path / "index", regions, a_collection(["a", "b"], kinds, **values))
    with open_index(tmp_path / "index") as index:
        table = index.trait_table().pandas()
    assert table["collection:Confidence"].tolist() == ["certain", "doubtful"]
    assert table["collection:trait"].iloc[0] == "melanic"
    assert table["confidence"].tolist() == [0.5, 0.5]
    assert table["sex"].tolist() == ["f", "m"]


# --------------------------------------------------------------------------------------------- space and distances


def test_principal_components_are_those_of_scikit_learn(index: Index) -> None:
    space = index.morphospace("band", weights={"pattern": 2, "shape": 1})
    vectors = scaled(weights=(2, 0, 1))
    reference = PCA(n_components=5).fit(vectors)
    assert space.explained[:5] == pytest.approx(reference.explained_variance_ratio_, abs=1e-6)
    assert np.abs(space.scores[:, :3]) == pytest.approx(np.abs(reference.transform(vectors)[:, :3]), abs=1e-5)
    assert np.abs(space.loadings[:3]) == pytest.approx(np.abs(reference.components_[:3]), abs=1e-5)
    largest = np.abs(space.loadings).argmax(axis=1)
    assert (space.loadings[np.arange(len(largest)), largest] > 0).all()
    assert space.specimens == tuple(IDS)
    shares = space.shares()
    assert shares.loc["PC1", "colour"] == pytest.approx(0, abs=1e-9)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)


def test_a_plot_shows_every_group_in_its_own_way(index: Index, tmp_path: Path) -> None:
    space = index.morphospace("band")
    axes = space.plot(colour="scientificName").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"{name} (4)" for name in SPECIES]
    assert axes.get_xlabel() == f"PC1 ({space.explained[0]:.1%} of the variance)"
    found = np.vstack([dots.get_offsets() for dots in axes.collections])
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, space.scores[:, :2].tolist()))
    assert len(space.plot(colour="area_px").axes) == 2  # With a scale of colours.
    space.plot(x=2, y=3).savefig(tmp_path / "space.png")
    assert (tmp_path / "space.png").stat().st_size > 5000
    with pytest.raises(QueryError, match="no column 'mass'"):
        space.plot(colour="mass")
    with pytest.raises(QueryError, match="no component 99"):
        space.plot(x=99)


def test_a_plot_has_no_group_without_a_name() -> None:
    metadata = pd.DataFrame({"species": ["albus", "", None, "albus"]})
    scores = np.arange(8.0).reshape(4, 2)
    space = Morphospace(
        "wing", tuple("abcd"), scores, np.eye(2), np.ones(2) / 2, np.zeros(2), ("x", "y"), metadata, "x"
    )
    legend = space.plot(colour="species").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["albus (2)", "not known (2)"]


def test_a_space_of_outlines(index: Index) -> None:
    space = index.morphospace("band", of="outlines")
    assert space.specimens == tuple(IDS)
    assert space.variables[:5] == ("A1", "B1", "C1", "D1", "A2")
    # The bands differ in how high they are: one component.
    assert space.explained[0] > 0.9
    heights = [band(name, "left").any(axis=1).sum() for name in IDS]
    assert abs(np.corrcoef(space.scores[:, 0], heights)[0, 1]) > 0.97
    with pytest.raises(QueryError, match="vectors or outlines"):
        index.morphospace("band", of="thoughts")


def test_compare_specimens_follow_from_the_similarities_of_a_search(index: Index) -> None:
    matrix = index.distances("band", weights={"pattern": 1, "colour": 0.5})
    assert matrix.labels == tuple(IDS)
    assert np.array_equal(matrix.values, matrix.values.T)
    assert np.array_equal(np.diag(matrix.values), np.zeros(12))
    for hit in index.search(like=(IDS[2], "band"), k=11, weights={"pattern": 1, "colour": 0.5}):
        if hit.similarity > 0:
            expected = np.sqrt(2 * (1 - hit.similarity))
            assert matrix.between(IDS[2], hit.individual) == pytest.approx(expected, abs=1e-5)
    assert matrix.skbio().ids == tuple(IDS)
    assert matrix.pandas().loc[IDS[0], IDS[3]] == matrix.between(IDS[3], IDS[0])
    with pytest.raises(QueryError, match="no 'nobody'"):
        matrix.between("nobody", IDS[0])


def test_distances_of_groups_worked_out_another_way(index: Index) -> None:
    vectors = scaled()
    parts = [vectors[name == SPECIES_COLUMN] for name in SPECIES]
    means = index.distances("band", by="scientificName")
    assert (means.labels, means.counts) == (SPECIES, (4, 4, 4))
    chance = np.array([part.var(axis=0, ddof=1).sum() / 4 for part in parts])
    expected = squareform(pdist([part.mean(axis=0) for part in parts]) ** 2) - chance[:, None] - chance
    np.fill_diagonal(expected, 0)
    assert expected.min() == 0  # None is clipped here.
    assert means.values == pytest.approx(np.sqrt(expected), abs=1e-6)
    energy = index.distances("band", by="scientificName", between="energy")
    one, two = parts[0], parts[2]
    expected = 2 * cdist(one, two).mean() - pdist(one).mean() - pdist(two).mean()
    assert energy.between(SPECIES[0], SPECIES[2]) == pytest.approx(np.sqrt(expected), abs=1e-5)
    assert "corrected for sample size" in means.about
    assert "corrected for sample size" in energy.about


def test_specimens_without_a_value_are_counted(index: Index) -> None:
    matrix = index.distances("band", by="sex")
    assert matrix.labels == ("female",)
    assert "6 specimens without a value left out" in matrix.about
    with pytest.raises(QueryError, match="no column 'genus'"):
        index.distances("band", by="genus")
    with pytest.raises(QueryError, match="mean or energy"):
        index.distances("band", by="sex", between="median")


def test_many_specimens_are_sampled_for_energy_and_refused_for_a_matrix() -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(size=(3000, 2)), rng.normal(size=(50, 2)) + 4]).astype(np.float32)
    codes = np.repeat([0, 1], [3000, 50])
    all_of_them = by_distance.compare_distributions(codes, ["a", "b"], lambda rows: points[rows], "x")
    some = by_distance.compare_distributions(codes, ["a", "b"], lambda rows: points[rows], "x", most=600)
    assert "550 specimens drawn at random" in some.about
    assert "random" not in all_of_them.about
    assert some.counts == (3000, 50)
    assert some.values[0, 1] == pytest.approx(all_of_them.values[0, 1], rel=0.05)
    with pytest.raises(QueryError, match="compare groups"):
        by_distance.compare_specimens([""] * 30_000, lambda rows: points, "x")


# ------------------------------------------------------------------------------------- trees, convergence, statistics


def test_mimics_far_apart_in_the_tree_come_first(index: Index, tmp_path: Path) -> None:
    for name, text in (
        ("tree.nwk", TREE),
        ("tree.nex", f"#NEXUS\nBEGIN TREES;\n TREE one = [&R] {TREE}\nEND;\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.warns(UserWarning, match="in the tree and not in the collection: Dus_dubius"):
            found = index.convergence("band", tree=tmp_path / name)
        first = found.table.iloc[0]
        assert {first["one"], first["other"]} == {"Aus albus", "Bus rubens"}
        assert first["tree_distance"] == pytest.approx(1 + 1 + 0.5 + 1.5)
        assert first["score"] == found.table["score"].max() > found.table["score"].iloc[1]
        assert (len(found), found.not_in_collection, found.not_in_tree) == (3, ("Dus_dubius",), ())


def test_a_tree_without_lengths_counts_branches_and_missing_names_are_listed(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "tree.nwk"
    path.write_text("((Aus_albus,'Eus novus'),Bus_rubens);")
    with pytest.warns(UserWarning, match="not in the tree: Cus niger"):
        found = index.convergence("band", tree=path)
    assert found.not_in_tree == ("Cus niger",)
    assert found.table["tree_distance"].tolist() == [3]
    assert "number of branches" in found.about
    path.write_text("(Xus_a:1,Xus_b:1);")
    with pytest.raises(InputError, match="fewer than two names"):
        index.convergence("band", tree=path)
    path.write_text("((a,b),(a ,c")
    with pytest.raises(InputError, match="tree"):
        read_tree(path)
    path.write_text("((Aus_albus:1,Aus albus:1):1,b:1);")
    with pytest.raises(InputError, match="tree"):
        read_tree(path)


def test_without_a_tree_pairs_differ_in_a_column(index: Index) -> None:
    found = index.convergence("band").table
    assert {found.iloc[0]["one"], found.iloc[0]["other"]} == {"Aus albus", "Bus rubens"}
    assert found["trait_distance"].is_monotonic_increasing
    one_sex = index.convergence("band", by="specimen", apart="scientificName").table
    assert (one_sex["scientificName of one"] != one_sex["scientificName of other"]).all()
    assert len(one_sex) == 3 * 16
    with pytest.raises(QueryError, match="several values"):
        index.convergence("band", by="scientificName", apart="specimen")
    with pytest.raises(QueryError, match="no two groups differ"):
        index.convergence("band", by="specimen", apart="group")


def test_numbers_and_gaps_in_the_columns_that_groups_are_made_of(tmp_path: Path) -> None:
    kinds = {"ring": "BIGINT", "genus": "VARCHAR"}
    values = {"ring": [1, 1, 2, 3, 4, None], "genus": ["x", "", "y", "", None, "x"]}
    built(tmp_path / "index", [a_region(name) for name in "abcdef"], a_collection(list("abcdef"), kinds, **values))
    with open_index(tmp_path / "index") as index:
        assert index.distances("wing", by="ring").labels == ("1", "2", "3", "4")
        found = index.convergence("wing", by="ring", apart="genus")
    # Whether 3 and 4, whose genus nobody wrote down, differ from the others is not known.
    assert found.table[["one", "other"]].to_numpy().tolist() == [["1", "2"]]
    assert "2 groups without a value left out" in found.about


def test_names_that_every_program_reads() -> None:
    assert newick_name("Aus albus (L., 1758)") == "Aus_albus_L._1758"
    assert newick_name("ssp. x:y;[z]") == "ssp._x_y_z"


def test_disparity_is_the_sum_of_variances_and_the_tests_see_the_groups(index: Index) -> None:
    found = index.disparity("band", by="scientificName", permutations=199)
    for name in SPECIES:
        part = scaled()[name == SPECIES_COLUMN]
        row = found.table.loc[name]
        assert row["disparity"] == pytest.approx(part.var(axis=0, ddof=1).sum(), abs=1e-6)
        assert 0 < row["low"] < row["disparity"] < row["high"]
    assert found.permanova is not None
    assert found.permanova.p_value <= 0.01
    # Niger's vectors are long before they are brought to unit length, so they vary least.
    assert found.table["mean_distance"].idxmin() == "Cus niger"
    assert found.permdisp is not None
    assert found.permdisp.p_value <= 0.01
    assert (found.permdisp.groups, found.permdisp.specimens, found.permdisp.permutations) == (3, 12, 199)
    assert "not tested" in index.disparity("band", by="specimen").about


@pytest.mark.filterwarnings("ignore:left out, because only one of the two:UserWarning")
def test_mantel_sees_that_the_same_species_are_alike_in_both_traits(index: Index) -> None:
    found = index.mantel("band", "spot", permutations=199)
    r = np.corrcoef(pdist(scaled()[1:]), pdist(scaled("spot")[1:]))[0, 1]
    assert found.correlation == pytest.approx(r, abs=1e-5)
    assert found.p_value <= 0.01
    assert found.left_out == (IDS[0],)
    with pytest.raises(QueryError, match="pearson or spearman"):
        index.mantel("band", "spot", method="kendall")


# ------------------------------------------------------------------------------------------- sides, outlines, supports


def test_left_and_right_are_measured_apart(index: Index) -> None:
    frame = index.sides("band")
    assert len(frame) == 24
    for _, row in frame.iterrows():
        assert row["area_px"] == band(row["specimen"], row["side"]).sum()
        scale = MM_PER_PIXEL[row["specimen"]]
        assert row["area_mm2"] == pytest.approx(row["area_px"] * scale**2) if scale else pd.isna(row["area_mm2"])
    assert set(index.sides("spot")["side"]) == {"median"}
    found = index.asymmetry("band", by="scientificName")
    assert found.specimens["specimen"].tolist() == IDS
    expected = [band(n, "right").sum() - band(n, "left").sum() for n in IDS if SPECIES_OF[n] == SPECIES[0]]
    assert found.table.loc[SPECIES[0], "FA1"] == pytest.approx(np.abs(expected).mean())


def test_outlines_of_an_index(index: Index) -> None:
    found = index.outlines("band", points=50, scale={"group": 0.1})
    assert found.laid.shape == found.photograph.shape == (24, 50, 2)
    assert found.sides[:2] == ("left", "right")
    assert found.scale.tolist() == [0.1] * 24
    assert np.abs(found.laid[0] - found.laid[1]).max() < 0.1  # Left and right of an even one are mirror images.
    assert index.outlines("band", sides=False).sides == ("",) * 12
    assert found.fourier(3).shape == (24, 2 + 12)
    assert index.outlines("band", where="false").laid.shape == (0, 128, 2)


def test_what_serves_the_most_doubtful_is_suggested_first(tmp_path: Path) -> None:
    # Ten specimens like the support and sure; four of another kind and unsure: one of these should be next.
    usual, other = [1, 0, 0, 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1, 0, 0, 1]
    regions = [a_region(f"a{n}", "wing", vector=usual, confidence=0.95) for n in range(10)]
    regions += [a_region(f"b{n}", "wing", vector=other, confidence=0.3 + 0.01 * n) for n in range(4)]
    table = a_collection([*(region.individual for region in regions), "c0"])
    skipped = [Skipped("c0", "support", "no support")]
    provenance = {"supports": [{"specimen": "a0", "group": "group", "traits": ["wing"]}]}
    built(tmp_path / "index", regions, table, skipped=skipped, provenance=provenance)
    with open_index(tmp_path / "index") as index:
        waiting, first, *rest = index.suggest_support(5)
        assert (waiting.specimen, "no specimen of group is annotated" in waiting.reason) == ("c0", True)
        assert (first.specimen, first.serves) == ("b0", 4)
        assert first.gain == pytest.approx(0.7 + 0.69 + 0.68 + 0.67, abs=1e-6)
        assert "4 specimens of group resemble it more" in first.reason
        assert not [each for each in rest if each.specimen.startswith("b")]  # One of the four is enough.
        with pytest.raises(QueryError, match="1 or more"):
            index.suggest_support(0)


def test_what_was_rejected_is_in_no_table(tmp_path: Path) -> None:
    an_index_of_pairs(tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        index.review(IDS[3], "band", "reject", reviewer="somebody")
        index.review(IDS[4], "band", "accept", reviewer="somebody")
        frame = index.trait_table("band").pandas().set_index("specimen")
        assert IDS[3] not in frame.index
        assert frame["review"].dropna().to_dict() == {IDS[4]: "accepted"}
        assert IDS[3] not in index.distances("band").labels
        assert IDS[3] not in index.outlines("band").specimens
        assert index.distances("band", by="scientificName").counts == (3, 4, 4)


def test_suggestions_where_a_trait_was_found_on_targets_only() -> None:
    """A trait that no annotated specimen shows, or no target, has no cosine; it counts as not shared."""
    from sst_retrieval.morphology.support_suggestions import _similarity

    one, other = np.array([1, 0, 0], np.float32), np.array([0.6, 0.8, 0], np.float32)
    vectors = {"target": {"band": one, "spot": other}, "support": {"band": other}, "bare": {}}
    assert _similarity(["target"], ["support"], vectors) == pytest.approx(0.3)  # 0.6 of the band, 0 of the spot
    assert _similarity(["target"], ["bare"], vectors) == 0
    assert _similarity(["bare"], ["bare"], vectors) == 0
