"""Photographs are fetched from servers that behave well, break off, redirect, ask for patience, and lie."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_museum import Museum, a_photograph, break_off, open_museum, redirect, refuse, send, without_length
from PIL import Image
from typer.testing import CliRunner

from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import CollectionError, FetchError, InputError
from sst_retrieval.fetch import client as client_module
from sst_retrieval.fetch.client import Client, Manners
from sst_retrieval.fetch.networks import is_public, parse_address
from sst_retrieval.fetch.photographs import FetchReport, fetch_photographs

CERTIFICATE = Path(__file__).with_name("museum_test.pem")
HERE = Manners(per_second=1000, allow_http=True, allow_private=True, first_wait=0.01)
TAG = {"ETag": '"one"'}


@pytest.fixture
def museum() -> Iterator[Museum]:
    with open_museum() as server:
        yield server


def a_table(folder: Path, rows: dict[str, str], **columns: str) -> Path:
    """Ids and addresses; further columns are the same for every row."""
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["catalogNumber", "accessURI", *columns])
        for specimen, address in rows.items():
            writer.writerow([specimen, address, *columns.values()])
    return path


def fetch(folder: Path, rows: dict[str, str], manners: Manners = HERE, **options: Any) -> FetchReport:
    return fetch_photographs(a_table(folder, rows), folder / "photographs", manners=manners, **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def reasons(report: FetchReport) -> str:
    return "\n".join(each.reason for each in report.failures)


# ------------------------------------------------------------------------------------------------ all goes well


def test_photographs_come_with_a_table_that_a_build_takes(museum: Museum, tmp_path: Path) -> None:
    museum["/one"], museum["/b%20c.png"] = a_photograph(1), send(a_photograph(2, kind="PNG"), kind="image/png")
    table = a_table(
        tmp_path,
        {"A 1": f"{museum.base}/one", "B/2": f"{museum.base}/b c.png"},
        license="CC BY 4.0",
        rightsHolder="Museum",
        sex="female",
    )
    report = fetch_photographs(table, tmp_path / "photographs", manners=HERE)
    assert (report.fetched, report.kept, report.failures, report.no_licence) == (2, 0, [], 0)
    collection = read_collection(report.table)
    assert {each.image.name for each in collection.photographs} == {"A 1.jpg", "B%2F2.png"}
    assert (report.table.parent / "A 1.jpg").read_bytes() == a_photograph(1)
    first = rows_of(report.table)[0]
    assert (first["catalogNumber"], first["sex"], first["image_license"]) == ("A 1", "female", "CC BY 4.0")
    assert first["image_sha256"] == hashlib.sha256(a_photograph(1)).hexdigest()
    assert first["image_rightsHolder"] == "Museum"
    note = json.loads((tmp_path / "photographs" / "fetched.jsonl").read_text().splitlines()[0])
    assert (note["width"], note["height"], note["licence"]) == (64, 48, "CC BY 4.0")
    assert not (tmp_path / "photographs" / ".parts").exists()
    assert not (tmp_path / "photographs" / "failed.csv").exists()


def test_the_same_command_again_asks_for_nothing_that_is_there(museum: Museum, tmp_path: Path) -> None:
    museum["/1"], museum["/2"] = a_photograph(1), [refuse(404), send(a_photograph(2))]
    rows = {"A": f"{museum.base}/1", "B": f"{museum.base}/2"}
    first = fetch(tmp_path, rows)
    assert (first.fetched, len(first.failures)) == (1, 1)
    assert rows_of(tmp_path / "photographs" / "failed.csv")[0]["specimen"] == "B"
    asked = len(museum.paths())
    second = fetch(tmp_path, rows)
    assert (second.fetched, second.kept, second.failures) == (1, 1, [])
    assert museum.paths()[asked:] == ["/2"]
    assert not (tmp_path / "photographs" / "failed.csv").exists()


def test_a_file_that_was_changed_comes_again(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    rows = {"A": f"{museum.base}/1"}
    path = fetch(tmp_path, rows).table.with_name("A.jpg")
    path.write_bytes(a_photograph(1)[:-5])
    assert fetch(tmp_path, rows).fetched == 1
    damaged = bytearray(a_photograph(1))
    damaged[300] ^= 1
    path.write_bytes(damaged)  # The same size: only the checksum tells.
    assert fetch(tmp_path, rows).kept == 1
    assert fetch(tmp_path, rows, verify=True).fetched == 1
    assert path.read_bytes() == a_photograph(1)


def test_specimens_with_several_photographs_and_photographs_of_several_specimens(
    museum: Museum, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        museum[f"/{number}"] = a_photograph(number)
    both = f"{museum.base}/1 | {museum.base}/2"
    report = fetch(tmp_path, {"A": both, "B": f"{museum.base}/3", "C": f"{museum.base}/3", "a": f"{museum.base}/2"})
    found = [(row["catalogNumber"], row["image"]) for row in rows_of(report.table)]
    assert found == [("A", "A.jpg"), ("A", "A_2.jpg"), ("B", "B.jpg"), ("C", "B.jpg"), ("a", "A_2.jpg")]
    assert sorted(museum.paths()) == ["/1", "/2", "/3"]


def test_rows_without_an_address_are_kept_and_counted(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    report = fetch(tmp_path, {"A": f"{museum.base}/1", "B": ""})
    assert report.without == 1
    assert [row["image"] for row in rows_of(report.table)] == ["A.jpg", ""]


def test_a_table_without_addresses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"none of the columns .* holds web addresses"):
        fetch(tmp_path, {"A": "photographs/a.jpg"})


def test_a_darwin_core_archive(museum: Museum, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "meta.xml").write_text(
        '<archive xmlns="http://rs.tdwg.org/dwc/text/"><core rowType="http://rs.tdwg.org/dwc/terms/Occurrence" '
        'fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" ignoreHeaderLines="1">'
        "<files><location>o.txt</location></files>"
        '<id index="0"/><field index="1" term="http://rs.tdwg.org/dwc/terms/catalogNumber"/></core>'
        '<extension rowType="http://rs.gbif.org/terms/1.0/Multimedia" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" '
        'ignoreHeaderLines="1"><files><location>m.txt</location></files><coreid index="0"/>'
        '<field index="1" term="http://purl.org/dc/terms/type"/><field index="2" '
        'term="http://purl.org/dc/terms/identifier"/><field index="3" term="http://purl.org/dc/terms/license"/>'
        '<field index="4" term="http://purl.org/dc/terms/rightsHolder"/></extension></archive>'
    )
    (folder / "o.txt").write_text("id\tcatalogNumber\n7\tNHM 7\n8\tNHM 8\n")
    (folder / "m.txt").write_text(
        f"id\ttype\tidentifier\tlicense\trightsHolder\n7\tStillImage\t{museum.base}/7a\tCC0\tMuseum A\n"
        f"7\tStillImage\t{museum.base}/7b\tCC BY\tMuseum B\n8\tSound\t{museum.base}/song\tCC0\tX\n"
    )
    museum["/7a"], museum["/7b"] = a_photograph(1), a_photograph(2)
    report = fetch_photographs(folder, tmp_path / "photographs", manners=HERE)
    found = [(r["catalogNumber"], r["image"], r["image_license"]) for r in rows_of(report.table)]
    assert found == [("NHM 7", "NHM 7.jpg", "CC0"), ("NHM 7", "NHM 7_2.jpg", "CC BY"), ("NHM 8", "", "")]


def test_from_the_command_line(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    table = a_table(tmp_path, {"A": f"{museum.base}/1", "B": f"{museum.base}/2"})
    words = ["fetch", str(table), "--images", str(tmp_path / "out"), "--allow-http", "--allow-private"]
    done = CliRunner().invoke(app, [*words, "--per-second", "20", "--contact", "curator@museum.example"])
    assert done.exit_code == 1
    assert "1 photographs fetched" in done.output
    assert "404" in done.output
    assert "nobody says the licence" in done.output
    assert "curator@museum.example" in museum.headers("/1")[0]["User-Agent"]


# ------------------------------------------------------------------------------------------------ broken connections


def test_a_download_that_breaks_off_is_continued(museum: Museum, tmp_path: Path) -> None:
    body = a_photograph(1)
    museum["/1"] = [break_off(body, 1000, **TAG), send(body, **TAG)]
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert report.failures == []
    assert report.table.with_name("A.jpg").read_bytes() == body
    assert museum.headers("/1")[1]["Range"] == "bytes=1000-"


def test_a_file_that_changed_meanwhile_is_not_patched_together(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = [break_off(a_photograph(1), 1000, **TAG), send(a_photograph(2), ETag='"two"')]
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert report.table.with_name("A.jpg").read_bytes() == a_photograph(2)


def test_without_a_tag_it_begins_again(museum: Museum, tmp_path: Path) -> None:
    body = a_photograph(1)
    museum["/1"] = [break_off(body, 1000), send(body)]
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert report.table.with_name("A.jpg").read_bytes() == body
    assert "Range" not in museum.headers("/1")[1]


def test_the_next_run_goes_on_where_this_one_ended(museum: Museum, tmp_path: Path) -> None:
    body = a_photograph(1)
    museum["/1"] = [break_off(body, 1000, **TAG)]
    rows = {"A": f"{museum.base}/1"}
    report = fetch(tmp_path, rows)
    assert "broke off" in reasons(report)
    assert len(museum.paths()) == client_module.TRIES
    museum["/1"] = send(body, **TAG)
    assert fetch(tmp_path, rows).fetched == 1
    assert museum.headers("/1")[-1]["Range"] == "bytes=1000-"


def test_a_part_that_is_complete_already(museum: Museum, tmp_path: Path) -> None:
    body = a_photograph(1)
    museum["/1"] = [break_off(body, 1000, **TAG)]
    rows = {"A": f"{museum.base}/1"}
    fetch(tmp_path, rows)
    (part,) = (tmp_path / "photographs" / ".parts").glob("*.part")
    part.write_bytes(body)
    museum["/1"] = send(body, **TAG)
    assert fetch(tmp_path, rows).fetched == 1
    assert (tmp_path / "photographs" / "A.jpg").read_bytes() == body


@pytest.mark.parametrize("chunked", [True, False])
def test_a_length_that_is_not_said(museum: Museum, tmp_path: Path, chunked: bool) -> None:
    museum["/whole"] = without_length(a_photograph(1), chunked=chunked)
    museum["/cut"] = without_length(a_photograph(1)[:1500])
    report = fetch(tmp_path, {"A": f"{museum.base}/whole", "B": f"{museum.base}/cut"})
    assert [row["image"] for row in rows_of(report.table)] == ["A.jpg", ""]
    assert "damaged" in reasons(report)


def test_a_host_that_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rows = {f"A{number}": f"http://127.0.0.1:{port}/{number}" for number in range(6)}
    report = fetch(tmp_path, rows, Manners(1000, True, True, ignore_robots=True, first_wait=0.01))
    assert len(report.failures) == 6
    assert sum("has stopped answering" in each.reason for each in report.failures) == 6 - client_module.MAX_GIVEN_UP


# ------------------------------------------------------------------------------------------------ politeness


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(museum: Museum, tmp_path: Path, status: int) -> None:
    museum["/1"] = [refuse(status, Retry_After="1"), send(a_photograph(1))]
    assert fetch(tmp_path, {"A": f"{museum.base}/1"}).fetched == 1
    times = [moment for moment, path, _ in museum.asked if path == "/1"]
    assert times[1] - times[0] >= 0.95


def test_a_host_that_asks_for_long_rest_gets_it(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = refuse(429, Retry_After="86400")
    report = fetch(tmp_path, {name: f"{museum.base}/{name}" for name in ("1", "2", "3")})
    assert "1440 minutes of rest" in reasons(report)
    assert museum.paths() == ["/1"]


def test_one_request_at_a_time_and_pauses_between_them(museum: Museum, tmp_path: Path) -> None:
    for number in range(6):
        museum[f"/{number}"] = a_photograph(number)
    rows = {f"A{number}": f"{museum.base}/{number}" for number in range(6)}
    assert fetch(tmp_path, rows, Manners(10, True, True), hosts=4).fetched == 6
    times = [moment for moment, path, _ in museum.asked if path != "/robots.txt"]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.09
    assert museum.most_at_once == 1


def test_robots_txt_is_obeyed(museum: Museum, tmp_path: Path) -> None:
    museum["/robots.txt"] = send(
        b"User-agent: *\nDisallow: /private/\nAllow: /private/open*\nCrawl-delay: 0.3\n", kind="text/plain"
    )
    museum["/private/1"], museum["/private/open1"], museum["/2"] = (a_photograph(number) for number in (1, 2, 3))
    rows = {name: f"{museum.base}{name}" for name in ("/private/1", "/private/open1", "/2")}
    report = fetch(tmp_path, rows)
    assert [each.wanted.specimen for each in report.failures] == ["/private/1"]
    assert "robots.txt asks programs not to" in reasons(report)
    assert museum.paths() == ["/private/open1", "/2"]
    times = [moment for moment, path, _ in museum.asked if path != "/robots.txt"]
    assert times[1] - times[0] >= 0.28
    allowed = Manners(1000, True, True, ignore_robots=True)
    assert fetch(tmp_path, rows, allowed).failures == []


def test_a_robots_txt_that_cannot_be_had_allows_nothing(museum: Museum, tmp_path: Path) -> None:
    museum["/robots.txt"], museum["/1"] = refuse(500), a_photograph(1)
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert "nothing is fetched from there" in reasons(report)
    assert museum.paths() == []


# ---------------------------------------------------------------------------------------------- redirects and networks


def test_redirects_are_followed(museum: Museum, tmp_path: Path) -> None:
    museum["/1"], museum["/2"], museum["/3"] = redirect("/2", 301), redirect(f"{museum.base}/3", 307), a_photograph(1)
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert json.loads((tmp_path / "photographs" / "fetched.jsonl").read_text())["source"] == f"{museum.base}/3"
    assert report.fetched == 1
    museum["/round"] = redirect("/round")
    assert "redirected more than" in reasons(fetch(tmp_path, {"B": f"{museum.base}/round"}))


def test_private_networks_are_refused_before_anything_is_sent(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    report = fetch(tmp_path, {"A": f"{museum.base}/1"}, Manners(1000, allow_http=True))
    assert "private network" in reasons(report)
    assert museum.asked == []


def test_a_redirect_into_a_private_network_is_refused(
    museum: Museum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first server counts as public here, the one it leads to does not."""
    real = socket.getaddrinfo
    public = {"museum.test"}

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "museum.test" else host, *rest, **more)

    from sst_retrieval.fetch import networks

    monkeypatch.setattr(networks.socket, "getaddrinfo", resolve)
    real_resolve = networks.resolve
    monkeypatch.setattr(
        client_module,
        "resolve",
        lambda address, allow_private: real_resolve(address, allow_private=address.host in public),
    )
    museum["/1"] = redirect(f"{museum.base}/inside")
    museum["/inside"] = a_photograph(1)
    report = fetch(tmp_path, {"A": f"http://museum.test:{museum.port}/1"}, Manners(1000, allow_http=True))
    assert "inside a private network" in reasons(report)
    assert museum.paths() == ["/1"]


