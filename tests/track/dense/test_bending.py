"""A template is bent to other proportions, and stays as it is where nothing is bent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.synthetic.species import SPECIES
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.track.dense.bending import BendingTemplate, bend_template, encode_bending_template
from sst_retrieval.track.dense.symmetry import Axis
from sst_retrieval.track.dense.template import REACH, SIDE, widen_frame
from sst_retrieval.track.dense.view import warp_to_target
from sst_retrieval.types import Floats, Frame, Mask, RGBImage

CELLS = 56


@pytest.fixture(scope="module")
def drawn() -> tuple[RGBImage, Mask]:
    image, _ = draw_specimen(SpecimenPlan(SPECIES[0], 0.0, "fresh", True, ()), np.random.default_rng(0))
    return image, np.abs(image.astype(int) - np.median(image, axis=(0, 1))).max(axis=2) > 40


def stretch(picture: RGBImage | Mask, across: float) -> RGBImage:
    """Stretch a picture to the sides of its middle; its size stays, and its edge is repeated."""
    height, width = picture.shape[:2]
    data = (1 / across, 0, width / 2 * (1 - 1 / across), 0, 1, 0)
    padded = Image.fromarray(picture)
    return np.asarray(padded.transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.NEAREST))


def look(trunk: EfficientNetTrunk, image: RGBImage, frame: Frame) -> tuple[list[torch.Tensor], RGBImage]:
    view = frames.warp_image(image, widen_frame(frame), int(REACH * SIDE))
    return list(trunk.levels(view[None])), view


def cover(mask: Mask, frame: Frame) -> Floats:
    covered = frames.warp_mask(mask, frame, CELLS)
    return np.stack([1 - covered, covered])


def encode(
    trunk: EfficientNetTrunk, drawn: tuple[RGBImage, Mask], frame: Frame, axis: Axis | None = None
) -> BendingTemplate:
    image, mask = drawn
    levels, view = look(trunk, image, frame)
    return encode_bending_template(levels, view, torch.from_numpy(cover(mask, frame)), axis)


def compute_soft_iou(one: Floats, other: Floats) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def test_a_template_on_its_own_support_stays_as_it_is(trunk: EfficientNetTrunk, drawn: tuple[RGBImage, Mask]) -> None:
    frame = frame_specimen(drawn[0])
    template = encode(trunk, drawn, frame)
    field = bend_template(template, *look(trunk, drawn[0], frame), CELLS)
    assert field.shape == (2, CELLS, CELLS)
    assert float(field.abs().max()) < 1e-4


@pytest.mark.parametrize("across", [0.85, 1.15])
def test_a_template_is_bent_to_a_specimen_of_other_proportions(
    trunk: EfficientNetTrunk, drawn: tuple[RGBImage, Mask], across: float
) -> None:
    image, mask = drawn
    frame = frame_specimen(image)
    template = encode(trunk, drawn, frame)
    other, truth = stretch(image, across), cover(stretch(mask, across).astype(bool), frame)[1]
    field = bend_template(template, *look(trunk, other, frame), CELLS)
    rigid = cover(mask, frame)
    bent = warp_to_target(torch.from_numpy(rigid), field).numpy()
    lacking = 1 - compute_soft_iou(rigid[1], truth)
    assert lacking > 0.1
    assert 1 - compute_soft_iou(bent[1], truth) < lacking / 2
    # The slope is that of the stretch, and up and down hardly anything moves.
    middle = slice(CELLS // 3, -CELLS // 3)
    slope = field[0, middle, middle].diff(dim=1).mean() * CELLS
    assert float(slope) == pytest.approx(1 / across - 1, abs=0.06)


def test_with_an_axis_the_displacement_is_its_own_mirror_image(
    trunk: EfficientNetTrunk, drawn: tuple[RGBImage, Mask]
) -> None:
    frame = frame_specimen(drawn[0])
    template = encode(trunk, drawn, frame, Axis(0.0, 0.0))
    aside = frames.compose(frames.square_frame((0.55, 0.52), 1.0, 0.0), frame)
    field = bend_template(template, *look(trunk, stretch(drawn[0], 1.1), aside), CELLS)
    assert torch.allclose(field[0], -field[0].flip(1), atol=1e-5)
    assert torch.allclose(field[1], field[1].flip(1), atol=1e-5)
    assert float(field.abs().max()) > 0.01
    free = bend_template(encode(trunk, drawn, frame), *look(trunk, stretch(drawn[0], 1.1), aside), CELLS)
    assert not torch.allclose(free[0], -free[0].flip(1), atol=1e-2)


def test_nothing_is_bent_to_a_photograph_of_one_colour(trunk: EfficientNetTrunk, drawn: tuple[RGBImage, Mask]) -> None:
    frame = frame_specimen(drawn[0])
    template = encode(trunk, drawn, frame)
    field = bend_template(template, *look(trunk, np.full_like(drawn[0], 200), frame), CELLS)
    assert bool(torch.isfinite(field).all())
    assert float(field.abs().max()) < 0.25
