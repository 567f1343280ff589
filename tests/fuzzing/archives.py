"""Darwin Core Archives, damaged: as a .zip, and unpacked.

The bytes of a .zip have checksums: what is read after damage must be as before. A meta.xml that was changed may give
other columns, but nothing outside the archive is read, and nothing outside its folder of photographs is written.
"""

from __future__ import annotations

import io
import re
import shutil
import stat
import zipfile
from pathlib import Path
from random import Random

from PIL import Image

from fuzzing.damages import damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, RIGHT, Check, Outcome
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError

TERMS = "http://rs.tdwg.org/dwc/terms/"
SECRET = "swordfish"
META = f"""<?xml version="1.0" encoding="UTF-8"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="{TERMS}Occurrence">
    <files><location>occurrence.txt</location></files>
    <id index="0" />
    <field index="1" term="{TERMS}catalogNumber"/>
    <field index="2" term="{TERMS}sex"/>
    <field index="3" term="{TERMS}locality" default="unknown"/>
    <field term="{TERMS}country" default="Panama"/>
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="," linesTerminatedBy="\\n" fieldsEnclosedBy='"' ignoreHeaderLines="0"
        rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.csv</location></files>
    <coreid index="0" />
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
    <field index="2" term="http://purl.org/dc/terms/format"/>
  </extension>
</archive>
"""
VALUES = (
    *(
        "",
        "0",
        "1",
        "-1",
        "99",
        "1e3",
        "x",
        "\\t",
        "\\n",
        ",",
        '"',
        "''",
        "undefined",
        "UTF-16",
        "latin1",
        "hex",
        "idna",
    ),
    *("../secret.txt", "/etc/passwd", "..\\secret.txt", "C:/secret.txt", "link.txt", ".", "multimedia.csv", "\u2603"),
    *("http://rs.tdwg.org/dwc/terms/Event", "Occurrence", f"{TERMS}catalogNumber", "9" * 5000, "&amp;", "\\u0000"),
)
NAMES = (
    *("../evil.png", "/tmp/evil.png", "..\\evil.png", "photos/../../evil.png", "C:\\evil.png", "photos/p0.png/x.png"),
    *("meta.xml", "x/meta.xml", "photos/p0.png", "p0.png", "a" * 300 + ".png", "photos//p1.png", "\u202egnp.png"),
)


def make_files() -> dict[str, bytes]:
    """Make the files of a valid archive of four photographs, two of one specimen."""
    with io.BytesIO() as file:
        Image.new("RGB", (4, 3), "red").save(file, "PNG")
        photograph = file.getvalue()
    occurrences = 'id\tcatalogNumber\tsex\tlocality\n1\tB0\tfemale\tZürich\n2\tB1\tmale\t\n3\tB2\t\tsay "x\n'
    media = '1,photos/p0.png,image/png\n2,"photos/p1.png",image/png\n3,photos/p2.png,image/png\n3,photos/p3.png,\n'
    photographs = {f"photos/p{i}.png": photograph for i in range(4)}
    return {
        "meta.xml": META.encode(),
        "occurrence.txt": occurrences.encode(),
        "multimedia.csv": media.encode(),
        "eml.xml": b"<eml/>",
        **photographs,
    }


def mutate_files(files: dict[str, bytes], rng: Random) -> tuple[dict[str, bytes], str]:
    """Change the files of an archive as another program may have written them."""
    files = dict(files)
    how = rng.choice(("meta.xml", "meta.xml", "meta.xml", "a data file", "names", "a missing file", "large"))
    if how == "meta.xml":
        files["meta.xml"] = mutate_xml(META, rng).encode("utf-8", "surrogatepass")
    elif how == "a data file":
        name = rng.choice(("occurrence.txt", "multimedia.csv"))
        files[name], _ = damage(files[name], rng, head=60)
    elif how == "names":
        bad = rng.choice(NAMES)
        files["multimedia.csv"] += f"2,{bad},image/png\n".encode()
        files[bad] = files["photos/p0.png"] if rng.random() < 0.7 else rng.randbytes(100)
    elif how == "a missing file":
        del files[rng.choice(list(files))]
    else:
        files[rng.choice(("occurrence.txt", "multimedia.csv", "photos/p1.png"))] = bytes(25_000_000)
    return files, how


