"""What came of one input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

REFUSED = "refused"
"""One of our errors."""

RIGHT = "right"
"""The result that an independent reading gives, or the same as of the undamaged input."""

EXPLAINED = "explained"
"""Another result than of the undamaged input, with a note, or of a format that cannot notice it."""

DIFFERENT = "silent difference"
TRACEBACK = "traceback"
HANG = "hang"
MEMORY = "memory"

FAULTS = (DIFFERENT, TRACEBACK, HANG, MEMORY)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one input.

    Attributes:
        verdict: one of the constants above.
        reason: why, in words that are the same for inputs of one kind, so that they can be counted.
        detail: more about this input, for a person who looks into a fault.
    """

    verdict: str
    reason: str
    detail: str = ""


Check: TypeAlias = Callable[[Random], Outcome]
"""Makes an input from random numbers, reads it, and judges what came of it; raises what the program raised."""

Prepare: TypeAlias = Callable[[Path], Check]
"""Makes the valid inputs of a kind; given a folder that the inputs may be written into."""