def test_https_with_the_certificate_of_the_name_over_a_checked_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = socket.getaddrinfo, []

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host.endswith(".test") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with open_museum(CERTIFICATE) as museum:
        museum["/1"] = museum["/2"] = a_photograph(1)
        trusting = Manners(1000, allow_private=True, certificates=str(CERTIFICATE), first_wait=0.01)
        report = fetch(tmp_path, {"A": f"https://museum.test:{museum.port}/1"}, trusting)
        assert reasons(report) == ""
        assert museum.headers("/1")[0]["Host"] == f"museum.test:{museum.port}"
        # Resolved once, and connected to what was checked: the number, not the name.
        assert asked.count("museum.test") == 1
        other = fetch(tmp_path, {"B": f"https://other.test:{museum.port}/2"}, trusting)
        assert "certificate" in reasons(other)
        stranger = fetch(tmp_path, {"C": f"https://museum.test:{museum.port}/2"}, Manners(1000, allow_private=True))
        assert "certificate that is not trusted" in reasons(stranger)


def test_a_proxy_is_asked_and_reaches_no_private_network(
    museum: Museum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", museum.base)
    museum["http://nowhere.invalid/1"] = a_photograph(1)
    museum["http://10.1.2.3/1"] = a_photograph(2)
    rows = {"A": "http://nowhere.invalid/1", "B": "http://10.1.2.3/1"}
    report = fetch(tmp_path, rows, Manners(1000, allow_http=True))
    assert report.fetched == 1
    assert "private network" in reasons(report)
    assert museum.paths() == ["http://nowhere.invalid/robots.txt", "http://nowhere.invalid/1"]


def test_a_table_without_groups_is_told_which_column_could_be_them(museum: Museum, tmp_path: Path) -> None:
    for number in (1, 2):
        museum[f"/{number}"] = a_photograph(number)
    table = tmp_path / "table.csv"
    table.write_text(f"catalogNumber,image,species\nA,{museum.base}/1,Aus albus\nB,{museum.base}/2,Bus niger\n")
    report = fetch_photographs(table, tmp_path / "out", manners=HERE)
    assert "build with --group-column species" in report.text()
    table.write_text(table.read_text().replace("species", "group"))
    assert "--group-column" not in fetch_photographs(table, tmp_path / "out", manners=HERE).text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://museum.example/1.jpg", "no address of a web server"),
        ("https://user:secret@museum.example/1", "password"),
        ("https://", "no address of a web server"),
        ("https://[::1/", "no web address"),
        ("https://museum.example:port/", "no web address"),
    ],
)
def test_other_addresses_are_refused(text: str, reason: str) -> None:
    with pytest.raises(FetchError, match=reason) as found:
        parse_address(text, allow_http=False)
    assert "secret" not in str(found.value)


