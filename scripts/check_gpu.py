"""Check a computer with an NVIDIA card in less than eight minutes: the masks of the CPU, and how fast.

    python scripts/check_gpu.py --json check-gpu.json
    python scripts/check_gpu.py --device cpu --photographs 2      # a rehearsal, without a card

On photographs of the synthetic drawer, which it makes itself:

1. `dense` and `tracker`: masks on the card against masks on the CPU (IoU), photographs a second, memory of the card.
2. `dense` on features in bfloat16 (autocast): its masks against those in float32.
3. SAM 2 in the shapes of Meta's tiny and large models at 1024 px, with random weights: whether it runs, photographs a
   second, memory. Its masks mean nothing.
4. The products of codes that `Index.search_many(device="cuda")` computes: a million and ten million rows of 320 bytes,
   the same whole numbers as on the CPU, milliseconds a query of 128 together.
5. faiss-gpu, which the search does not need, where it is installed: a million and ten million vectors of 256 numbers,
   the same twelve as exact search on the CPU, milliseconds a query alone and of 64 together, to compare with.

A stage that would begin after `BUDGET` seconds is left out, and said to be. Exit status: 0 if all is as it should be,
1 if masks differ too much or a stage failed, 2 without a card.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sst_retrieval import make_drawer, read_collection, read_supports
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.imaging.images import read_image
from sst_retrieval.index.byte_products import ByteTable
from sst_retrieval.index.codes import CODE_BYTES
from sst_retrieval.provenance import programs
from sst_retrieval.types import MaskStack, RGBImage, Support

BUDGET = 420.0
"""Seconds after which no stage begins."""

LEAST_IOU = {"dense": 0.99, "tracker": 0.95}
"""Propagator -> least mean IoU of masks on the card with masks on the CPU; the tracker computes in bfloat16."""

SAM2_SHAPES = {"tiny": "sam2.1_hiera_t", "large": "sam2.1_hiera_l"}
NEIGHBOURS = 12
DIMENSIONS = 256


@dataclass
class Run:
    """What the stages share.

    Attributes:
        device: "cuda", or "cpu" for a rehearsal.
        groups: the supports of each group, and photographs to propagate to.
        vectors: how many vectors FAISS is to search, one number a trial.
        start: by `time.monotonic`.
        results: stage -> what was measured.
        failures: what is not as it should be.
    """

    device: str
    groups: Sequence[tuple[Sequence[Support], Sequence[RGBImage]]]
    vectors: Sequence[int]
    start: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def do(self, name: str, stage: Callable[[], dict[str, Any]]) -> None:
        """Do a stage, print what it measured, and note what it failed at."""
        passed = time.monotonic() - self.start
        if passed > BUDGET:
            print(f"{name}: left out, {passed:.0f} s have passed")
            self.results[name] = "left out"
            return
        try:
            measured = stage()
        except Exception as error:
            # Everything is caught because everything is a result; the next stages must run all the same.
            traceback.print_exc()
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            measured = {"error": str(error)}
        self.results[name] = measured
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in measured.items()), flush=True)


def main() -> None:
    """Do all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--photographs", type=int, default=16, help="of the drawer, besides the supports")
    parser.add_argument("--vectors", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--json", type=Path, help="write what was measured to this file, too")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"PyTorch {torch.__version__} sees no CUDA card: nothing was checked. Run this on a computer with one, and "
            "with a CUDA build of torch; --device cpu rehearses it."
        )
        sys.exit(2)
    run = Run(options.device, draw_photographs(options.photographs), options.vectors)
    run.results["computer"] = describe_computer(options.device)
    print(json.dumps(run.results["computer"]))
    for name in LEAST_IOU:
        run.do(name, lambda name=name: compare_masks(run, name))  # type: ignore[misc]
    run.do("dense in bfloat16", lambda: measure_bfloat16(run))
    for name in SAM2_SHAPES:
        run.do(f"sam2 {name}", lambda name=name: measure_sam2(run, name))  # type: ignore[misc]
    for count in run.vectors:
        run.do(f"codes {count:,}", lambda count=count: measure_codes(run, count))  # type: ignore[misc]
    for count in run.vectors:
        run.do(f"faiss {count:,}", lambda count=count: measure_faiss(run, count))  # type: ignore[misc]
    run.results["seconds"] = round(time.monotonic() - run.start)
    run.results["failures"] = run.failures
    if options.json is not None:
        options.json.write_text(json.dumps(run.results, indent=1) + "\n")
    print(f"{run.results['seconds']} s; " + ("; ".join(run.failures) or "all is as it should be"))
    sys.exit(1 if run.failures else 0)


