"""The dense finder: pieces of a photograph from several sources, judged by how much they are like the supports.

On a plain board individuals are what differs from it, split by the supports' shapes (`find.board`). Elsewhere, and
where these shapes do not fit, or are few and none is of the kind, as on a plain lake or sky:

1. Proposals: things that a foreground shows, which knows no group, at several sizes (`find.salient`), and, where the
   annotated individuals are compact, pieces that look like them pixel by pixel (`find.likelihood`), split where they
   are narrow.
2. Verdict: does a piece have all that an annotated individual has (`find.appearance.compare_parts`), is it of its kind
   (`compare_kinds`), do several sources agree on it, and is it rather the whole of a thing than a part?
3. Of pieces that overlap the best stays. Halves and fragments of one individual are joined (`find.company`,
   `find.fragments`), pieces whose halves look like each other are split, those that look like the surest one count more
   (`find.company`), strips of round ones that a split cut off are given back (`find.remnants`), and no pixel belongs to
   two.

Where every annotated individual is too small to show its form (`find.small_forms`), there is nothing to compare with:
off boards, what the foreground shows on the whole photograph is found, whatever it is, and split where halves of it
look like each other (`find.company`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from sst_retrieval.find.appearance import Look, compare_kinds, compare_parts, compute_look
from sst_retrieval.find.board import (
    BoardMemory,
    Laid,
    compare_with_others,
    complete_body,
    judge_laid,
    lay_shapes,
    remember_board,
)
from sst_retrieval.find.company import are_few, join_halves, split_alike, weigh_by_likeness
from sst_retrieval.find.contract import FOUND
from sst_retrieval.find.formless import look_at_blobs, measure_formlessness
from sst_retrieval.find.fragments import FragmentJoiner, Judged
from sst_retrieval.find.kinship import DOUBTFUL, STRICT, Comparison, choose_comparison
from sst_retrieval.find.likelihood import PixelModel, compute_likelihood, fit_pixel_model
from sst_retrieval.find.overlaps import Piece, share_pixels, suppress
from sst_retrieval.find.proposals import Proposal, collect_pieces, find_pieces, resize_map
from sst_retrieval.find.remnants import return_remnants
from sst_retrieval.find.salient import find_salient, propose_salient
from sst_retrieval.find.small_forms import hides_its_form
from sst_retrieval.find.watershed import is_compact, split_round
from sst_retrieval.foregrounds.contract import Foreground
from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Detection, Mask, RGBImage, Support

VERSION = 4
"""Raised when the finder answers otherwise, so that a build searches photographs of an older index anew."""

WORKING_SIDE = 1600
"""Longer edge, in pixels, of the copy of the photograph on which individuals are looked for."""

SURE_FIT = 0.75
"""A photograph is of a board if the supports' shapes fit what differs from it at least so well (the median IoU): on
drawers by 0.81, on plain skies and lakes by 0.7 at most. Below, what they say is a proposal like others."""

FEW_LAID = 4
"""Where so few shapes lie on a board, or it is bare, and none is of the kind, it is searched as if it were no board: it
may be an animal in clear water, with a few waves that look no more like it than like each other."""

LEAST_FIT, MOST_LAID = 0.6, 50
"""They say nothing if they fit less well, or lie in so many places that they must be grain."""

MOST_PROPOSALS = 500
"""No more pieces are judged, those with most votes first and of these the largest: a photograph that is all specks must
not take hours."""

LEAST_TRUST = 0.8
"""The pixel model of a group proposes pieces if it finds at least this share of its own supports again."""

ALIKE_SPACING = 1.0
"""Where pieces of the pixel model are split: see `find.watershed`."""

ALIKE_VOTES = 4.0
"""How many votes a piece of the pixel model counts as: it knows the group, but proposes each piece once."""

PARTS_WEIGHT, VOTES_WEIGHT, AROUND_WEIGHT, OFFSET = 24.0, 0.6, -2.5, -9.3
"""The verdict: weights of the parts' likeness, the logarithm of the votes, and what is around. Rounded from logistic
regressions on two groups of animals each, used on the third; the offset on half of the photographs."""

KIND_MIDDLE, FORMLESS_WEIGHT, KIND_WEIGHT = 0.12, 0.9, 25.0
"""Cosine at which a piece is of the supports' kind with a probability of one half, how much more is asked of a kind
that formless blobs look like (`find.formless`), and how fast the probability changes."""


@dataclass(frozen=True, slots=True)
class DenseFinderMemory:
    """What the dense finder knows of a group.

    Attributes:
        looks: what the annotated individuals look like, each as it is and mirrored.
        kind_middle: cosine at which a piece is of their kind with a probability of one half.
        pixels: what their pixels look like; None if that says nothing, or if they are not compact.
        board: what is looked for on plain boards.
        too_small: whether the annotated individuals are too small to show their form; then they say nothing of their
            kind off boards.
    """

    looks: tuple[Look, ...]
    kind_middle: float
    pixels: PixelModel | None
    board: BoardMemory
    too_small: bool = False


class DenseFinder:
    """Finds individuals by a foreground and the features of this program's own trunk (a `Finder`).

    Attributes:
        name: the model and its settings; goes into the provenance.
        compares_groups: whether drawers of another kind are told by what was annotated in other groups, too.
        comparison: how that counts, where the species of the groups do not decide it; None if it does not.
    """

    def __init__(
        self, *, trunk: EfficientNetTrunk, foreground: Foreground, comparison: Comparison | None = DOUBTFUL
    ) -> None:
        """Take the network and the foreground.

        Args:
            trunk: the network, shared with propagator and embedder.
            foreground: what proposes things.
            comparison: how what was annotated in other groups counts (see `find.kinship.choose_comparison`); None for
                not at all.
        """
        self.compares_groups = comparison is not None
        self.comparison = comparison
        self.trunk = trunk
        self.foreground = foreground
        self._blobs = look_at_blobs(trunk)
        compared = {None: ", each group alone", STRICT: ", groups compared"}.get(comparison, "")
        self.name = f"dense finder {VERSION} ({trunk.name}, foreground {foreground.name}{compared})"

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call it at the same time: as its foreground says."""
        return getattr(self.foreground, "concurrent", False) is True

    def remember(self, supports: Sequence[Support]) -> DenseFinderMemory:
        """Encode the annotated individuals of a group (see `Finder.remember`)."""
        others = [each for each in supports if each.group != supports[0].group]
        supports = [each for each in supports if each.group == supports[0].group]
        clear = [each for each in supports if not hides_its_form(complete_body(each))]
        too_small = not clear
        supports = clear or supports
        looks = []
        for support in supports:
            body = complete_body(support)
            x0, y0, x1, y1 = box_of(body)
            mask = body[y0:y1, x0:x1]
            for mirrored in (False, True):
                looks.append(compute_look(self.trunk, support.image, (x0, y0, x1, y1), mask, mirrored=mirrored))
        board = remember_board(supports)
        board = compare_with_others(self.trunk, board, self._sort_others(supports[0], others))
        pixels = None
        if all(is_compact(complete_body(each)) for each in supports):
            pixels = fit_pixel_model(self.trunk, supports)
        middle = KIND_MIDDLE + FORMLESS_WEIGHT * measure_formlessness(looks, self._blobs)
        trusted = pixels if pixels and pixels.trust >= LEAST_TRUST else None
        return DenseFinderMemory(tuple(looks), middle, trusted, board, too_small)

    def _sort_others(self, own: Support, others: Sequence[Support]) -> dict[Comparison, list[Support]]:
        """Sort annotated individuals of other groups by how they count; those that do not are left out."""
        by_comparison: dict[Comparison, list[Support]] = {}
        if self.comparison is None:
            return by_comparison
        for each in others:
            comparison = choose_comparison(self.comparison, own.species, each.species)
            if comparison is not None:
                by_comparison.setdefault(comparison, []).append(each)
        return by_comparison

    def find(self, memory: DenseFinderMemory, image: RGBImage) -> list[Detection]:
        """Find the individuals on a photograph (see `Finder.find`)."""
        laid = lay_shapes(memory.board, image)
        if laid is not None and (laid.empty or laid.fit >= SURE_FIT):
            found = judge_laid(self.trunk, memory.board, laid, image)
            if not _is_doubtful(laid, found):
                return found
        working = shrink(image, WORKING_SIDE)
        if memory.too_small:
            return self._find_salient(working, image.shape)
        alike = self._find_alike(memory, working)
        proposals = self._propose(working, laid, alike)
        joined = self.choose(memory, working, proposals, on_board=laid is not None)
        if alike is not None:
            joined = _complete(joined, alike)
        enlarged = [enlarge(each.proposal, working.shape, image.shape) for each in joined]
        return _detect(enlarged, [each.score for each in joined])

    def _find_salient(self, working: RGBImage, size: tuple[int, ...]) -> list[Detection]:
        """Find what the foreground shows, whatever it is.

        Args:
            working: uint8 (h, w, 3), the copy of the photograph.
            size: (H, W, ...) of the photograph.
        """
        things, sureness = find_salient(self.foreground, working)
        proposals = propose_salient(self.foreground, working) if things else []

        def look_at(proposal: Proposal) -> Look:
            return compute_look(self.trunk, working, proposal.box, proposal.mask)

        pieces, scores = [], []
        for thing, score in zip(things, sureness, strict=True):
            individuals = split_alike(thing, proposals, look_at)
            pieces += [enlarge(each, working.shape, size) for each in individuals]
            scores += [score] * len(individuals)
        return _detect(pieces, scores)

    def choose(
        self, memory: DenseFinderMemory, image: RGBImage, proposals: Sequence[Proposal], *, on_board: bool
    ) -> list[Judged]:
        """Choose the pieces that are individuals.

        Args:
            memory: of the group.
            image: uint8 (H, W, 3), on which they were proposed.
            proposals: the pieces; they may overlap.
            on_board: whether it is of a plain board.

        Returns:
            Pieces that hardly overlap, those of one individual joined; the surest first.
        """

        def judge(proposal: Proposal) -> Judged:
            return self._judge(memory, image, proposal)

        judged = [judge(each) for each in proposals]
        chosen = _suppress(judged)
        if are_few(chosen):
            chosen = weigh_by_likeness(_suppress(_split(join_halves(chosen, judged), judged)))
        joiner = FragmentJoiner(memory.looks, memory.board.templates, judge, FOUND, on_board=on_board)
        return joiner.join(chosen)

    def _propose(self, image: RGBImage, laid: Laid | None, alike: Mask | None) -> list[Proposal]:
        """Propose pieces of a photograph that is no board.

        Args:
            image: uint8 (H, W, 3), not larger than `WORKING_SIDE`.
            laid: the supports' shapes laid on it, if it looks like a board all the same.
            alike: bool (H, W), the pixels that look like those of the annotated individuals, if that says anything.
        """
        proposals = propose_salient(self.foreground, image)
        if alike is not None:
            proposals += _propose_alike(alike)
        if laid is not None and laid.fit >= LEAST_FIT and len(laid.split.fits) <= MOST_LAID:
            proposals += [replace(each, votes=ALIKE_VOTES) for each in collect_pieces(laid.split.labels)]
        return sorted(proposals, key=lambda each: (-each.votes, -each.area))[:MOST_PROPOSALS]

    def _find_alike(self, memory: DenseFinderMemory, image: RGBImage) -> Mask | None:
        """Find the pixels that look like those of the annotated individuals: bool (H, W); None if that says nothing."""
        if memory.pixels is None:
            return None
        alike: Mask = resize_map(compute_likelihood(self.trunk, memory.pixels, image), image.shape[:2]) >= 0.5
        return alike

    def _judge(self, memory: DenseFinderMemory, image: RGBImage, proposal: Proposal) -> Judged:
        """Judge how sure it is that a piece is an individual of the group."""
        look = compute_look(self.trunk, image, proposal.box, proposal.mask)
        verdict = PARTS_WEIGHT * compare_parts(memory.looks, look) + VOTES_WEIGHT * np.log(proposal.votes)
        verdict += AROUND_WEIGHT * proposal.around + OFFSET
        kind = KIND_WEIGHT * (compare_kinds(memory.looks, look) - memory.kind_middle)
        return Judged(proposal, look, float(_sigmoid(verdict) * _sigmoid(kind)))


