"""SAM 2 as a propagator: the supports are the first frames of a film, every target is its last.

1. `remember`: each support is looked at through the frame of its specimen, encoded once, and kept as SAM 2's memory.
2. Pose: a target is looked at as photographed. If SAM 2 is not sure of what it finds there, it looks again at the
   target turned and mirrored, and the pose in which it is surest counts (object score times expected IoU, over all
   traits). With `dense+sam2` the dense propagator finds the pose, at any angle, and its masks are SAM 2's first guess.
3. Track: all traits in one batch; traits that never share a pixel on a support do not on a target.
4. The masks go back through the frame to the photograph's own pixels.

Ravi et al. (2024), arXiv 2408.00714; used on specimens by Feng et al. (2025), arXiv 2501.06749.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames as pose
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.track.dense.memory import find_rivals
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.sam2.adapter import Adapters
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.memory import Known, Look, Sam2Memory, drawn_through, in_order, of_picture, settled
from sst_retrieval.track.sam2.network import Encoded, Sam2Network, Tracked
from sst_retrieval.types import Floats, Frame, Propagated, RGBImage, Support

VERSION = 1
"""Changes whenever the same settings would give other masks."""

GUESS = 10.0
"""Logit of a first guess that is sure; SAM 2's own prompts are of that size."""


@dataclass(frozen=True, slots=True)
class Sam2Settings:
    """How SAM 2 looks.

    Attributes:
        turns: poses tried all the way round, and as many in the mirror, where it is not sure. Each costs one more
            pass of the image encoder, so they are few; SAM 2 itself copes with an eighth of a turn.
        sure: from this score on (0..1, mean of the traits) the pose as photographed is not questioned.
        cycle: whether masks are also followed back to the support (see `Propagated.cycle`).
    """

    turns: int = 4
    sure: float = 0.75
    cycle: bool = False


