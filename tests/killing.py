"""Kill a test's build at every so many system calls that change a folder, and leave what it then was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_KILLER = """
import importlib, itertools, os, shutil, signal, sys
from pathlib import Path
module = importlib.import_module(sys.argv[3])  # before any fork: loading it takes longer than a build

calls = itertools.count()

def deadly(function, fatal):
    def call(*args, **kwargs):
        if next(calls) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

folder, step = Path(sys.argv[1]), int(sys.argv[2])
for fatal in itertools.count(0, step):
    (folder / str(fatal)).mkdir()
    child = os.fork()
    if child == 0:
        changing = [(os, name) for name in ("replace", "fsync", "unlink", "mkdir", "link")] + [(shutil, "rmtree")]
        for where, name in changing:
            setattr(where, name, deadly(getattr(where, name), fatal))
        module.walk(folder / str(fatal) / "index", folder / str(fatal) / "journal")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def kill_everywhere(test_file: Path, folder: Path, step: int) -> None:
    """Run the function `walk(index, journal)` of a test file again and again, each time killed a little later.

    Args:
        test_file: the file.
        folder: gets a folder for each run, named by the number of the call that killed it: `index`, and `journal`.
        step: 1 tries each call, and takes minutes.
    """
    here = Path(__file__).parent
    search_path = os.pathsep.join([*map(str, (test_file.parent, here, here.parent)), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", _KILLER, str(folder), str(step), test_file.stem]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": search_path}, timeout=300)
