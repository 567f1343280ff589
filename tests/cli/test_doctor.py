"""`sst-retrieval doctor`: every question can be answered with no, and then says what to do."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sst_retrieval.cli import checks as doctor
from sst_retrieval.cli import model_checks
from sst_retrieval.cli.checks import Check
from sst_retrieval.synthetic.drawer import make_drawer

ENGINES = {"torchvision": "0.28.0", "sam2": "1.1.0", "open-clip-torch": "3.3.0"}


def test_a_check_that_fails_always_has_a_remedy() -> None:
    failures = [
        doctor.check_python((3, 10, 4)),
        *doctor.check_packages(["duckdb<3,>=1.4", "numpy>=2.0"], {"duckdb": "3.0.1"}),
        doctor.check_faiss_choice({}),
        doctor.check_faiss_choice({"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}),
        doctor.check_disk(10, Path()),
    ]
    assert [check.name for check in failures if check.ok or not check.remedy] == []


def test_python() -> None:
    assert doctor.check_python((3, 11, 0)) == Check("python", True, "3.11.0")
    assert doctor.check_python((4, 0, 0)).ok
    assert "3.11" in doctor.check_python((3, 9, 18)).remedy


def test_packages_are_compared_with_what_is_asked() -> None:
    asked = ["numpy>=2.0", "duckdb<3,>=1.4", 'streamlit>=1; extra == "app"', 'tomli; python_version < "3.0"']
    found = {"duckdb": "1.3.9", "streamlit": "0.1"}
    assert doctor.check_packages(asked, found) == [
        Check("duckdb", False, "1.3.9, but <3,>=1.4 is needed", "python -m pip install 'duckdb<3,>=1.4'"),
        Check("numpy", False, "not installed", "python -m pip install 'numpy>=2.0'"),
    ]


@pytest.mark.parametrize("name", ["scikit-image", "Scikit_Image", "scikit.image"])
def test_a_package_is_found_however_its_name_is_written(name: str) -> None:
    assert doctor.check_packages([f"{name}>=0.24"], {"scikit-image": "0.26.0"}) == [Check(name, True, "0.26.0")]


def test_a_local_or_early_version_counts() -> None:
    found = {"torch": "2.13.0+cpu", "duckdb": "2.0.0.dev12"}
    assert all(check.ok for check in doctor.check_packages(["torch<2.14,>=2.5", "duckdb>=1.4"], found))


@pytest.mark.parametrize(
    ("found", "ok", "word"),
    [
        ({"faiss-cpu": "1.15.1"}, True, "faiss-cpu 1.15.1"),
        ({"faiss-gpu": "1.15.1"}, True, "faiss-gpu 1.15.1"),
        ({"numpy": "2.4.6"}, False, "not installed"),
        ({"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}, False, "overwrite each other"),
    ],
)
def test_exactly_one_faiss(found: dict[str, str], ok: bool, word: str) -> None:
    check = doctor.check_faiss_choice(found)
    assert check.ok is ok
    assert word in check.detail


def test_disk() -> None:
    assert doctor.check_disk(doctor.MIN_FREE_BYTES, Path()).ok
    assert not doctor.check_disk(doctor.MIN_FREE_BYTES - 1, Path()).ok


def test_a_probe_reports_whatever_is_raised() -> None:
    def look() -> str:
        raise OSError("libcudart.so.13: cannot open shared object file")

    check = doctor.probe("torch device", look, "install it again")
    assert check == Check(
        "torch device", False, "OSError: libcudart.so.13: cannot open shared object file", "install it again"
    )


def test_engines_that_were_left_out_are_no_failure() -> None:
    checks = doctor.check_engines({})
    names = ["torchvision", "sam2", "timm", "open_clip", "salient", "mobile_sam", "openvino", "ray"]
    assert [check.name for check in checks] == [f"{name} import" for name in names]
    assert all(check.ok for check in checks)
    assert all("pip install" in check.remedy for check in checks[1:])


def test_a_broken_engine_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)  # import then raises, as if the file were gone
    monkeypatch.setattr(model_checks, "check_open_clip", lambda: "loads")
    fine_too, broken, left_out, fine, *others_left_out = doctor.check_engines(ENGINES)
    assert left_out.ok
    assert all(check.ok for check in others_left_out)
    assert not broken.ok
    assert "sam2.build_sam" in broken.detail
    assert broken.remedy.endswith("sam2==1.1.0")
    assert fine.ok
    assert fine_too.ok


def test_a_missing_torch_is_reported_and_the_rest_is_still_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = {check.name: check for check in doctor.diagnose()}
    assert not checks["torch device"].ok
    assert "torch" in checks["torch device"].remedy
    assert checks["faiss search"].ok
    assert checks["duckdb query"].ok
    assert "disk" in checks


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sst_retrieval.nets import efficientnet  # Here: it loads torch, which the other tests do without.

    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"half a file")
    monkeypatch.setattr(efficientnet, "find_weights_file", lambda: damaged)
    check = doctor.probe("default weights", model_checks.check_default_weights, "again")
    assert not check.ok
    assert str(damaged) in check.detail


def test_a_leftover_of_a_killed_installation_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half-1.0.dist-info").mkdir()
    whole = tmp_path / "whole_thing-2.0.dist-info"
    whole.mkdir()
    (whole / "METADATA").write_text("Metadata-Version: 2.1\nName: whole_thing\nVersion: 2.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert doctor.installed_versions() == {"whole-thing": "2.0"}


def test_this_computer_is_in_order() -> None:
    """The tests run where the program was installed by its own recipe, so nothing may be wrong."""
    checks = doctor.diagnose()
    assert [check for check in checks if not check.ok and check.name != "disk"] == []
    names = [check.name for check in checks]
    asked = [line for line in importlib.metadata.requires(doctor.DISTRIBUTION) or [] if "extra ==" not in line]
    assert len(asked) >= 10
    assert len(names) == len(set(names)) == len(asked) + 15


def test_report_shows_the_remedy_below_the_failure() -> None:
    text = doctor.format_checks([Check("a", True, "fine"), Check("b", False, "broken", "mend it")])
    assert text.splitlines() == ["ok   a: fine", "FAIL b: broken", "       -> mend it"]


def without_faiss(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as on a computer without FAISS."""
    code = "import sys; sys.modules['faiss'] = None; from sst_retrieval.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["weights", "list"]], ids=" ".join)