def test_plain_http_is_asked_as_https_and_no_redirect_leads_back() -> None:
    assert (
        str(parse_address("http://museum.example:80/a?b=c d", allow_http=False)) == "https://museum.example/a?b=c%20d"
    )
    secure = parse_address("https://museum.example/", allow_http=False)
    with pytest.raises(FetchError, match="leads to plain http"):
        parse_address("http://museum.example/", allow_http=False, base=secure)
    assert str(parse_address("../x.jpg", allow_http=False, base=secure)) == "https://museum.example/x.jpg"
    assert parse_address("https://Müseum.example/", allow_http=False).host == "xn--mseum-kva.example"


@pytest.mark.parametrize(
    "number",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
    ],
)
def test_addresses_that_are_not_public(number: str) -> None:
    assert not is_public(number)


@pytest.mark.parametrize("number", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_that_are_public(number: str) -> None:
    assert is_public(number)


# ------------------------------------------------------------------------------------------------ lies


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (send(b"<!DOCTYPE html><title>Sign in</title>", kind="image/jpeg"), "web page"),
        (send(b"<html>not found</html>", kind="text/html"), "web page"),
        (send(b"MZ" + bytes(3000), kind="image/jpeg"), "no photograph"),
        (send(b"", kind="image/jpeg"), "no photograph"),
        (send(a_photograph(1)[:300], kind="image/jpeg"), "damaged"),
        (send(a_photograph(1, (1, 1)), kind="image/jpeg"), "1 x 1 pixels"),
        (send(b"x", Content_Encoding="gzip"), "compressed"),
        (send(b"{}", kind="application/json"), "neither a IIIF manifest"),
        (send(b"{", kind="application/json"), "no JSON"),
        (send(b"[]", kind="application/json"), "neither a IIIF manifest"),
        (refuse(403), "403"),
        (refuse(410), "410"),
    ],
)
def test_what_is_no_photograph_is_said_to_be_none(museum: Museum, tmp_path: Path, answer: Any, reason: str) -> None:
    museum["/1"] = answer
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    assert reason in reasons(report)
    assert len(museum.paths()) == 1, "trying again does not help"
    assert rows_of(report.table)[0]["image"] == ""
    assert not list((tmp_path / "photographs").glob("A*"))
    assert not (tmp_path / "photographs" / ".parts").exists()


