"""Does a photograph show such a specimen at all? Whether a target resembles its support, place by place.

Every cell of a target has a best match, and a template can be laid on anything: an empty drawer, a label, another
animal. Their similarities say little by themselves, since descriptors of any two photographs are alike to some degree.
The normalised cross-correlation of two grids of descriptors (template matching, Brunelli 2009) takes out what all cells
have in common: it is near 0 where the cells of support and target go with each other no better than shuffled ones.
"""

from __future__ import annotations

import torch

UNLIKE = 0.1
"""Correlation up to which a target does not show such a specimen: 50 painted floors with nothing on them have at most
0.09 with supports of NEON and pinned beetles and of painted organisms."""

ALIKE = 0.18
"""Correlation from which it does: nine tenths of 18 specimens of those three that were found though their cells match
badly have more (a tenth quantile of 0.178; of all 92 that were found 0.40 in the middle), and 5 of 78 photographs of
moths or of other painted organisms (0.12 in the middle)."""


def compute_correlation(support: torch.Tensor, target: torch.Tensor) -> float:
    """Compute the normalised cross-correlation of descriptors: -1..1, about 0 for unrelated ones.

    Args:
        support: float32 (N, D), of the cells of a specimen.
        target: float32 (N, D), of the same cells of a photograph in the frame in which it is aligned.
    """
    one, other = support - support.mean(0), target - target.mean(0)
    scale = one.square().sum().sqrt() * other.square().sum().sqrt()
    return float((one * other).sum() / scale.clamp(min=1e-6))


def compute_resemblance(correlation: float) -> float:
    """Compute how far a correlation says that the specimen is there: 0 up to `UNLIKE`, 1 from `ALIKE` on."""
    return min(1.0, max(0.0, (correlation - UNLIKE) / (ALIKE - UNLIKE)))