def describe_computer(device: str) -> dict[str, Any]:
    """Describe the card and the programs."""
    about: dict[str, Any] = {"torch": torch.__version__, **programs()}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        about |= {"card": card.name, "gigabytes": round(card.total_memory / 1e9), "cuda": torch.version.cuda}
    return about


def draw_photographs(count: int) -> list[tuple[Sequence[Support], Sequence[RGBImage]]]:
    """Make a drawer, and read the supports of each of its groups with some of its other photographs."""
    with tempfile.TemporaryDirectory() as folder:
        make_drawer(Path(folder) / "drawer", specimens=count + 9)
        collection = read_collection(Path(folder) / "drawer" / "collection.csv")
        supports = read_supports(Path(folder) / "drawer" / "supports", collection)
        annotated = {each.individual for each in supports.references}
        targets: dict[str, list[RGBImage]] = {group: [] for group in supports.groups()}
        for photograph in collection.photographs:
            if photograph.id not in annotated and photograph.group in targets:
                targets[photograph.group].append(read_image(photograph.image))
        return [(supports.load(group), images) for group, images in targets.items() if images]


def propagate(
    run: Run, name: str, device: str, options: ModelOptions, change: Callable[[Any], None] = lambda propagator: None
) -> tuple[list[MaskStack], float]:
    """Propagate to all photographs: their masks, and seconds a photograph without loading and supports."""
    propagator = load_propagator(name, device, options)
    change(propagator)
    memories = [propagator.remember(supports) for supports, _ in run.groups]
    batch = getattr(propagator, "batch", 1)
    masks: list[MaskStack] = []
    propagator.propagate(memories[0], run.groups[0][1][:1])  # Kernels are chosen in the first call.
    start = time.perf_counter()
    for memory, (_, images) in zip(memories, run.groups, strict=True):
        for first in range(0, len(images), batch):
            masks += [found.masks for found in propagator.propagate(memory, images[first : first + batch])]
    if device == "cuda":
        torch.cuda.synchronize()
    return masks, (time.perf_counter() - start) / max(1, len(masks))


def measure_memory(device: str) -> dict[str, Any]:
    """Return the most memory of the card that was in use since the last call."""
    if device != "cuda":
        return {}
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return {"gigabytes of the card": round(most, 2)}


def compute_ious(ours: Sequence[MaskStack], theirs: Sequence[MaskStack]) -> np.ndarray:
    """Compute the IoU of each mask with its counterpart; 1 where both are empty."""
    ious = []
    for one, other in zip(ours, theirs, strict=True):
        for mask, counterpart in zip(one, other, strict=True):
            union = np.count_nonzero(mask | counterpart)
            ious.append(np.count_nonzero(mask & counterpart) / union if union else 1.0)
    return np.array(ious)


def summarise(ious: np.ndarray) -> dict[str, Any]:
    """Summarise IoUs in three numbers."""
    return {
        "masks": len(ious),
        "mean IoU": round(float(ious.mean()), 4),
        "worst": round(float(ious.min()), 3),
        "identical": f"{np.mean(ious == 1):.1%}",
    }


def compare_masks(run: Run, name: str) -> dict[str, Any]:
    """Compare a propagator's masks on the card with those on the CPU."""
    on_cpu, cpu_seconds = propagate(run, name, "cpu", ModelOptions())
    on_card, seconds = propagate(run, name, run.device, ModelOptions())
    ious = compute_ious(on_card, on_cpu)
    if ious.mean() < LEAST_IOU[name]:
        run.failures.append(f"{name}: mean IoU with the CPU's masks {ious.mean():.3f}, wanted {LEAST_IOU[name]}")
    speed = {"photographs a second": round(1 / seconds, 2), "on the CPU": round(1 / cpu_seconds, 2)}
    return {**summarise(ious), **speed, **measure_memory(run.device)}


