"""Contract of embedders: what a model must offer so that `describe.region_vectors` can make vectors with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sst_retrieval.types import FeatureGrid, Floats, RGBImage


@runtime_checkable
class Embedder(Protocol):
    """Compute dense features: one feature vector for every cell of a grid over an image.

    An embedder whose `features` may be called from several threads at once has the attribute `concurrent = True`; it is
    optional, and False is assumed without it.
    """

    @property
    def name(self) -> str:
        """The model and its settings in one line; part of the provenance."""

    @property
    def dim(self) -> int:
        """Number of features of a cell."""

    @property
    def side(self) -> int:
        """Edge, in pixels, of the square images that `features` takes."""

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Compute the features of images; a result never depends on the other images of the call.

        Args:
            images: uint8 (side, side, 3) each, 0..255, sRGB.

        Returns:
            One grid an image: float32 (rows, cols, dim), finite, regular, covering the whole image.
        """


@runtime_checkable
class PoolingEmbedder(Embedder, Protocol):
    """An embedder that says itself how its features are summed up under a mask; those of others are averaged."""

    @property
    def pooled_dim(self) -> int:
        """Number of values that a trait is described by."""

    def pool(self, grid: FeatureGrid, coverage: Floats) -> Floats:
        """Sum up the features under a mask.

        Args:
            grid: float32 (rows, cols, dim), as `features` gave it.
            coverage: float32 (h, w), 0..1, over the same image at any resolution; not all zero.

        Returns:
            float32 (pooled_dim,), finite.
        """


@runtime_checkable
class RegionEmbedder(Embedder, Protocol):
    """An embedder that describes a whole trait at once; its features are not averaged under the mask."""

    def regions(self, image: RGBImage, coverages: Sequence[Floats]) -> Floats:
        """Compute one feature vector a trait.

        Args:
            image: uint8 (side, side, 3), 0..255, sRGB: the specimen in its frame.
            coverages: one a trait: float32 (side, side), 0..1, the share of each pixel that the trait covers; none is
                all zero.

        Returns:
            float32 (number of traits, dim), finite.
        """


@runtime_checkable
class HueEmbedder(Embedder, Protocol):
    """An embedder that tells what a trait shows in grey, its pattern, from what colour adds to that."""

    @property
    def pattern_dim(self) -> int:
        """Number of values of a trait's pattern."""

    @property
    def hue_dim(self) -> int:
        """Number of values that it adds to a trait's histogram of colours."""

    @property
    def trait_side(self) -> int:
        """Edge, in pixels, of the square close-ups that `describe` takes."""

    def describe(
        self, view: RGBImage, plain: RGBImage, coverages: Sequence[Floats], close_ups: Sequence[tuple[RGBImage, Floats]]
    ) -> tuple[Floats, Floats]:
        """Describe the traits of a specimen.

        Args:
            view: uint8 (side, side, 3), 0..255, sRGB: the specimen in its frame.
            plain: the same with the background replaced by grey.
            coverages: one a trait: float32 (side, side), 0..1, the share of each pixel it covers; none is all zero.
            close_ups: one a trait: uint8 (trait_side, trait_side, 3), and its coverage; not all zero.

        Returns:
            float32 (number of traits, pattern_dim), of unit length, which must not depend on hues; float32 (number of
            traits, hue_dim), in units of the length of the histogram that it is put beside.
        """


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder with a text encoder: texts and patterns lie in one space and can be compared."""

    def texts(self, texts: Sequence[str]) -> Floats:
        """Compute the vectors of texts.

        Returns:
            float32 (number of texts, dim), unit length.
        """
