from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fakes import COLOURS, FAKES, NUMBERS, a_collection_of, paint
from invented import without_checksums
from PIL import Image
from typer.testing import CliRunner, Result

import sst_retrieval
from sst_retrieval.cli import app, checks
from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.engines import load_embedder
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.imaging.frames import mirror, pose_hypotheses
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import write_pictures
from sst_retrieval.search.index import open_index
from sst_retrieval.search.outside import TURNS, query_vectors

OWN = ["--propagator", FAKES.propagator, "--embedder", FAKES.embedder]


@pytest.fixture
def index(ten: Path) -> Path:
    """The index of ten specimens; only to read."""
    return ten / "index"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: object) -> str:
    """Run a command that must be refused in one line on standard error and nothing on standard output."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    return result.stderr


# ------------------------------------------------------------------------------------------------------------ build


def test_build_says_what_it_did(table: Path, tmp_path: Path) -> None:
    words = ["build", table, "--supports", table.parent / "supports", "--output", tmp_path / "index", *OWN]
    result = run(*words)
    assert result.exit_code == 0
    assert "10 photographs processed" in result.stdout
    assert "masks by fake tracker; vectors by fake embedder" in result.stdout
    assert "finding traits: 10/10" in result.stderr
    assert "0 photographs processed; 10 needed no work" in run(*words).stdout
    other = [*words[:-1], "fakes:OtherEmbedder"]
    assert "--rebuild" in refused(*other)
    assert "10 photographs processed" in run(*other, "--rebuild").stdout


def test_build_counts_what_it_skips(tmp_path: Path) -> None:
    table = a_collection_of(tmp_path)
    (tmp_path / "supports" / "b0.png").unlink()
    result = run("build", table, "--supports", tmp_path / "supports", "--output", tmp_path / "index", *OWN)
    assert result.exit_code == 0
    assert "5 skipped: its group 'blue' has no support" in result.stdout


def test_the_defaults_are_those_of_python() -> None:
    help_text = CliRunner().invoke(app, ["build", "--help"], env={"COLUMNS": "200"}).stdout
    assert "[default: dense]" in help_text
    assert "[default: efficientnet]" in help_text
    assert "[default: auto]" in help_text


def test_ctrl_c_ends_with_130_and_leaves_a_usable_index(table: Path, tmp_path: Path) -> None:
    words = ["build", table, "--supports", table.parent / "supports", "--output", tmp_path / "index", *OWN]
    here = [str(Path(__file__).parents[1]), str(Path(sst_retrieval.__file__).parents[1])]
    # Where a test run was started in the background, Ctrl-C may be switched off.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from sst_retrieval.cli import main; main()"
    )
    environment = {**os.environ, "FAKE_TRACKER": "ctrl-c:4", "PYTHONPATH": os.pathsep.join(here)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "what was done is kept" in done.stderr
    assert "Traceback" not in done.stderr
    with open_index(tmp_path / "index") as opened:
        assert len(opened.search(like=("r0", "spot"))) == 2
    assert "stopped before its end" in run("info", tmp_path / "index").stdout


# ----------------------------------------------------------------------------------------------------------- search


def test_search_prints_a_table(index: Path) -> None:
    result = run("search", index, "--like", "r1", "--trait", "spot", "-k", "3")
    head, *lines = result.stdout.splitlines()
    assert head.split()[:6] == ["specimen", "rank", "similarity", "pattern", "colour", "shape"]
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]


def test_search_prints_json(index: Path) -> None:
    result = run("search", index, "--like", "r1", "--trait", "spot", "--json", "--where", "sex = 'female'")
    hits = json.loads(result.stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    own = {"specimen", "photograph", "individual"}
    assert set(hits[0]) == {"rank", *own, "trait", "similarity", "blocks", "confidence", "metadata"}
    assert all(len({hit[name] for name in own}) == 1 for hit in hits)
    assert set(hits[0]["blocks"]) == {"pattern", "colour", "shape"}
    assert {hit["metadata"]["sex"] for hit in hits} == {"female"}
    assert hits[0]["metadata"]["eventDate"].startswith("190")
    assert sorted(hits, key=lambda hit: -hit["similarity"]) == hits


def test_search_takes_several_examples_of_several_traits(index: Path, tmp_path: Path) -> None:
    words = ["search", index, "--like", "r1:spot", "--like", "r2:bar", "--unlike", "r0:spot"]
    hits = json.loads(run(*words, "--json").stdout)
    assert {hit["specimen"] for hit in hits} == {"r3", "r4"}  # The blue ones have no bar.
    assert set(hits[0]["parts"]) == {"spot", "bar"}
    assert run(*words, "--contact-sheet", tmp_path / "both.png").exit_code == 0
    assert (tmp_path / "both.png").is_file()
    one = json.loads(run("search", index, "--like", "r1", "--like", "r2", "--trait", "spot", "--json").stdout)
    assert {hit["specimen"] for hit in one[:3]} == {"r0", "r3", "r4"}
    assert "say which trait" in refused("search", index, "--like", "r1", "--like", "r2:bar")
    assert "--like" in refused("search", index, "--unlike", "r2:bar")


def test_audit_says_what_the_vectors_know(index: Path) -> None:
    result = run("audit", index, "--trait", "spot")
    assert result.exit_code == 0
    assert result.stdout.startswith("spot:")
    (told,) = json.loads(run("audit", index, "--trait", "spot", "--columns", "group, sex", "--json").stdout)
    leaks = {leak["name"]: leak for leak in told["leaks"]}
    assert leaks["group"]["vectors"] == 1
    assert leaks["group"]["chance"] == 0.5
    assert leaks["sex"]["vectors"] < 0.8
    assert "no column 'colour'" in refused("audit", index, "--trait", "spot", "--columns", "colour")
    assert "5 specimens show bar" in refused("audit", index, "--trait", "bar")
    assert "no trait 'leg'" in refused("audit", index, "--trait", "leg")


def test_labels_may_be_numbered_by_a_traits_file_of_their_own(index: Path, table: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in (table.parent / "labels").glob("*.png"):
        drawn = read_labels(path)
        Image.fromarray(np.where(drawn > 0, drawn + 10, 0).astype(np.uint8)).save(labels / path.name)
    assert "give the labels these numbers" in refused("evaluate", index, "--labels", labels)
    numbers = "\n".join(f"{trait.upper()} = {number + 10}" for trait, number in NUMBERS.items())
    (labels / "traits.toml").write_text(f"[traits]\n{numbers}\n")
    own = json.loads(run("evaluate", index, "--labels", labels, "--json").stdout)["masks"]
    usual = json.loads(run("evaluate", index, "--labels", table.parent / "labels", "--json").stdout)["masks"]
    assert own == usual
    (labels / "traits.toml").write_text("[traits]\nleg = 3\n")
    assert "names leg, but the index has the traits" in refused("evaluate", index, "--labels", labels)


def test_evaluate_scores_the_search_without_labels(index: Path) -> None:
    scores = json.loads(run("evaluate", index, "--relevant-by", "group", "--json").stdout)
    assert scores["masks"] is None
    assert scores["retrieval"]["mean_ap"] > 0.9
    # Every relevant answer is of the query's own group, so none is left.
    assert "nothing is relevant" in refused("evaluate", index, "--relevant-by", "group", "--apart", "group")


def test_weights_decide(index: Path) -> None:
    result = run("search", index, "--like", "r1", "--trait", "spot", "--weights", "colour=1", "--json")
    by_colour = json.loads(result.stdout)
    assert {hit["specimen"] for hit in by_colour[:4]} == {"r0", "r2", "r3", "r4"}
    assert all(hit["similarity"] == pytest.approx(hit["blocks"]["colour"], abs=1e-6) for hit in by_colour[:4])


def test_an_index_that_was_copied_draws_its_own_pictures(index: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(index, tmp_path / "copy")
    without_checksums(copy)
    (catalog,) = copy.glob("generations/*/catalog.duckdb")
    with duckdb.connect(str(catalog)) as connection:
        for table in ("individual_rows", "lone_photographs"):
            connection.execute(f"""UPDATE {table} SET "sst:image" = '/gone/' || "sst:specimen" || '.png'""")
    words = ["search", copy, "--like", "r1", "--trait", "spot", "-k", "3"]
    result = run(*words, "--contact-sheet", tmp_path / "hits.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "hits.png") as picture:
        assert picture.width > 400
    pack = IndexPaths(copy).pictures_file
    with open_index(copy) as opened:
        small = {each.id: opened.thumbnail(each.id) or b"" for each in opened.individuals()}
    write_pictures(pack, [(name, {"": picture}) for name, picture in small.items()])
    assert run(*words, "--contact-sheet", tmp_path / "thumbnails.png").exit_code == 0
    pack.unlink()
    result = run(*words, "--contact-sheet", tmp_path / "none.png")
    assert result.exit_code == 2
    assert "no longer at" in result.output


def test_a_contact_sheet_is_written(index: Path, tmp_path: Path) -> None:
    result = run("search", index, "--like", "r1", "--trait", "spot", "--json", "--contact-sheet", tmp_path / "hits.png")
    assert len(json.loads(result.stdout)) == 9
    sheet = read_image(tmp_path / "hits.png")
    red = np.abs(sheet.astype(int) - COLOURS["red"]["spot"]).max(axis=2) < 30
    assert red.any()


def test_search_by_a_photograph_finds_its_twin_however_it_lies(index: Path, tmp_path: Path) -> None:
    image, masks = paint("red", 2)
    Image.fromarray(np.rot90(image)).save(tmp_path / "photo.png")
    Image.fromarray(np.rot90(masks["spot"]).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    words = ["search", index, "--image", tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "--trait", "spot"]
    # To this embedder all red spots are the same but for noise at their rims; only their outlines differ.
    words += ["--weights", "shape=1"]
    hits = json.loads(run(*words, "--embedder", "fakes:FakeEmbedder", "--json").stdout)
    assert hits[0]["specimen"] == "r2"
    result = run(*words, "--embedder", "fakes:FakeEmbedder", "--contact-sheet", tmp_path / "hits.png")
    assert result.exit_code == 0
    assert (tmp_path / "hits.png").is_file()
    # An index may come from a stranger; what it names must not be run unasked.
    assert "--embedder fakes:FakeEmbedder" in refused(*words)
    assert "cannot be compared" in refused(*words, "--embedder", "fakes:OtherEmbedder")


def test_a_mirror_would_add_no_position(tmp_path: Path) -> None:
    image, masks = paint("red", 2)
    embedder = load_embedder("fakes:FakeEmbedder")
    vectors = query_vectors(image, masks["spot"], embedder)
    frames = [mirror(frame) for frame in pose_hypotheses(frame_specimen(image), TURNS)[:TURNS]]
    for vector, frame in zip(vectors, frames, strict=True):
        (seen,) = embed_regions(image, masks["spot"][None], frame, embedder)
        assert seen is not None
        assert vector @ seen / 3 > 0.99


def test_the_mask_may_carry_the_indexs_own_numbers(index: Path, tmp_path: Path) -> None:
    image, masks = paint("red", 2)
    Image.fromarray(image).save(tmp_path / "photo.png")
    labels = sum(masks[trait] * np.uint8(number) for trait, number in NUMBERS.items())
    Image.fromarray(labels).save(tmp_path / "mask.png")
    words = ["--image", tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "--embedder", "fakes:FakeEmbedder"]
    # As above: only the outlines of red spots differ.
    hits = json.loads(run("search", index, *words, "--trait", "spot", "--weights", "shape=1", "--json").stdout)
    assert (hits[0]["specimen"], hits[0]["similarity"]) == ("r2", pytest.approx(1, abs=1e-3))
    Image.fromarray(np.where(labels == NUMBERS["spot"], 9, labels)).save(tmp_path / "mask.png")
    assert "[3, 9]" in refused("search", index, *words, "--trait", "spot")
    Image.fromarray(labels[:-1]).save(tmp_path / "mask.png")
    assert "60 x 39" in refused("search", index, *words, "--trait", "spot")
    Image.fromarray(labels * 0).save(tmp_path / "mask.png")
    assert "empty" in refused("search", index, *words, "--trait", "spot")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--like", "r1"], "spot"),
        (["--like", "r1", "--trait", "wing"], "spot"),
        (["--like", "r77", "--trait", "spot"], "r77"),
        (["--trait", "spot"], "--like"),
        (["--like", "r1", "--mask", "x.png", "--trait", "spot"], "--image"),
        (["--like", "r1", "--trait", "spot", "--weights", "pattern"], "pattern=1"),
        (["--like", "r1", "--trait", "spot", "--weights", "hue=1"], "hue"),
        (["--like", "r1", "--trait", "spot", "--where", "sexx = 1"], "columns:"),
    ],
    ids=" ".join,
)
def test_a_bad_question_is_refused(index: Path, words: list[str], message: str) -> None:
    assert message in refused("search", index, *words)


def test_debug_shows_where_an_error_arose(tmp_path: Path) -> None:
    assert "not an index" in refused("info", tmp_path)
    result = run("--debug", "info", tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, sst_retrieval.IndexFolderError)


# --------------------------------------------------------------------------------------------------- the other verbs


def test_exported_masks_have_the_users_numbers_and_the_photographs_sizes(
    table: Path, index: Path, tmp_path: Path
) -> None:
    result = run("export", "masks", index, tmp_path / "masks")
    assert "10 label pictures" in result.stdout
    for path in sorted((table.parent / "labels").glob("*.png")):
        assert np.array_equal(read_labels(tmp_path / "masks" / path.name), read_labels(path))


def test_unsure_masks_are_not_exported(index: Path, tmp_path: Path) -> None:
    run("export", "masks", index, tmp_path / "masks", "--min-confidence", "0.8")
    assert set(np.unique(read_labels(tmp_path / "masks" / "r0.png"))) == {0, *NUMBERS.values()}  # Drawn: sure.
    assert not read_labels(tmp_path / "masks" / "r1.png").any()


def test_evaluate_scores_masks_and_search(table: Path, index: Path) -> None:
    words = ["evaluate", index, "--labels", table.parent / "labels"]
    scores = json.loads(run(*words, "--json").stdout)
    assert scores["masks"]["mean_iou"] == 1
    assert scores["masks"]["specimens"] == 8
    assert scores["retrieval"]["relevant_by"] == "group"
    assert scores["retrieval"]["traits"]["spot"]["mean_ap"] > 0.9
    text = run(*words, "--relevant-by", "sex").stdout
    assert "mean IoU 1.0000 over 8 specimens" in text
    assert "relevant = same sex" in text
    assert "'colour'" in refused(*words, "--relevant-by", "colour")


def test_evaluate_scores_masks_where_no_column_says_what_is_alike(table: Path, index: Path, tmp_path: Path) -> None:
    text = run("evaluate", index, "--labels", table.parent / "labels", "--apart", "group").stdout
    assert "mean IoU 1.0000 over 8 specimens" in text
    assert "no retrieval scores: no two specimens with the same trait share a value of 'group'" in text
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    own = [f"{head},scientificName", *(f"{row},Species {number}" for number, row in enumerate(rows))]
    table.write_text("\n".join(own), encoding="utf-8")
    words = ["build", table, "--supports", table.parent / "supports", "--output", tmp_path / "index", *OWN]
    assert run(*words).exit_code == 0
    scores = json.loads(run("evaluate", tmp_path / "index", "--labels", table.parent / "labels", "--json").stdout)
    assert scores["masks"]["mean_iou"] == 1
    assert scores["retrieval"]["relevant_by"] == "group"


def test_evaluate_notices_a_wrong_mask(table: Path, index: Path, tmp_path: Path) -> None:
    labels = read_labels(table.parent / "labels" / "r1.png").astype(np.uint8)
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.roll(labels, 30, axis=1)).save(tmp_path / "labels" / "r1.png")
    scores = json.loads(run("evaluate", index, "--labels", tmp_path / "labels", "--json").stdout)
    assert scores["masks"]["mean_iou"] < 0.5


def test_info_says_what_is_in_an_index(index: Path) -> None:
    text = run("info", index).stdout
    assert "specimens: 10" in text
    assert "spot (7): 10, 0" in text
    assert "fake tracker" in text
    info = json.loads(run("info", index, "--json").stdout)
    assert info["traits"]["bar"]["number"] == 3
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    assert info["bytes"] == size
    assert f"{size / 1024**2:.1f} MB" in text


def test_doctor_ends_with_1_if_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = checks.Check("python", True, "3.11"), checks.Check("disk", False, "full", "make room")
    monkeypatch.setattr(checks, "diagnose", lambda: [good])
    assert run("doctor").exit_code == 0
    monkeypatch.setattr(checks, "diagnose", lambda: [good, bad])
    result = run("doctor")
    assert result.exit_code == 1
    assert "make room" in result.stdout


def test_version_is_said() -> None:
    assert run("--version").stdout == f"sst-retrieval {sst_retrieval.__version__}\n"


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(0, 1000, 4))
    monkeypatch.setattr("time.monotonic", lambda: float(next(times)))
    with ProgressBar() as progress:
        for done in range(1, 8):
            progress("finding traits", done, 7)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[-1].startswith("finding traits: 7/7")
    assert "left" in lines[0]


def test_the_app_runs_no_file_of_the_folder_that_one_stands_in(
    tmp_path: Path,
) -> None:
    """Somebody who opens a stranger's index in its own folder must not run what lies there."""
    for name in ("streamlit", "altair", "starlette", "sst_app"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()")
    # As `python -m sst_retrieval app`, which looks for modules in the folder that one stands in first.
    code = (
        "from sst_retrieval.cli.start_app import _import_server, find_app;"
        "_import_server(find_app().parent); import starlette, streamlit.starlette, altair"
    )
    path = str(Path(sst_retrieval.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()
