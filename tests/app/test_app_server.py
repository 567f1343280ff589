"""The app as a server: whom it answers, which port it takes, and how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from browser import open_page
from fakes import a_collection_of, build_fake
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app as commands

APP = Path(__file__).resolve().parents[2] / "app"
if str(APP) not in sys.path:
    sys.path.append(str(APP))

PATIENCE = 120.0


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    build_fake(a_collection_of(folder / "collection", [("r0", "red"), ("r1", "red")]), folder / "index")
    return folder / "index"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(index: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """The app, started as a person starts it: its process, what it says, and its port."""
    command = [sys.executable, "-m", "sst_retrieval", "app", str(index), *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(sst.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True,
                          stdout=subprocess.DEVNULL) as process:  # fmt: skip
        too_late = threading.Timer(PATIENCE, process.kill)
        too_late.start()
        try:
            said = ""
            for line in process.stderr or ():
                said += line
                if line.startswith("open http://"):
                    break
            assert "open http://" in said, said
            yield process, said, int(said.rsplit("open http://", 1)[1].split(" ")[0].rsplit(":", 1)[1])
        finally:
            too_late.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ask(port: int, path: str = "/", **headers: str) -> int:
    """Ask with the headers given and no other; return the status."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        lines = [
            f"GET {path} HTTP/1.1",
            "Connection: close",
            *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items()),
        ]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status


def shake_hands(port: int, **headers: str) -> int:
    """Ask for a WebSocket; 101 is a yes."""
    about = {"Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        lines = [f"{n.replace('_', '-')}: {v}" for n, v in {**about, **headers}.items()]
        connection.sendall(
            ("\r\n".join(["GET /_stcore/stream HTTP/1.1", "Connection: Upgrade", *lines]) + "\r\n\r\n").encode()
        )
        return int(connection.recv(64).split(b" ")[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(done: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_only_its_own_names_are_answered_and_a_signal_ends_it(index: Path) -> None:
    with started(index, "--port", str(free_port())) as (process, _, port):
        for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost."):
            assert ask(port, Host=f"{name}:{port}") == 200
            assert shake_hands(port, Host=f"{name}:{port}", Origin=f"http://{name}:{port}") == 101
        assert shake_hands(port, Host=f"localhost:{port}") == 101
        for path in ("/", "/_stcore/health", "/_stcore/host-config", "/media/x", "/static/x"):
            assert ask(port, path, Host=f"evil.example:{port}") == 403
        evil = (
            "evil.example",
            "localhost.evil.example",
            "localhost@evil.example",
            "evil.example#localhost",
            "",
            "1.2.3.4",
        )
        for name in evil:
            assert ask(port, Host=f"{name}:{port}") == 403, name
            assert shake_hands(port, Host=f"{name}:{port}", Origin=f"http://{name}:{port}") == 403, name
        assert ask(port, X="y") in (400, 403)  # No Host at all.
        for origin in ("http://evil.example", f"http://localhost:{port + 1}", "null"):
            assert shake_hands(port, Host=f"localhost:{port}", Origin=origin) == 403, origin
            assert ask(port, Host=f"localhost:{port}", Origin=origin) == 403, origin
        open_page = socket.create_connection(("127.0.0.1", port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
        open_page.close()
        assert wait_until(lambda: is_free(port))


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP ends what is started now, also where the tests themselves were started by `nohup`, which it spares."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_the_command_frees_its_port(index: Path, number: signal.Signals, hangup: None) -> None:
    with started(index, "--port", str(free_port())) as (process, _, port):
        os.kill(process.pid, number)  # Of the command alone, not of its process group.
        process.wait(30)
        assert wait_until(lambda: is_free(port)), "something still answers"


def test_its_end_leaves_the_terminal_as_it_is(browser: Any, index: Path) -> None:
    with started(index, "--port", str(free_port())) as (process, _, port):
        page = open_page(browser)
        page.goto(f"http://localhost:{port}")
        page.get_by_role("heading", name="2 specimens").wait_for()
        page.close()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_that_is_taken(index: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        result = CliRunner().invoke(commands, ["app", str(index), "--port", str(taken)])
        assert result.exit_code == 2
        assert f"port {taken} is taken" in result.stderr
        assert "open http" not in result.output
    assert (
        "is no address of this computer"
        in CliRunner().invoke(commands, ["app", str(index), "--address", "192.0.2.1"]).stderr
    )


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "drawer.museum.example"])
def test_who_lets_others_look_says_at_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(commands, ["app", "--address", address])
    assert result.exit_code == 2
    assert f"sst-retrieval app INDEX --address {address}" in " ".join(result.stderr.split())
    assert "open http" not in result.output


@pytest.mark.parametrize(("address", "refused"), [("0.0.0.0", True), ("localhost", False)])
def test_streamlit_run_shows_others_a_named_index_only(
    browser: Any, tmp_path: Path, address: str, refused: bool
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(APP / "Home.py"), "--server.port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(sst.__file__).parents[1])}
    with subprocess.Popen([*command, "--server.address", address], env=environment, cwd=tmp_path,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            assert wait_until(lambda: not is_free(port), PATIENCE)
            page = open_page(browser)
            page.goto(f"http://localhost:{port}")
            page.get_by_text("others can reach this page" if refused else "Where do you want to begin?").wait_for()
            assert page.get_by_role("button").count() == 0 or not refused
            page.close()
        finally:
            process.kill()


def test_a_wrong_table_of_scales_is_said_before_the_app_starts(index: Path, tmp_path: Path) -> None:
    (tmp_path / "scales.csv").write_text("group,mmPerPixel\nred,large\n", encoding="utf-8")
    result = CliRunner().invoke(commands, ["app", str(index), "--scale", str(tmp_path / "scales.csv")])
    assert result.exit_code == 2
    assert "scales.csv" in result.stderr


def test_without_a_port_the_next_free_one_is_taken(index: Path) -> None:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", 8501))
            other.listen()
        except OSError:
            pass  # Somebody else has it; all the better.
        with started(index, "--address", "127.0.0.1") as (_, said, port):
            assert port > 8501
            assert f"port 8501 is taken by another program; {port} is used" in said
            assert ask(port, Host=f"127.0.0.1:{port}") == 200


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("drawer.museum.example", None, True),
        ("drawer.museum.example:8501", "http://drawer.museum.example:8501", True),
        ("localhost:8501", "https://drawer.museum.example", True),  # Of the web server in front.
        ("10.1.2.3:8501", "http://10.1.2.3:8501", True),
        ("[fe80::1]:8501", None, True),
        ("localhost:8501", "http://10.1.2.3", False),
        ("evil.example", None, False),
        ("evil.example", "http://evil.example", False),
        ("localhost:x", None, False),
        ("localhost/", None, False),
    ],
)
def test_names_that_the_person_allows(host: str, origin: str | None, allowed: bool) -> None:
    from sst_app.host_check import HostCheck
    from sst_app.server import list_names

    async def nothing(*_: Any) -> None: ...

    named = ["Drawer.museum.example"]
    check = HostCheck(nothing, [*list_names("0.0.0.0"), *named], named, any_address=True)
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin is not None else [])]
    assert check.allows(headers) is allowed
    assert not check.allows([*headers, (b"host", b"localhost")])
    assert check.allows([(b"host", socket.gethostname().encode())])
