"""Weights come from a web server of the test's own: whole, in pieces, cut short, or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sst_retrieval.cli.main import app
from sst_retrieval.errors import ModelError
from sst_retrieval.nets import weights

CONTENT = bytes(range(256)) * 12_000  # 3 MB: more than a block.


@dataclass
class Behaviour:
    """How the server answers."""

    content: bytes = CONTENT
    tag: str = '"one"'
    cut_after: int | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        how, start = self.behaviour, 0
        wanted = self.headers.get("Range", "")
        how.asked.append(wanted)
        if how.status != 200:
            self.send_error(how.status)
            return
        if wanted and self.headers.get("If-Range") == how.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(how.content):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = how.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", how.tag)
        self.end_headers()
        self.wfile.write(body if how.cut_after is None else body[: how.cut_after])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Behaviour]:
    """A server with one file, which two names of weights point to; only one of them has a known checksum."""
    behaviour = Behaviour()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"behaviour": behaviour}))
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))  # Seconds until it notices that it shall end.
    thread.start()
    url = f"http://127.0.0.1:{http.server_address[1]}/file"
    known = replace(
        weights.WEIGHTS["sam2.1_hiera_tiny"],
        url=url,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    unknown = replace(weights.WEIGHTS["bioclip"], url=url)
    monkeypatch.setattr(weights, "WEIGHTS", {each.name: each for each in (known, unknown)})
    monkeypatch.setenv("SST_RETRIEVAL_HOME", str(tmp_path / "home"))
    yield behaviour
    http.shutdown()
    thread.join()
    http.server_close()


TINY = "sam2.1_hiera_tiny"


def hidden() -> list[str]:
    return [path.name for path in weights.folder().glob(".*") if path.suffix != ".lock"]


def test_a_file_is_downloaded_once(server: Behaviour) -> None:
    steps: list[tuple[int, int | None]] = []
    path = weights.fetch(TINY, lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path == weights.find(TINY) == weights.get_path(TINY)
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert weights.fetch(TINY) == path
    assert len(server.asked) == 1
    assert hidden() == []


def test_a_download_that_was_cut_goes_on_where_it_stopped(server: Behaviour) -> None:
    server.cut_after = 1_000_000
    with pytest.raises(ModelError, match="cut after 1,000,000 of 3,072,000 bytes; the same command goes on"):
        weights.fetch(TINY)
    assert not weights.get_path(TINY).exists()
    server.cut_after = None
    steps: list[tuple[int, int | None]] = []
    assert weights.fetch(TINY, lambda done, total: steps.append((done, total))).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000000-"]
    assert steps[0] == (1_000_000, len(CONTENT))
    assert hidden() == []


def test_a_download_starts_anew_when_the_servers_file_has_changed(server: Behaviour) -> None:
    server.content, server.cut_after, server.tag = b"older" * 400_000, 1_000_000, '"older"'
    with pytest.raises(ModelError, match="cut after"):
        weights.fetch(TINY)
    server.content, server.cut_after, server.tag = CONTENT, None, '"one"'
    assert weights.fetch(TINY).read_bytes() == CONTENT


def test_without_an_entity_tag_a_download_starts_anew(server: Behaviour) -> None:
    server.tag, server.cut_after = "", 1_000_000
    with pytest.raises(ModelError, match="cut after"):
        weights.fetch(TINY)
    server.cut_after = None
    assert weights.fetch(TINY).read_bytes() == CONTENT
    assert server.asked == ["", ""]


def test_another_file_than_expected_is_not_kept(server: Behaviour) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(ModelError, match=r"is not sam2.1_hiera_tiny: 26 bytes.*nothing was kept"):
        weights.fetch(TINY)
    assert hidden() == []
    assert not weights.get_path(TINY).exists()


def test_a_checksum_that_nobody_knew_is_noted_and_then_holds(server: Behaviour) -> None:
    assert weights.get_checksum("bioclip") is None
    path = weights.fetch("bioclip")
    assert weights.get_checksum("bioclip") == hashlib.sha256(CONTENT).hexdigest()
    path.unlink()
    server.content = b"changed"
    with pytest.raises(ModelError, match="is not bioclip"):
        weights.fetch("bioclip")


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses_is_said_with_what_to_do(server: Behaviour, status: int) -> None:
    server.status = status
    with pytest.raises(ModelError, match=rf"answers {status}[\s\S]*put it here as\n.*sam2.1_hiera_tiny.pt"):
        weights.fetch(TINY)


def test_offline_it_says_which_file_to_put_where(server: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = replace(weights.WEIGHTS[TINY], url="http://127.0.0.1:9/file")
    monkeypatch.setattr(weights, "WEIGHTS", {TINY: offline})
    with pytest.raises(ModelError, match="could not be downloaded") as failure:
        weights.fetch(TINY)
    assert str(weights.get_path(TINY)) in str(failure.value)
    with pytest.raises(ModelError, match="not on this computer") as failure:
        weights.find(TINY)
    assert offline.url in str(failure.value)
    weights.get_path(TINY).write_bytes(b"copied by hand")
    assert weights.find(TINY) == weights.get_path(TINY)


def test_a_path_is_found_and_nonsense_is_not(server: Behaviour, tmp_path: Path) -> None:
    own = tmp_path / "own.pt"
    own.touch()
    assert weights.find(str(own)) == own
    with pytest.raises(ModelError, match="neither a file nor a name"):
        weights.find("sam3")
    with pytest.raises(ModelError, match="is a folder"):
        weights.find(str(tmp_path))
    with pytest.raises(ModelError, match=r"bioclip are of another kind of model; give one of sam2\.1_hiera_tiny$"):
        weights.find("bioclip", "sam2")
    with pytest.raises(ModelError, match=r"give the path of a checkpoint, or one of bioclip$"):
        weights.find("sam3", "openclip")
    with pytest.raises(ModelError, match="no weights 'sam3'; choose one of sam2"):
        weights.fetch("sam3")


def test_the_command_line_lists_fetches_and_finds(server: Behaviour) -> None:
    run = CliRunner().invoke
    listed = run(app, ["weights", "list"]).output
    assert "not here" in listed
    assert "Apache-2.0" in listed
    assert "SHA-256 not known" in listed
    missing = run(app, ["weights", "path", TINY])
    assert (missing.exit_code, "it is not there yet" in missing.stderr) == (0, True)
    fetched = run(app, ["weights", "fetch", TINY])
    assert fetched.exit_code == 0
    assert run(app, ["weights", "path", TINY]).stdout.strip() == str(weights.get_path(TINY))
    assert f"here: {weights.get_path(TINY)}" in run(app, ["weights", "list"]).output
