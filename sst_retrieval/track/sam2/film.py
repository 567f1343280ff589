"""The long pseudo-video of the SST paper: a group's photographs as one film, each mask of which helps with the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sst_retrieval.track.sam2.memory import Look, Sam2Memory
from sst_retrieval.track.sam2.network import Encoded, Tracked
from sst_retrieval.track.sam2.propagator import Sam2Propagator
from sst_retrieval.types import Propagated, RGBImage


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
