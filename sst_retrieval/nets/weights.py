"""Weights of the larger models: which files exist, where they lie on this computer, and how they are downloaded.

Nothing is ever downloaded unless `fetch` is called (`sst-retrieval weights fetch NAME`). A file may also be copied into
the folder by hand; it is recognised by its name.

    $SST_RETRIEVAL_HOME/weights/          else ~/.cache/sst-retrieval/weights/
        sam2.1_hiera_tiny.pt
        bioclip.bin
        bioclip.bin.sha256                written at the first download of a file without a known checksum
        .bioclip.bin.part                 a partial download, resumed when it is started again
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file, write_text
from sst_retrieval.nets import download

HOME_VARIABLE = "SST_RETRIEVAL_HOME"
_META = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
_HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        name: on the command line.
        kind: "sam2" (`--checkpoint`) or "openclip" (`--clip-pretrained`).
        file: its name in the folder.
        url: where it comes from.
        size: in bytes; approximate unless `exact`.
        exact: whether `size` is known to the byte.
        sha256: its checksum, hexadecimal; None if unknown.
        licence: SPDX name.
        about: the model, in a few words.
    """

    name: str
    kind: str
    file: str
    url: str
    size: int
    exact: bool
    sha256: str | None
    licence: str
    about: str


def _sam2(name: str, size: int, about: str) -> WeightsFile:
    return WeightsFile(name, "sam2", f"{name}.pt", f"{_META}/{name}.pt", size, True, _SHA256[name], "Apache-2.0", about)


def _clip(name: str, repository: str, file: str, megabytes: int, about: str) -> WeightsFile:
    own = f"{name}.{file.rpartition('.')[2]}"
    url = f"{_HUB}/{repository}/resolve/main/{file}"
    return WeightsFile(name, "openclip", own, url, megabytes * 1_000_000, False, None, "MIT", about)


_SHA256 = {
    "sam2.1_hiera_tiny": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    "sam2.1_hiera_small": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    "sam2.1_hiera_base_plus": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    "sam2.1_hiera_large": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
}
# Meta publishes no checksums; these are pinned by several independent projects, which agree.

_LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
_ALL = (
    _sam2("sam2.1_hiera_tiny", 156_008_466, "SAM 2.1, the fastest: 39 million parameters"),
    _sam2("sam2.1_hiera_small", 184_416_285, "SAM 2.1, 46 million parameters"),
    _sam2("sam2.1_hiera_base_plus", 323_606_802, "SAM 2.1, 81 million parameters"),
    _sam2("sam2.1_hiera_large", 898_083_611, "SAM 2.1, the best: 224 million parameters; wants a graphics card"),
    _clip("clip_vit_b_32_laion2b", _LAION, "open_clip_model.safetensors", 605, "OpenCLIP ViT-B-32, general"),
    _clip("bioclip", "imageomics/bioclip", "open_clip_pytorch_model.bin", 599, "BioCLIP, ViT-B-16, tree of life"),
    _clip(
        "bioclip-2", "imageomics/bioclip-2", "open_clip_model.safetensors", 1710, "BioCLIP 2, ViT-L-14, tree of life"
    ),
)
WEIGHTS: Mapping[str, WeightsFile] = {each.name: each for each in _ALL}
"""Name -> file of weights."""


def folder() -> Path:
    """Return the folder of weights, which need not exist."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser() / "weights"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sst-retrieval" / "weights"


def get_path(name: str) -> Path:
    """Return the path of a file of weights, which need not exist.

    Raises:
        ModelError: the name is unknown.
    """
    return folder() / _known(name).file


def get_checksum(name: str) -> str | None:
    """Return the SHA-256 that a file must have, hexadecimal: the known one, or the one stored at its first download.

    Raises:
        ModelError: the name is unknown.
    """
    note = get_path(name).with_name(f"{_known(name).file}.sha256")
    return _known(name).sha256 or (note.read_text(encoding="ascii").split()[0] if note.is_file() else None)


def find(name_or_path: str, kind: str | None = None) -> Path:
    """Find a file of weights on this computer.

    Args:
        name_or_path: a name of `WEIGHTS`, or a path.
        kind: "sam2" or "openclip": the kind of model that the weights must be of; None for any.

    Raises:
        ModelError: it is missing (the message says how to get it, online and offline), or of another kind of model.
    """
    known = WEIGHTS.get(name_or_path)
    names = ", ".join(each.name for each in WEIGHTS.values() if kind in (None, each.kind))
    if known is not None and kind not in (None, known.kind):
        raise ModelError(f"the weights {known.name} are of another kind of model; give one of {names}")
    if known is None:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        what = "is a folder" if path.is_dir() else "is neither a file nor a name that is known"
        raise ModelError(f"{name_or_path} {what}; give the path of a checkpoint, or one of {names}")
    path = get_path(known.name)
    if path.is_file():
        return path
    raise ModelError(f"the weights {known.name} are not on this computer. {how_to_get(known.name)}")


def fetch(name: str, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """Download a file of weights, unless it exists.

    An interrupted download is resumed when it is started again; a file appears under its name only when it is complete
    and its checksum is right.

    Args:
        name: a name of `WEIGHTS`.
        progress: is called with the bytes received so far and in all (None: unknown).

    Returns:
        The file.

    Raises:
        ModelError: the name is unknown, the download failed, or the file is not the expected one.
    """
    known = _known(name)
    path = get_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            part = path.with_name(f".{path.name}.part")
            try:
                download.resume(known.url, part, progress or (lambda done, total: None))
            except OSError as error:
                raise ModelError(f"{name} could not be downloaded: {error}. {how_to_get(known.name)}") from error
            _check(known, part)
            part.replace(path)
    return path


def _check(known: WeightsFile, part: Path) -> None:
    """Verify size and checksum of a downloaded file; store the checksum of a file without a known one.

    Raises:
        ModelError: it is another file; it is removed, so that the next download starts from the beginning.
    """
    size = part.stat().st_size
    checksum = hash_file(part)
    expected = get_checksum(known.name)
    if (known.exact and size != known.size) or (expected is not None and checksum != expected):
        part.unlink()
        raise ModelError(
            f"what came from {known.url} is not {known.name}: {size:,} bytes with SHA-256 {checksum[:12]}..., expected "
            f"{known.size:,} bytes with {(expected or 'unknown')[:12]}...; nothing was kept. A proxy may have answered "
            "in its place: try again, or from another network"
        )
    if expected is None:
        note = get_path(known.name).with_name(f"{known.file}.sha256")
        write_text(note, f"{checksum}  {known.file}\n")


def _known(name: str) -> WeightsFile:
    if name not in WEIGHTS:
        raise ModelError(f"there are no weights {name!r}; choose one of {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def how_to_get(name: str) -> str:
    """Say how a file of weights is had, with a network and without.

    Raises:
        ModelError: the name is unknown.
    """
    known = _known(name)
    return (
        f"With the internet: sst-retrieval weights fetch {known.name} ({known.size / 1e6:.0f} MB). Without: get\n"
        f"  {known.url}\non another computer and put it here as\n  {get_path(known.name)}"
    )
