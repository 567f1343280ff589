"""Fetch the photographs that a table names: `sst-retrieval fetch`.

    FOLDER/
      BMNH_1234.jpg  BMNH_1234_2.jpg     named after the specimen
      collection.csv                     the table with the files' names: what `sst-retrieval build` takes
      fetched.jsonl                      address, checksum, size, licence and rights holder of each file
      failed.csv                         what could not be had, and why; without failures it is not there
      .parts/                            what was received of unfinished files

1. Addresses are grouped by host. A thread takes a host at a time, so hosts are asked side by side, each politely.
2. What the journal has is left as it is. An address in the Image API of IIIF is asked for the wanted size; a manifest
   becomes its images.
3. A file appears under its name when it is complete and checked; then the journal gets its line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from sst_retrieval import provenance
from sst_retrieval.errors import FetchError, InputError
from sst_retrieval.fetch import iiif
from sst_retrieval.fetch.client import Client, Manners
from sst_retrieval.fetch.journal import Fetched, Journal
from sst_retrieval.fetch.photograph_download import Received, download
from sst_retrieval.fetch.politeness import StoppedError
from sst_retrieval.fetch.wanted import Wanted, WantedTable, read_wanted
from sst_retrieval.files import remove, write_text

TABLE_NAME, FAILED_NAME, PARTS_NAME = "collection.csv", "failed.csv", ".parts"
OWN_COLUMNS = ("image", "image_address", "image_sha256", "image_license", "image_rightsHolder", "image_label")
"""Columns that `collection.csv` has besides those of the table; a column of the table that is called so is replaced."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A photograph that could not be had.

    Attributes:
        wanted: what the table asked for.
        reason: why not.
    """

    wanted: Wanted
    reason: str


@dataclass(slots=True)
class FetchReport:
    """What a run did.

    Attributes:
        table: the table that was written.
        fetched: photographs that came in this run.
        kept: photographs that were there already.
        failures: what could not be had.
        without: rows of the table that name no web address.
        no_licence: photographs of which neither the table nor a manifest says the licence.
        received: bytes, in this run.
        stopped: whether the run was stopped before its end.
        groups: a column that could sort the specimens into groups, where there is no column `group`; "" if none can.
    """

    table: Path
    fetched: int = 0
    kept: int = 0
    failures: list[Failure] = field(default_factory=list)
    without: int = 0
    no_licence: int = 0
    received: int = 0
    stopped: bool = False
    groups: str = ""

    def text(self) -> str:
        """Return the report for a person."""
        lines = [f"{self.fetched:,} photographs fetched ({self.received / 1e6:,.1f} MB), {self.kept:,} were there"]
        if self.failures:
            lines.append(f"{len(self.failures):,} could not be had; {self.table.with_name(FAILED_NAME)} says why:")
            lines += [f"  {count:,} x {reason}" for reason, count in count_reasons(self.failures)[:5]]
        if self.without:
            lines.append(f"{self.without:,} rows name no web address")
        if self.no_licence:
            lines.append(f"of {self.no_licence:,} photographs nobody says the licence: ask before you publish them")
        if self.groups:
            lines.append(
                f"the table has no column `group`; if one annotated specimen serves one {self.groups}, build with "
                f"--group-column {self.groups}"
            )
        if self.stopped:
            lines.append("stopped; the same command goes on from here")
        return "\n".join(lines)


@dataclass(slots=True)
class _Run:
    """What the threads of a run share."""

    client: Client
    journal: Journal
    folder: Path
    side: int | None
    max_bytes: int
    verify: bool
    stop: threading.Event
    lock: threading.Lock = field(default_factory=threading.Lock)
    found: dict[int, list[Fetched]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    done: int = 0
    fetched: int = 0
    kept: int = 0
    received: int = 0


def fetch_photographs(
    table: Path,
    folder: Path,
    *,
    side: int | None = None,
    image_column: str | None = None,
    id_column: str | None = None,
    limit: int | None = None,
    hosts: int = 4,
    max_megabytes: float = 500,
    verify: bool = False,
    manners: Manners | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> FetchReport:
    """Fetch the photographs that a table names, and write a table with the names of their files.

    Run again, it goes on where it stopped, and tries again what failed.

    Args:
        table: a table with web addresses (.csv, .tsv, .txt, .parquet), or a Darwin Core Archive.
        folder: where the files go; it is made.
        side: longest side in pixels, of photographs that a IIIF server sends; None for the largest there is.
        image_column: column of the addresses, if not a usual one.
        id_column: column of the specimens' ids, if not a usual one.
        limit: how many addresses of the table are fetched, from its beginning; None for all.
        hosts: how many hosts are asked at the same time.
        max_megabytes: a larger file is not taken.
        verify: compute the checksums of files that are there already, instead of comparing sizes.
        manners: how servers are asked.
        progress: is called with ("fetching", photographs done, photographs in all).

    Returns:
        What was done, and what could not be had.

    Raises:
        CollectionError: the table cannot be read, or names no web address.
        InputError: another run writes to the folder, or its journal is damaged.
        OSError: the disk does not take the files.
    """
    asked = read_wanted(table, image_column=image_column, id_column=id_column)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TABLE_NAME).exists() and table.exists() and (folder / TABLE_NAME).samefile(table):
        raise InputError(f"{table} is the table that a run writes; give the one that it was made from")
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _fetch(
                asked,
                asked.wanted[:limit],
                folder,
                side=side,
                hosts=hosts,
                max_bytes=int(max_megabytes * 1e6),
                verify=verify,
                manners=manners or Manners(),
                progress=progress or (lambda stage, done, total: None),
            )
    except Timeout as error:
        raise InputError(f"another run is fetching into {folder}; wait for it, or choose another folder") from error


def _fetch(
    asked: WantedTable,
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    side: int | None,
    hosts: int,
    max_bytes: int,
    verify: bool,
    manners: Manners,
    progress: Callable[[str, int, int], None],
) -> FetchReport:
    stop = threading.Event()
    run = _Run(Client(manners, stop), Journal(folder), folder, side, max_bytes, verify, stop)
    (folder / PARTS_NAME).mkdir(exist_ok=True)
    # Rows that name the same photograph get the same file.
    by_address: dict[str, int] = {}
    for position, each in enumerate(wanted):
        by_address.setdefault(each.address, position)
    by_host: dict[str, list[int]] = {}
    for address, position in by_address.items():
        by_host.setdefault(_host_of(address), []).append(position)
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for positions in by_host.values():
        waiting.put(positions)

    def work() -> None:
        while not stop.is_set():
            try:
                positions = waiting.get_nowait()
            except queue.Empty:
                return
            for position in positions:
                if stop.is_set():
                    return
                _fetch_wanted(run, position, wanted[position])
                with run.lock:
                    run.done += 1

    stopped = False
    with ThreadPoolExecutor(max_workers=max(1, min(hosts, len(by_host)))) as threads:
        running = {threads.submit(work) for _ in range(max(1, min(hosts, len(by_host))))}
        try:
            open_ends = running
            while open_ends:
                _, open_ends = wait(open_ends, timeout=0.2)
                progress("fetching", run.done, len(by_address))
                if any(thread.done() and thread.exception() is not None for thread in running):
                    stop.set()  # A full disk, say: nobody goes on.
        except KeyboardInterrupt:
            stopped = True
            stop.set()
    for thread in running:
        if (error := thread.exception()) is not None:
            raise error
    return _write_results(run, asked, wanted, by_address, stopped=stopped)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return ""


def _fetch_wanted(run: _Run, position: int, wanted: Wanted) -> None:
    """Fetch what one address of the table means: a photograph, or those of a manifest."""
    found: list[Fetched] = []
    try:
        _fetch_address(run, wanted, wanted.address, found, iiif.ManifestImage("", None, "", "", ""))
    except FetchError as error:
        with run.lock:
            run.failures[position] = str(error)
    except StoppedError:
        pass  # What came until then counts.
    with run.lock:
        run.found[position] = found


def _fetch_address(
    run: _Run, wanted: Wanted, address: str, found: list[Fetched], image: iiif.ManifestImage, *, nested: bool = False
) -> None:
    """Fetch an address; what it turns out to be decides. `found` gets each photograph as soon as it is there.

    Raises:
        FetchError: it cannot be had.
    """
    before = run.journal.find(address, run.side, verify=run.verify)
    if before is not None:
        with run.lock:
            run.kept += 1
        found.append(before)
        return
    target, base = address, image.service or iiif.find_image_base(address)
    if base is not None and (run.side is not None or address.endswith("/info.json")):
        information = _read_document(run, f"{base}/info.json")
        target = iiif.make_image_address(information, base, run.side)
    received = _receive(run, target, address)
    if received.document is None:
        found.append(_keep(run, wanted, address, received, image))
        return
    document = iiif.parse_document(received.document, received.address)
    if nested:
        raise FetchError(f"{address} is named as an image by a manifest, but is a document")
    if iiif.is_image_information(document):
        base = address.removesuffix("/").removesuffix("/info.json")
        target = iiif.make_image_address(document, base, run.side)
        inner = iiif.ManifestImage(target, None, "", "", "")
        _fetch_address(run, wanted, target, found, inner, nested=True)
        return
    for each in iiif.list_manifest_images(document, received.address):
        _fetch_address(run, wanted, each.address, found, each, nested=True)


def _read_document(run: _Run, address: str) -> dict[str, object]:
    received = _receive(run, address, address)
    if received.document is None:
        if received.path is not None:
            remove(received.path)
        raise FetchError(f"{address} should describe an image, and is a photograph")
    return dict(iiif.parse_document(received.document, received.address))


def _receive(run: _Run, target: str, address: str) -> Received:
    # By the address and the size: another size must not continue the file of this one.
    name = hashlib.sha256(f"{run.side} {target}".encode()).hexdigest()[:24]
    received = download(run.client, target, run.folder / PARTS_NAME / f"{name}.part", max_bytes=run.max_bytes)
    with run.lock:
        run.received += received.size
    return received


def _keep(run: _Run, wanted: Wanted, address: str, received: Received, image: iiif.ManifestImage) -> Fetched:
    """Give a complete file its name and write it down."""
    assert received.path is not None
    name = run.journal.claim(wanted.stem(), received.suffix, address, run.side)
    received.path.replace(run.folder / name)
    entry = Fetched(
        address=address,
        side=run.side,
        file=name,
        source=received.address,
        sha256=received.sha256,
        bytes=received.size,
        height=received.height,
        width=received.width,
        licence=image.rights or wanted.licence,
        holder=image.attribution or wanted.holder,
        label=image.label,
        time=provenance.now(),
    )
    run.journal.append(entry)
    with run.lock:
        run.fetched += 1
    return entry


# --------------------------------------------------------------------------------------------------- what is written


def _write_results(
    run: _Run, asked: WantedTable, wanted: Sequence[Wanted], by_address: dict[str, int], *, stopped: bool
) -> FetchReport:
    failures = [
        Failure(each, run.failures[by_address[each.address]])
        for each in wanted
        if by_address[each.address] in run.failures
    ]
    found = [run.found.get(by_address[each.address], []) for each in wanted]
    path = run.folder / TABLE_NAME
    write_text(path, _format_table(asked, wanted, found))
    if failures:
        write_text(run.folder / FAILED_NAME, _format_failures(asked, failures))
    else:
        remove(run.folder / FAILED_NAME)
    if not any((run.folder / PARTS_NAME).iterdir()):
        remove(run.folder / PARTS_NAME)
    return FetchReport(
        table=path,
        fetched=run.fetched,
        kept=run.kept,
        failures=failures,
        without=len(asked.without),
        no_licence=len({each.file for some in found for each in some if not each.licence}),
        received=run.received,
        stopped=stopped,
        groups=_find_groups(asked.table.columns),
    )


def _find_groups(columns: Mapping[str, Sequence[object]]) -> str:
    """Find a column that could sort specimens into groups, for a table without one that does."""
    names = {name.casefold(): name for name in columns}
    if "group" in names:
        return ""
    possible = (names.get(name) for name in ("species", "scientificname", "genus", "verbatimscientificname"))
    return next((name for name in possible if name is not None and len(set(columns[name]) - {None}) > 1), "")


def _format_table(asked: WantedTable, wanted: Sequence[Wanted], found: Sequence[Sequence[Fetched]]) -> str:
    """Write the table with a row a photograph; rows without any keep theirs, with an empty cell."""
    columns = {name: values for name, values in asked.table.columns.items() if name.casefold() not in _OWN}
    photographs: dict[int, list[Fetched]] = {}
    for each, some in zip(wanted, found, strict=True):
        photographs.setdefault(each.row, []).extend(some)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *OWN_COLUMNS])
    for row in range(len(asked.table.row_numbers)):
        cells = ["" if values[row] is None else str(values[row]) for values in columns.values()]
        for one in dict.fromkeys(photographs.get(row, ())):
            writer.writerow([*cells, one.file, one.address, one.sha256, one.licence, one.holder, one.label])
        if not photographs.get(row):
            writer.writerow([*cells, *[""] * len(OWN_COLUMNS)])
    return text.getvalue()


_OWN = frozenset(name.casefold() for name in OWN_COLUMNS)


def _format_failures(asked: WantedTable, failures: Sequence[Failure]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([asked.table.unit, "specimen", "address", "reason"])
    for each in failures:
        number = asked.table.row_numbers[each.wanted.row]
        writer.writerow([number, each.wanted.specimen or "", each.wanted.address, each.reason])
    return text.getvalue()


def count_reasons(failures: Sequence[Failure]) -> list[tuple[str, int]]:
    """Count the reasons of failures, the most frequent first; addresses in them are left out."""
    counts: dict[str, int] = {}
    for each in failures:
        reason = each.reason.replace(each.wanted.address, "the address")
        counts[reason] = counts.get(reason, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])
