"""The pack of small pictures: what is written is read, whenever a program is killed; free space is given back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sst_retrieval.index.loose_pictures import pack_pictures, write_loose_pictures
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import (
    compact,
    find_faults,
    get_journal,
    list_pictures,
    mend,
    read_picture,
    remove_pictures,
    write_pictures,
)

NAMES = ["a", "ä ö", "x#2", "it's; DROP TABLE pictures", "z" * 300]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "a folder with ? and #" / "pictures.sqlite"
    path.parent.mkdir()
    write_pictures(path, [(name, {"": name.encode(), "wing": os.urandom(20_000)}) for name in NAMES])
    return path


def test_what_is_written_is_read(pack: Path) -> None:
    assert [name for name, _ in list_pictures(pack)] == sorted(NAMES)
    assert all(read_picture(pack, name, "") == name.encode() for name in NAMES)
    assert all(len(read_picture(pack, name, "wing") or b"") == 20_000 for name in NAMES)
    assert read_picture(pack, "a", "spot") is None
    assert read_picture(pack, "b", "") is None
    assert read_picture(pack.with_name("none"), "a", "") is None
    assert list(list_pictures(pack.with_name("none"))) == []
    write_pictures(pack, [("a", {"wing": b"new"})])
    assert read_picture(pack, "a", "wing") == b"new"
    assert read_picture(pack, "a", "") is None
    remove_pictures(pack, ["a", "nobody"])
    assert [name for name, _ in list_pictures(pack)] == sorted(NAMES)[1:]
    assert find_faults(pack) == []


def test_a_failure_writes_nothing(pack: Path) -> None:
    def fail() -> object:
        yield "a", {"": b"new"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pictures(pack, fail())  # type: ignore[arg-type]
    assert read_picture(pack, "a", "") == b"a"


def test_the_space_of_what_was_removed_is_given_back(pack: Path) -> None:
    write_pictures(pack, [(f"{number}", {"": os.urandom(30_000)}) for number in range(100)])
    large = pack.stat().st_size
    for _ in range(3):  # What is replaced leaves no more than itself.
        write_pictures(pack, [(f"{number}", {"": os.urandom(30_000)}) for number in range(100)])
    assert pack.stat().st_size < 1.1 * large
    remove_pictures(pack, (f"{number}" for number in range(10, 100)))
    compact(pack)
    assert pack.stat().st_size < large / 3
    assert find_faults(pack) == []
    assert len(read_picture(pack, "3", "") or b"") == 30_000


def test_a_program_that_is_killed_while_it_writes_leaves_what_was_there(pack: Path) -> None:
    """Wherever it is killed: readers see all of a batch or nothing of it, and the next writer goes on."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from sst_retrieval.index.picture_pack import write_pictures
        print("ready", flush=True)
        for turn in range(1, 10_000):
            write_pictures(Path(sys.argv[1]), ((f"n{i}", {"": bytes([turn % 256]) * 40_000}) for i in range(80)))
        """
    )
    for wait in (0.0, 0.02, 0.05, 0.11, 0.23):
        process = subprocess.Popen([sys.executable, "-c", script, str(pack)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = {read_picture(pack, f"n{i}", "") for i in range(80)}
        assert len(found) == 1, wait
        assert read_picture(pack, "a", "") == b"a"
        assert find_faults(pack) == []


def test_what_a_killed_program_left_is_rolled_back_by_the_next_reader(pack: Path) -> None:
    """A journal beside a file that was changed in part: put there as a copy of one taken in the middle."""
    before, content = read_picture(pack, "a", "wing"), pack.read_bytes()
    saved = pack.with_name("saved")

    def pictures() -> object:
        for number in range(200):  # More than SQLite holds in memory: it writes into the file.
            yield f"n{number}", {"": os.urandom(40_000)}
        shutil.copytree(pack.parent, pack.parent / "saved", dirs_exist_ok=False)
        yield "end", {"": b"end"}

    write_pictures(pack, pictures())  # type: ignore[arg-type]
    middle = saved / pack.name
    assert get_journal(middle).stat().st_size > 0
    assert middle.read_bytes() != content
    assert read_picture(middle, "a", "wing") == before
    assert [name for name, _ in list_pictures(middle)] == sorted(NAMES)
    assert not get_journal(middle).exists()


def test_every_byte_of_a_picture_counts(pack: Path) -> None:
    content = pack.read_bytes()
    place = content.index((read_picture(pack, "a", "wing") or b"none")[8000:9000]) - 8000
    for offset in (8000, 8500, 8999):
        changed = bytearray(content)
        changed[place + offset] ^= 1
        pack.write_bytes(bytes(changed))
        assert read_picture(pack, "a", "wing") is None
        assert find_faults(pack) == ["is damaged in the pictures of a"]
    mend(pack)
    assert find_faults(pack) == []
    assert [name for name, _ in list_pictures(pack)] == sorted(set(NAMES) - {"a"})
    assert sorted(each.name for each in pack.parent.iterdir()) == [pack.name]


def test_loose_pictures_are_packed(tmp_path: Path) -> None:
    paths = IndexPaths(tmp_path)
    for name in NAMES:
        write_loose_pictures(paths, name, {"": name.encode(), "wing": b"w"})
    write_loose_pictures(paths, "a", {"": b"newer"})
    broken = paths.loose_pictures_file("x#2")
    broken.write_bytes(broken.read_bytes()[:-1])
    assert read_picture(paths.pictures_file, "a", "") is None
    pack_pictures(paths, ["a", "nobody"])
    assert dict(list_pictures(paths.pictures_file)) == {"a": {""}}
    pack_pictures(paths)
    assert [name for name, _ in list_pictures(paths.pictures_file)] == sorted(set(NAMES) - {"x#2"})
    assert read_picture(paths.pictures_file, "a", "") == b"newer"
    assert list(paths.list_loose_pictures()) == []