def test_the_type_is_that_of_the_bytes(museum: Museum, tmp_path: Path) -> None:
    museum["/1.jpg"] = send(a_photograph(1, kind="PNG"), kind="image/jpeg")
    report = fetch(tmp_path, {"A": f"{museum.base}/1.jpg"})
    assert rows_of(report.table)[0]["image"] == "A.png"


@pytest.mark.parametrize("said", [True, False])
def test_a_file_that_is_too_large(museum: Museum, tmp_path: Path, said: bool) -> None:
    body = a_photograph(1, (300, 300))
    assert len(body) > 50_000
    museum["/1"] = send(body) if said else without_length(body, chunked=True)
    report = fetch(tmp_path, {"A": f"{museum.base}/1"}, max_megabytes=0.05)
    assert "--max-mb" in reasons(report)
    kept = [path.stat().st_size for path in (tmp_path / "photographs").rglob("*.part")]
    assert sum(kept) == 0


# ------------------------------------------------------------------------------------------------ the folder


def test_two_runs_do_not_write_into_one_folder(museum: Museum, tmp_path: Path) -> None:
    waiting, arrived = threading.Event(), threading.Event()

    def slow(request: Any) -> None:
        arrived.set()
        waiting.wait(20)
        send(a_photograph(1))(request)

    museum["/1"] = slow
    rows = {"A": f"{museum.base}/1"}
    first = threading.Thread(target=fetch, args=(tmp_path, rows))
    first.start()
    try:
        assert arrived.wait(20)
        with pytest.raises(InputError, match="another run is fetching"):
            fetch(tmp_path, rows)
    finally:
        waiting.set()
        first.join()
    assert fetch(tmp_path, rows).kept == 1


