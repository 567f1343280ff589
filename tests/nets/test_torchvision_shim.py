"""torchvision loads next to any build of torch, and stays as it is where it loads by itself.

Each case runs in a Python of its own, with a made-up torchvision in front of the installed one.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ASK = """
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
ensure_torchvision()
import torchvision
print(torchvision.state)
"""
UNAIDED = """
try:
    import torchvision
except RuntimeError as error:
    print(error)
"""


def run(code: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = [] if first_on_path is None else [str(first_on_path)]
    code = f"import sys; sys.path[:0] = {path!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def made_up_torchvision(folder: Path, code: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(textwrap.dedent(code))
    return folder


def test_the_installed_torchvision_loads() -> None:
    done = run(ASK.replace("torchvision.state", "torchvision.ops.nms.__name__"))
    assert done.stdout == "nms\n", done.stderr


def test_missing_operators_are_declared(tmp_path: Path) -> None:
    folder = made_up_torchvision(
        tmp_path,
        """
        import torch
        for name in ("nms", "qnms"):
            torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, threshold: dets)
        state = "loaded"
        """,
    )
    done = run(UNAIDED + ASK, folder)
    unaided, aided = done.stdout.splitlines()
    assert "operator torchvision::nms does not exist" in unaided, done.stderr
    assert aided == "loaded"


def test_one_that_loads_by_itself_is_left_alone(tmp_path: Path) -> None:
    folder = made_up_torchvision(
        tmp_path,
        """
        import torch
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor own) -> Tensor")
        state = torch.ops.torchvision.nms.default._schema
        """,
    )
    done = run(ASK, folder)
    assert "Tensor own" in done.stdout, done.stderr


def test_another_failure_is_not_hidden(tmp_path: Path) -> None:
    done = run(ASK, made_up_torchvision(tmp_path, "raise RuntimeError('libjpeg.so is damaged')"))
    assert done.returncode != 0
    assert "RuntimeError: libjpeg.so is damaged" in done.stderr