def measure_bfloat16(run: Run) -> dict[str, Any]:
    """Compare masks from features in bfloat16 with those in float32, on the same device."""

    def reduce(propagator: Any) -> None:
        compute = propagator.trunk.levels

        def compute_reduced(*images: Any, **options: Any) -> list[torch.Tensor]:
            with torch.autocast(run.device, dtype=torch.bfloat16):
                return [level.float() for level in compute(*images, **options)]

        propagator.trunk.levels = compute_reduced

    plain, _ = propagate(run, "dense", run.device, ModelOptions())
    masks, seconds = propagate(run, "dense", run.device, ModelOptions(), reduce)
    return {**summarise(compute_ious(masks, plain)), "photographs a second": round(1 / seconds, 2)}


def measure_sam2(run: Run, size: str) -> dict[str, Any]:
    """Run SAM 2 in the shape of one of Meta's models, with random weights."""
    if run.device == "cpu":
        return {"left out": "minutes on a CPU"}
    import sam2

    from sst_retrieval.track.sam2.checkpoint import build_network

    config = Path(sam2.__path__[0]) / "configs" / "sam2.1" / f"{SAM2_SHAPES[size]}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        network = build_network(config)
        with torch.no_grad():  # Else every mask of random weights is the constant "not there".
            network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 2
        checkpoint = Path(folder) / f"{size}.pt"
        torch.save({"model": network.state_dict()}, checkpoint)
        masks, seconds = propagate(run, "sam2", run.device, ModelOptions(checkpoint=str(checkpoint)))
    return {"photographs": len(masks), "photographs a second": round(1 / seconds, 2), **measure_memory(run.device)}


def measure_codes(run: Run, count: int) -> dict[str, Any]:
    """Multiply codes of regions with queries on the card, and compare with the CPU: not one number may differ."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (count, CODE_BYTES), dtype=np.int8)
    queries = rng.integers(-127, 128, (128, CODE_BYTES), dtype=np.int8)
    start = time.perf_counter()
    table = ByteTable([codes], run.device)
    found = table.group_maxima(queries)
    begun = time.perf_counter() - start
    start = time.perf_counter()
    found = table.group_maxima(queries)
    seconds = (time.perf_counter() - start) / len(queries)
    checked = codes[: 1 << 20]
    expected = ByteTable([checked], "cpu").group_maxima(queries)
    if not np.array_equal(found[: len(expected)], expected):
        run.failures.append(f"codes {count:,}: products on {run.device} are not those of the CPU")
    return {"ms a query": round(seconds * 1e3, 3), "first call s": round(begun, 1), **measure_memory(run.device)}


def measure_faiss(run: Run, count: int) -> dict[str, Any]:
    """Search vectors on the card, and compare the answers with those of the CPU."""
    import faiss

    cards = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if run.device == "cuda" and not cards:
        return {"left out": "faiss-gpu is not installed, or sees no card"}
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = (
        vectors[rng.choice(count, 64, replace=False)] + rng.standard_normal((64, DIMENSIONS), dtype=np.float32) / 20
    )
    exact = faiss.IndexFlatIP(DIMENSIONS)
    exact.add(vectors)
    index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, exact) if run.device == "cuda" else exact
    wanted = exact.search(queries[:8], NEIGHBOURS)[1]
    found = index.search(queries[:8], NEIGHBOURS)[1]
    same = float(np.mean([len(set(one) & set(other)) / NEIGHBOURS for one, other in zip(found, wanted, strict=True)]))
    if same < 1:
        # Random vectors lie close together: the card rounds otherwise, and a program must look at a few more.
        more = index.search(queries[:8], 4 * NEIGHBOURS)[1]
        covered = all(set(other) <= set(one) for one, other in zip(more, wanted, strict=True))
        if not covered:
            run.failures.append(f"faiss {count:,}: the twelve nearest are not among the card's first 48")
    start = time.perf_counter()
    for query in queries[:16]:
        index.search(query[None], NEIGHBOURS)
    alone = (time.perf_counter() - start) / 16
    start = time.perf_counter()
    index.search(queries, NEIGHBOURS)
    together = (time.perf_counter() - start) / len(queries)
    return {"ms a query": round(alone * 1e3, 2), "of 64 together": round(together * 1e3, 3), "recall": round(same, 3)}


if __name__ == "__main__":
    main()