def test_commands_that_need_no_faiss_run_without_it(words: list[str]) -> None:
    done = without_faiss(*words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_faiss_is_what_doctor_says() -> None:
    done = without_faiss("doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"^FAIL faiss search: .*\n +-> python -m pip install", done.stdout, flags=re.MULTILINE)
    assert "ok   duckdb query" in done.stdout


def test_a_build_without_faiss_is_refused_before_any_work(tmp_path: Path) -> None:
    collection = make_drawer(tmp_path / "drawer", specimens=2)
    supports, index = collection.parent / "supports", tmp_path / "index"
    done = without_faiss("build", str(collection), "--supports", str(supports), "--output", str(index))
    assert done.returncode == 2
    assert done.stderr.startswith("error: FAISS cannot be loaded")
    assert "python -m pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not index.exists()


def test_the_gpu_build_of_faiss_stands_for_the_other() -> None:
    asked = ["faiss-cpu<2,>=1.11", "numpy>=2.0"]
    found = {"faiss-gpu": "1.15.1", "numpy": "2.1"}
    assert doctor.check_packages(asked, found) == [Check("numpy", True, "2.1")]
    assert doctor.check_faiss_choice(found).ok
    old = doctor.check_faiss_choice({"faiss-gpu": "1.7.2"})
    assert not old.ok
    assert old.remedy == doctor.TO_GPU
    assert not doctor.check_packages(asked, {"numpy": "2.1"})[0].ok


def test_the_way_from_one_build_of_faiss_to_the_other_is_one_command() -> None:
    both = doctor.check_faiss_choice({"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"})
    assert doctor.TO_CPU in both.remedy
    assert doctor.TO_GPU in both.remedy
    root = Path(__file__).resolve().parents[2]
    assert doctor.TO_GPU in (root / "docs" / "weights.md").read_text(encoding="utf-8")
    wanted = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (cpu,) = [each for each in wanted if each.startswith("faiss")]
    assert doctor.TO_CPU.endswith(f" '{cpu}'")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("kind", "other"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_make_leaves_one_build_of_faiss(kind: str, other: str) -> None:
    command = ["make", "--dry-run", "--always-make", "install", f"FAISS={kind}"]
    root = Path(__file__).resolve().parents[2]
    lines = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    left: set[str] = {"faiss-cpu", "faiss-gpu"}  # The worst that can be there before.
    for line in lines:
        words = set(shlex.split(line))
        if "uninstall" in words:
            assert not left & words or not left - words, "one that goes takes the files of the other with it"
            left -= words
        elif "--editable" in words:
            left.add("faiss-cpu")  # It is a dependency.
        elif "install" in words:
            left |= {word for word in words if re.match("faiss-", word)}
    assert left == {f"faiss-{kind}"}
