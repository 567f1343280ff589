"""benchmarks/bench_scale.py runs, searches by codes find what brute force finds, and its JSON has the agreed names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_scale_benchmark_runs(tmp_path: Path) -> None:
    words = ["--regions", "1200", "--queries", "3", "--against", "numpy", "--json", str(tmp_path / "scale.json")]
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_scale.py"), *words, "--folder", str(tmp_path / "made")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "1,200 regions x 789 numbers" in done.stdout
    found = json.loads((tmp_path / "scale.json").read_text())
    assert found["regions"] == 1200
    assert found["search_ms_p50"]["all"] > 0
    assert found["add_100_seconds"] > 0
    assert found["disk_bytes_a_region"]["codes"] > 0
    for own in found["vectors_alone"].values():
        assert (own["all"]["recall"], own["10 %"]["recall"]) == (1, 1)