def mutate_xml(text: str, rng: Random) -> str:
    """Change a value, an element or a few characters of an XML document."""
    for _ in range(rng.choice((1, 1, 2))):
        values = list(re.finditer(r'="([^"]*)"|<location>([^<]*)<', text))
        elements = list(re.finditer(r"<(field|id|coreid|files|core|extension|location|archive)\b[^>]*>", text))
        kind = rng.randrange(5)
        if kind < 2 and values:
            found = rng.choice(values)
            group = 1 if found[1] is not None else 2
            text = text[: found.start(group)] + rng.choice(VALUES) + text[found.end(group) :]
        elif kind == 2 and elements:
            found = rng.choice(elements)
            text = text[: found.start()] + rng.choice(("", found[0] * 2, "<x/>")) + text[found.end() :]
        elif kind == 3:
            text = text.replace("<archive", '<!DOCTYPE a [<!ENTITY x "y">]><archive', 1)
        else:
            text = damage(text.encode(), rng)[0].decode("utf-8", "replace")
    return text


def write_zip(files: dict[str, bytes], rng: Random, secret: Path) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as archive:
            linked = rng.random() < 0.1
            for name, content in files.items():
                if name != "photos/p3.png" or not linked:
                    archive.writestr(name, content)
            if linked:
                link = zipfile.ZipInfo("photos/p3.png")
                link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                archive.writestr(link, str(secret))
        return file.getvalue()


def describe(collection: Collection) -> list[tuple[object, ...]]:
    return [(each.id, each.image.name, sorted(each.metadata.items())) for each in collection.photographs]


def list_files(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_size for path in folder.rglob("*")}


def prepare(folder: Path) -> Check:
    """Read the valid archive, zipped and unpacked."""
    valid = make_files()
    secret = folder / "secret.txt"
    secret.write_text(f"id\tcatalogNumber\tsex\tlocality\n1\t{SECRET}\tf\tx\n")
    place = folder / "place"
    place.mkdir()

    def clear() -> None:
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    (place / "a.zip").write_bytes(write_zip(valid, Random(3), secret))
    before = describe(read_collection(place / "a.zip"))
    assert [name for name, *_ in before] == ["B0", "B1", "B2 p2", "B2 p3"], before

    def check(rng: Random) -> Outcome:
        clear()
        changed, how = mutate_files(valid, rng) if rng.random() < 0.7 else (valid, "undamaged")
        if rng.random() < 0.2:
            path = place / "unpacked"
            path.mkdir()
            (path / "link.txt").symlink_to(secret)
            for name, content in changed.items():
                target = path / name
                inside = len(name) < 200 and target.resolve().is_relative_to(path)
                if inside and not any(each.is_file() for each in target.parents):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
        else:
            path, content = place / "a.zip", write_zip(changed, rng, secret)
            if changed is valid and rng.random() < 0.9:
                content, how = damage(content, rng)
                how = f"{how} in the .zip"
            path.write_bytes(content)
        outside = list_files(folder)
        refusal = None
        try:
            collection = read_collection(path)
        except CollectionError as error:
            refusal = error
        written = set(list_files(folder)) - set(outside)
        extracted = place / "a.photographs"
        if any(not each.is_relative_to(extracted) or each.is_symlink() for each in written):
            return Outcome(DIFFERENT, "files are written outside the folder of photographs", f"{how}: {written}")
        if refusal is not None:
            raise refusal
        found = describe(collection)
        detail = f"{how}: {found}, notes {collection.notes}"
        if SECRET in str(found):
            return Outcome(DIFFERENT, "a file outside the archive is read", detail)
        if any(not each.image.resolve().is_relative_to(place) for each in collection.photographs):
            return Outcome(DIFFERENT, "a photograph outside the archive", detail)
        if found == before:
            return Outcome(RIGHT, "the specimens are as before")
        if how == "undamaged":
            return Outcome(DIFFERENT, "an undamaged archive is read otherwise", detail)
        if collection.notes or collection.left_out:
            return Outcome(EXPLAINED, "a note", detail)
        if how.endswith("in the .zip"):
            return Outcome(DIFFERENT, "checksums of the .zip would show it", detail)
        return Outcome(EXPLAINED, f"another program wrote it so: {how}", detail)

    return check
