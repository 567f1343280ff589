"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from sst_retrieval import files
from sst_retrieval.files import UNFINISHED, atomic_write, write_text


def test_a_file_and_a_folder_appear_when_they_are_complete(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("all of it")
        assert list(tmp_path.glob(UNFINISHED)) == [temporary]
        assert not (tmp_path / "file").exists()
    with atomic_write(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file").write_text("all of it")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "all of it"


def test_a_failed_write_leaves_nothing_and_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def half_a_file() -> None:
        with atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half_a_file()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_replaces_a_folder_and_a_file_never_does(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("a person's own")
    with pytest.raises(OSError):  # noqa: PT011  Its class differs between systems.
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "kept"]
    with atomic_write(tmp_path / "folder") as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    begun = threading.Barrier(2)

    def write(letter: str) -> None:
        with atomic_write(tmp_path / "file") as temporary, temporary.open("w") as file:
            file.write(letter * 1000)
            begun.wait()
            file.write(letter * 1000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in ("a" * 2000, "b" * 2000)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_text_is_written_as_it_is_and_anybody_may_read_it(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "Guenée\r\nÜbersee\n")
    assert (tmp_path / "file").read_bytes() == "Guenée\r\nÜbersee\n".encode()
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="folders are not synchronised there")
@pytest.mark.parametrize(("code", "raised"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_sync_a_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, raised: bool
) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    if raised:
        with pytest.raises(OSError, match=os.strerror(code)):
            write_text(tmp_path / "file", "text")
    else:
        write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_errors_name_the_file_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(NotADirectoryError, match=r"plain'$"):
        write_text(tmp_path / "plain" / "c.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"folder'$"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(OSError, match=r"No space left.*full\.txt'$"), atomic_write(tmp_path / "full.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "plain"]


@pytest.mark.parametrize(
    ("name", "on_windows"),
    [
        ("urn:catalog:BMNH:12", "urn%3Acatalog%3ABMNH%3A12"),
        ('a "b" <c>|d*?', "a %22b%22 %3Cc%3E%7Cd%2A%3F"),
        ("con", "%63on"),
        ("NUL.txt", "%4EUL.txt"),
        ("conus", "conus"),
        ("Genus sp.", "Genus sp%2E"),
        ("blank ", "blank%20"),
        ("BMNH_1234", "BMNH_1234"),
        ("..", "%2E%2E"),
        (".5 a", "%2E5 a"),
    ],
)
def test_names_that_windows_does_not_take_are_escaped_there_and_read_back(
    name: str, on_windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "NOT_IN_NAMES", ':*?"<>|')
    assert files.escape_name(name) == on_windows
    assert files.unescape_name(on_windows) == name
    monkeypatch.setattr(files, "NOT_IN_NAMES", "")
    assert files.unescape_name(files.escape_name(name)) == name


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            errno.EEXIST,
            "x.csv cannot be used: File exists; a file or folder of that name is there: choose another name",
        ),
        (
            errno.EACCES,
            "x.csv cannot be used: Permission denied; you may not read or write there: choose another folder",
        ),
        (errno.ENOENT, "x.csv cannot be used: No such file or directory; check the path"),
    ],
)
def test_errors_of_the_disk_say_what_to_do(code: int, text: str) -> None:
    assert files.explain_os_error(OSError(code, os.strerror(code), "x.csv")).startswith(text)
    assert files.explain_os_error(OSError("the cable is out")) == "the cable is out"