def _propose_alike(alike: Mask) -> list[Proposal]:
    """Propose pieces of the pixels that look like those of the annotated individuals, bool (H, W)."""
    found = []
    for piece in find_pieces(alike):
        found += collect_pieces(split_round(piece.mask, ALIKE_SPACING), piece.box[:2])
    return [replace(each, votes=ALIKE_VOTES) for each in found]


def _complete(judged: Sequence[Judged], alike: Mask) -> list[Judged]:
    """Give the individuals among some pieces what a split cut off: the pieces in their order, scores as they were."""
    sure = [each for each in judged if each.score >= FOUND]
    whole = iter(return_remnants([each.proposal for each in sure], alike))
    return [replace(each, proposal=next(whole)) if each.score >= FOUND else each for each in judged]


def _is_doubtful(laid: Laid, found: Sequence[Detection]) -> bool:
    """Return whether a photograph on which nobody was found may be of a plain lake or sky, rather than of a board."""
    unsure = laid.fit < SURE_FIT or len(laid.split.fits) <= FEW_LAID
    return unsure and all(each.score < FOUND for each in found)


def _split(pieces: Sequence[Judged], judged: Sequence[Judged]) -> list[Judged]:
    """Split the individuals among some pieces where halves of them look like each other."""
    by_proposal = {id(each.proposal): each for each in judged}
    proposals = [each.proposal for each in judged]
    split: list[Judged] = []
    for piece in pieces:
        halves = [piece.proposal]
        if piece.score >= FOUND:
            halves = split_alike(piece.proposal, proposals, lambda each: by_proposal[id(each)].look)
        split += [piece] if len(halves) == 1 else [by_proposal[id(each)] for each in halves]
    return split