def test_a_run_that_was_killed_while_it_wrote_its_journal(museum: Museum, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        museum[f"/{number}"] = a_photograph(number)
    rows = {f"A{number}": f"{museum.base}/{number}" for number in (1, 2)}
    fetch(tmp_path, rows)
    journal = tmp_path / "photographs" / "fetched.jsonl"
    journal.write_text(journal.read_text()[:-20])
    assert fetch(tmp_path, rows | {"A3": f"{museum.base}/3"}).fetched == 2
    journal.write_text("{}\n" + journal.read_text())
    with pytest.raises(InputError, match="line 1 is damaged"):
        fetch(tmp_path, rows)


def test_a_journal_that_names_files_elsewhere_is_refused(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    fetch(tmp_path, {"A": f"{museum.base}/1"})
    journal = tmp_path / "photographs" / "fetched.jsonl"
    journal.write_text(journal.read_text().replace('"A.jpg"', '"../A.jpg"'))
    with pytest.raises(InputError, match="damaged"):
        fetch(tmp_path, {"A": f"{museum.base}/1"})


def test_its_own_table_is_not_overwritten(museum: Museum, tmp_path: Path) -> None:
    museum["/1"] = a_photograph(1)
    report = fetch(tmp_path, {"A": f"{museum.base}/1"})
    with pytest.raises(InputError, match="the one that it was made from"):
        fetch_photographs(report.table, report.table.parent, image_column="image_address", manners=HERE)


def test_a_photograph_with_other_pixels_than_its_header_says_is_not_decoded(museum: Museum, tmp_path: Path) -> None:
    body = bytearray(a_photograph(1, kind="PNG"))
    body[16:24] = (60_000).to_bytes(4, "big") * 2
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    museum["/1"] = send(bytes(body), kind="image/png")
    assert "pixels" in reasons(fetch(tmp_path, {"A": f"{museum.base}/1"}))


def test_a_disk_that_is_full_ends_the_run(museum: Museum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    museum["/1"] = a_photograph(1)
    from sst_retrieval.fetch.journal import Journal

    def full(self: Journal, entry: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path, {"A": f"{museum.base}/1"})


def test_a_stopped_client_waits_no_longer() -> None:
    from sst_retrieval.fetch.politeness import StoppedError

    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        Client(Manners(), stop).get("https://museum.example/", lambda answer, source: None, dict)


def test_photographs_open(museum: Museum, tmp_path: Path) -> None:
    for kind, suffix in (("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp"), ("GIF", "gif"), ("JPEG2000", "jp2")):
        museum[f"/{suffix}"] = send(a_photograph(1, kind=kind), kind="application/octet-stream")
    names = ("webp", "tif", "bmp", "gif", "jp2")
    report = fetch(tmp_path, {name: f"{museum.base}/{name}" for name in names})
    assert reasons(report) == ""
    for row in rows_of(report.table):
        assert row["image"].endswith(row["catalogNumber"])
        with Image.open(report.table.with_name(row["image"])) as picture:
            assert picture.size == (64, 48)