class Sam2Propagator:
    """Carries masks from annotated specimens to others with SAM 2 (a `Propagator`).

    Attributes:
        name: checkpoint and settings; goes into the provenance.
        weights: name, file, sha256 and licence of the checkpoint, for the provenance.
        network: SAM 2.
        batch: how many photographs are encoded at once, and given to it by a build. On the CPU one, where more are no
            faster and where a result then does not depend on the others to the last bit.
    """

    film = False

    def __init__(
        self,
        checkpoint: str = "sam2.1_hiera_tiny",
        *,
        config: Path | None = None,
        device: str = "auto",
        settings: Sam2Settings | None = None,
        dense: DensePropagator | None = None,
        adapters: Sequence[Path] = (),
        batch: int | None = None,
    ) -> None:
        """Load SAM 2.

        Args:
            checkpoint: a name of `nets.weights.WEIGHTS`, or the path of a .pt file.
            config: the architecture, if it is one of your own.
            device: "auto", "cpu" or "cuda".
            settings: how to look.
            dense: finds the pose and a first guess of the masks, if given.
            adapters: folders made by fine-tuning (`track.sam2.adapter`); each serves the group it was made for.
            batch: how many photographs are encoded at once; None for 1 on the CPU and 4 on a card.

        Raises:
            ModelError: the checkpoint is missing or broken, sam2 is not installed, or the device is not there.
        """
        if batch is not None and batch < 1:
            raise ModelError(f"{batch} photographs at once are too few; say 1 or more")
        if self.film and batch not in (None, 1):
            raise ModelError(f"a long film is seen one photograph after the other, not {batch} at once")
        chosen = resolve_device(device)
        loaded = load_checkpoint(checkpoint, config)
        self.network = Sam2Network(loaded.model, chosen)
        self.settings = settings if settings is not None else Sam2Settings()
        self.weights = loaded.weights
        self.batch = batch or (1 if chosen.type == "cpu" or self.film else 4)
        self._dense = dense
        self._adapters = Adapters(self.network.model, adapters, loaded.weights["sha256"])
        how = hashlib.sha256(repr(self.settings).encode()).hexdigest()[:8]
        kind = "film of the group" if self.film else "two-frame film"
        helped = f", led by {dense.name}" if dense is not None else ""
        self.name = (
            f"SAM 2 {loaded.name} at {self.network.side} px, version {VERSION}, {kind}, {chosen.type}, settings {how}"
            f"{helped}{self._adapters.name}"
        )

    @torch.inference_mode()
    def remember(self, supports: Sequence[Support]) -> Sam2Memory:
        """Encode the supports of a group, once."""
        self._adapters.use(supports[0].group)
        traits = tuple(dict.fromkeys(trait for support in supports for trait in support.traits))
        dense = self._dense.remember(supports) if self._dense is not None else None
        frames = [support.frame for support in dense.supports] if dense is not None else self._frames(supports)
        views = [
            pose.warp_image(each.image, frame, self.network.side) for each, frame in zip(supports, frames, strict=True)
        ]
        encoded = [self.network.encode(view[None]) for view in views]
        masks = [drawn_through(each, frame, self.network.side) for each, frame in zip(supports, frames, strict=True)]
        memories = [self.network.remember(*pair) for pair in zip(encoded, masks, strict=True)]
        drawn_on = {trait: tuple(i for i, each in enumerate(supports) if trait in each.traits) for trait in traits}
        known = []
        for where in dict.fromkeys(drawn_on.values()):
            own = [trait for trait in traits if drawn_on[trait] == where]
            rows = [[supports[i].traits.index(trait) for trait in own] for i in where]
            parts = tuple(memories[i].of(row) for i, row in zip(where, rows, strict=True))
            places = tuple(traits.index(trait) for trait in own)
            prepared = self.network.prepare(parts)
            known.append(Known(places, parts, prepared, encoded[where[0]], masks[where[0]][rows[0]]))
        return Sam2Memory(traits, supports[0].group, find_rivals(supports, traits), tuple(known), dense)

    @torch.inference_mode()
    def propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image; several are encoded in one batch."""
        self._adapters.use(memory.group)
        starts = range(0, len(images), self.batch)
        return [found for i in starts for found in self._propagate(memory, images[i : i + self.batch])]

    def _frames(self, supports: Sequence[Support]) -> list[Frame]:
        return [frame_specimen(each.image, drawn=np.asarray(each.masks.any(axis=0))) for each in supports]

    @torch.inference_mode()
    def look(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Look]:
        """Find how the specimens lie, and what SAM 2 sees there."""
        if self._dense is not None and memory.dense is not None:
            return self.led(memory, images, self._dense.propagate(memory.dense, images))
        looks = self._look(memory, images, [frame_specimen(image) for image in images])
        return [
            look if look.sureness >= self.settings.sure else self._turned(memory, image, look)
            for image, look in zip(images, looks, strict=True)
        ]

    def led(self, memory: Sam2Memory, images: Sequence[RGBImage], guesses: Sequence[Propagated]) -> list[Look]:
        """Look at images that somebody has laid and guessed the masks of."""
        return self._look(memory, images, [guess.frame for guess in guesses], guesses)

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        looks = self.look(memory, images)
        return [self._answer(memory, image, look) for image, look in zip(images, looks, strict=True)]

    def _turned(self, memory: Sam2Memory, image: RGBImage, straight: Look) -> Look:
        """Look at an image in other poses too; the one that SAM 2 is surest of counts."""
        best = straight
        others = pose.pose_hypotheses(straight.frame, self.settings.turns)[1:]
        for i in range(0, len(others), self.batch):
            frames = others[i : i + self.batch]
            best = max([best, *self._look(memory, [image] * len(frames), frames)], key=lambda look: look.sureness)
        return best

    def _look(
        self,
        memory: Sam2Memory,
        images: Sequence[RGBImage],
        frames: Sequence[Frame],
        guesses: Sequence[Propagated] = (),
    ) -> list[Look]:
        """Look at images through frames: one pass of the encoder for all of them."""
        views = [pose.warp_image(image, frame, self.network.side) for image, frame in zip(images, frames, strict=True)]
        encoded = self.network.encode(np.stack(views))
        seeds = [self._seeds(guess, self.network.side // 4) for guess in guesses]
        found = [self._track(memory, i, encoded, seeds) for i in range(len(memory.known))]
        return [
            Look(frame, encoded.of(i), tuple(of_picture(each, i) for each in found), guesses[i] if guesses else None)
            for i, frame in enumerate(frames)
        ]

    def _track(self, memory: Sam2Memory, part: int, pictures: Encoded, seeds: Sequence[torch.Tensor]) -> Tracked:
        known = memory.known[part]
        guess = torch.stack(list(seeds))[:, list(known.traits)].to(self.network.device) if seeds else None
        return self.network.track(pictures, known.prepared, guess)

    def _seeds(self, guess: Propagated, side: int) -> torch.Tensor:
        """Turn masks of a photograph into a mask prompt: float32 (T, side, side), logits."""
        soft = np.stack([pose.warp_mask(mask, guess.frame, side) for mask in guess.masks])
        return torch.from_numpy((soft * 2 - 1) * GUESS).float()

    def _detail(self, look: Look) -> torch.Tensor | float:
        """Say how a first guess that is only corrected differs from what a quarter of the edge shows of it, as logits.

        SAM 2's masks have a quarter of the picture's edge; a ray of two pixels would be lost on the way.
        """
        if look.guess is None or self.network.trust is None:
            return 0.0
        fine, coarse = (self._seeds(look.guess, side) for side in (self.network.side, self.network.side // 4))
        return self.network.trust * (fine - self.network.enlarged(coarse[:, None])[:, 0]).to(self.network.device)

    def _answer(self, memory: Sam2Memory, image: RGBImage, look: Look) -> Propagated:
        logits, score, iou = in_order(memory, look.found)
        large = self.network.enlarged(logits[:, None])[:, 0] + self._detail(look)
        soft = settled(large, memory.rivals)
        masks = pose.unwarp_masks(soft, look.frame, image.shape[:2])
        shown = np.asarray(masks.any(axis=(1, 2)))
        there = score.sigmoid() * iou.clamp(0, 1)
        present = torch.from_numpy(shown).to(score.device)
        confidence: Floats = torch.where(present, there, 1 - score.sigmoid()).clamp(0, 1).float().cpu().numpy()
        cycle = self._cycle(memory, look, shown) if self.settings.cycle else None
        return Propagated(masks, confidence, look.frame, cycle)

    def _cycle(self, memory: Sam2Memory, look: Look, present: npt.NDArray[np.bool_]) -> Floats:
        """Follow what was found back to the support, with nothing else in memory; IoU with what was drawn there."""
        agreement = np.full(len(memory.traits), np.nan, dtype=np.float32)
        for known, found in zip(memory.known, look.found, strict=True):
            found_there = self.network.prepare([self.network.recall(look.encoded, found)])
            back = self.network.track(known.support, found_there)
            returned = self.network.enlarged(back.logits[0][:, None])[:, 0] > 0
            drawn = known.drawn.to(returned.device)
            both, either = ((returned & drawn).sum((1, 2)), (returned | drawn).sum((1, 2)))
            agreement[list(known.traits)] = (both / either).cpu().numpy()
        agreement[~present] = np.nan
        return agreement


class Sam2FilmPropagator(Sam2Propagator):
    """The paper's long pseudo-video: what was found on the photographs before joins the memory.

    **A mask depends on the photographs before it**, in the order in which they are given (in a build: the order of the
    table, group by group, from the first photograph that this run works on), so this is no `Propagator` to the letter,
    and it is never the default. A target looks back at the supports, at the masks of the last six targets and at the
    object pointers of the last fifteen (with Meta's settings), so the memory stays the same from the sixteenth on.
    """

    film = True

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        return [self._next(memory, image) for image in images]

    def _next(self, memory: Sam2Memory, image: RGBImage) -> Propagated:
        (found,) = super()._propagate(memory, [image])
        return found

    def _track(self, memory: Sam2Memory, part: int, pictures: Encoded, seeds: Sequence[torch.Tensor]) -> Tracked:
        before = [memories[part] for memories in memory.film.before]
        supports = memory.known[part].memories
        return self.network.track(pictures, self.network.prepare(supports, before=before, place=memory.film.place))

    def _answer(self, memory: Sam2Memory, image: RGBImage, look: Look) -> Propagated:
        film = memory.film
        film.before.append([self.network.recall(look.encoded, found) for found in look.found])
        del film.before[: 1 - self.network.reach]
        film.place += 1
        return super()._answer(memory, image, look)