def _suppress(judged: Sequence[Judged]) -> list[Judged]:
    """Choose the best pieces that hardly overlap, the surest first."""
    pieces = [(each.proposal.box, each.proposal.mask) for each in judged]
    return [judged[place] for place in suppress(pieces, [each.score for each in judged], iou=0.5, inside=0.7)]


def _detect(pieces: Sequence[Piece], scores: Sequence[float]) -> list[Detection]:
    """Make detections of pieces, the surest first: a pixel that two claim is the surer one's."""
    return [
        Detection(piece[0], score, piece[1])
        for piece, score in zip(share_pixels(pieces), scores, strict=True)
        if piece is not None
    ]


def shrink(image: RGBImage, side: int) -> RGBImage:
    """Shrink a photograph until its longer edge has `side` pixels; a smaller one stays as it is."""
    factor = max(image.shape[:2]) / side
    if factor <= 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def enlarge(proposal: Proposal, small: tuple[int, ...], large: tuple[int, ...]) -> Piece:
    """Bring a proposal from the shrunken copy to the photograph's own size.

    Args:
        proposal: the proposal.
        small, large: shapes (H, W, ...) of the copy and of the photograph.

    Returns:
        Box and mask on the photograph.
    """
    if small[:2] == large[:2]:
        return proposal.box, proposal.mask
    down, across = large[0] / small[0], large[1] / small[1]
    x0, y0, x1, y1 = proposal.box
    left, top = min(int(x0 * across), large[1] - 1), min(int(y0 * down), large[0] - 1)
    right, bottom = min(max(round(x1 * across), left + 1), large[1]), min(max(round(y1 * down), top + 1), large[0])
    soft = Image.fromarray(proposal.mask.astype(np.uint8) * 255)
    return (left, top, right, bottom), np.asarray(
        soft.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    ) >= 128


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
