"""Shell completion: commands, commands of groups, and options are completed, and the scripts of shells can be had."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "import sys; sys.argv = ['sst-retrieval']; from sst_retrieval.cli import main; main()"


def complete(line: str) -> list[str]:
    """What a shell is told when Tab is pressed behind a line."""
    words = line.split(" ")
    asked = {"_SST_RETRIEVAL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env={**os.environ, **asked})
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sst-retrieval ver", ["verify"]),
        ("sst-retrieval export outl", ["outlines"]),
        ("sst-retrieval build --supp", ["--supports"]),
        ("sst-retrieval weights fe", ["fetch"]),
    ],
)
def test_words_are_completed(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_can_be_had(shell: str) -> None:
    asked = {**os.environ, "_SST_RETRIEVAL_COMPLETE": f"source_{shell}"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=asked, check=True)
    assert "_SST_RETRIEVAL_COMPLETE" in done.stdout
