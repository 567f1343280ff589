"""Compare the run time of this program's SAM 2 propagation with the published SST scripts, on the same random weights.

    python benchmarks/bench_sam2.py                            # everything; five minutes on idle cores
    python benchmarks/bench_sam2.py --parts propagation        # one part of it
    python benchmarks/bench_sam2.py --device cuda --side 1024 --parts propagation shares

The published scripts (github.com/Imageomics/SST, Feng et al. 2025) work as follows:

- `segment_and_crop_individual.py`: for every photograph a video of two frames, support and target; all traits are
  objects of that video and share its features ("one film").
- `trait_retrieval.py`: the same with one trait per run, `--trait_id`, so five traits are five videos of one object each
  ("a film a trait"); for every query every photograph is tracked twice, forwards and backwards.

The scripts carry the video predictor of SAM 2.0, which tracks all objects in one batch; the sam2 package has it as
`sam2_video_predictor_legacy`. It runs here on pictures in memory. All methods process the same targets in turn, and
their masks must be equal up to rounding. With random weights the masks are meaningless but cost the same as real ones.
Times are medians; on the CPU they are processor seconds, which depend less on other load. Compare ratios, not times,
between computers.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sam2
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.vector_files import write_vectors
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.track.sam2 import checkpoint as sam2_checkpoint
from sst_retrieval.track.sam2 import network as sam2_network
from sst_retrieval.track.sam2.network import MEAN, STD, Sam2Network
from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2Settings
from sst_retrieval.types import Support

LETTERS = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
PARTS = ("propagation", "memory", "query", "shares")
PREDICTORS = {"published": "sam2.sam2_video_predictor_legacy", "current": "sam2.sam2_video_predictor"}
SMALL_TRUNK = {"embed_dim": 24, "stages": [1, 1, 2, 1], "global_att_blocks": [3], "window_spec": [8, 4, 8, 4]}
"""Settings of a trunk that is fast enough for a thousand targets."""

BLOCKS = {"pattern": 352, "colour": 128, "shape": 120}


def read_configuration(name: str, side: int) -> dict[str, Any]:
    """Read Meta's configuration of a model size, with another picture size."""
    path = Path(sam2.__path__[0]) / f"configs/sam2.1/sam2.1_hiera_{LETTERS.get(name, 't')}.yaml"
    whole: Any = OmegaConf.to_container(OmegaConf.load(path))
    model: dict[str, Any] = whole["model"]
    if name == "short":
        model["image_encoder"]["trunk"] |= SMALL_TRUNK
        model["image_encoder"]["neck"]["backbone_channel_list"] = [8 * 24, 4 * 24, 2 * 24, 24]
    layer = model["memory_attention"]["layer"]
    for part in ("self_attention", "cross_attention"):
        layer[part]["feat_sizes"] = [side // 16, side // 16]
    return model | {"image_size": side}


def make_random_network(name: str, side: int) -> Any:
    """Make a `SAM2Base` with random weights that predicts objects as present."""
    torch.manual_seed(0)
    described = read_configuration(name, side) | sam2_checkpoint.INFERENCE_OVERRIDES
    model = instantiate(OmegaConf.create(described | {"_target_": "sam2.modeling.sam2_base.SAM2Base"})).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 2
        for block in model.memory_encoder.fuser.layers:
            block.gamma.fill_(0.1)
    return model


def build_both(name: str, side: int, device: str, predictor: str = "published") -> tuple[Sam2Network, Any]:
    """Make this program's network and the official predictor with the same random weights."""
    model = make_random_network(name, side)
    target = f"{PREDICTORS[predictor]}.SAM2VideoPredictor"
    described = read_configuration(name, side) | sam2_checkpoint.INFERENCE_OVERRIDES | {"_target_": target}
    official = instantiate(OmegaConf.create(described)).eval()
    official.load_state_dict(model.state_dict())
    return Sam2Network(model, torch.device(device)), official.to(device)


@torch.inference_mode()
def run_official(official: Any, frames: np.ndarray, masks: torch.Tensor) -> torch.Tensor:
    """Run the official predictor on a video [support, target]: mask logits, float32 (T, S, S).

    Args:
        official: the predictor.
        frames: uint8 (2, S, S, 3).
        masks: of the support, bool (T, S, S).
    """
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    pictures = (torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255 - mean) / std
    module: Any = importlib.import_module(type(official).__module__)
    module.load_video_frames = lambda **_: (pictures.to(official.device), frames.shape[1], frames.shape[2])
    module.tqdm = lambda each, **_: each
    with torch.autocast("cuda", torch.bfloat16, enabled=official.device.type == "cuda"):
        state = official.init_state("")
        for trait, mask in enumerate(masks):
            official.add_new_mask(state, 0, trait, mask)
        *_, (_, _, logits) = official.propagate_in_video(state)
    found: torch.Tensor = logits[:, 0]
    return found


@torch.inference_mode()
def run_ours(network: Sam2Network, picture: np.ndarray, memory: Any) -> torch.Tensor:
    """Propagate onto one target, uint8 (S, S, 3): mask logits, float32 (T, S, S)."""
    found = network.track(network.encode(picture[None]), memory)
    return network.upsample(found.logits[0][:, None])[:, 0]


def measure(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Run a function; return its time in seconds (on the CPU, processor time of all threads) and its result."""
    if device == "cpu":
        start = time.process_time()
        result = work()
        return time.process_time() - start, result
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def draw_rectangles(traits: int, side: int) -> torch.Tensor:
    """Make masks of T rectangles: bool (T, S, S)."""
    masks = torch.zeros(traits, side, side, dtype=torch.bool)
    for trait in range(traits):
        start = side * (trait + 1) // (traits + 3)
        masks[trait, start : start + side // 4, start : start + side // 3] = True
    return masks


def compare_propagation(options: argparse.Namespace) -> float:
    """Time all methods on the same targets in turn; return the official one's seconds per target with one trait."""
    network, official = build_both(options.model, options.side, options.device, options.predictor)
    pictures = make_photographs(options.targets + 1, options.side)
    print(f"SAM 2.1 {options.model}, {options.side} px, random weights, {options.device}, {options.targets} targets")
    run_official(official, pictures[:2], draw_rectangles(1, options.side))  # Warm.
    one_trait = float("nan")
    for traits in options.traits:
        masks = draw_rectangles(traits, options.side)
        with torch.inference_mode():
            once, memory = measure(
                lambda: network.project_memories(
                    [network.encode_conditioning_frame(network.encode(pictures[:1]), masks)]  # noqa: B023
                ),
                options.device,
            )
        times: dict[str, list[float]] = defaultdict(list)
        for target in pictures[1:]:
            film = np.stack([pictures[0], target])
            ways = {
                "ours": lambda: run_ours(network, target, memory),  # noqa: B023
                "one film": lambda: run_official(official, film, masks),  # noqa: B023
            }
            if traits > 1:
                ways["a film a trait"] = lambda: torch.cat([run_official(official, film, m[None]) for m in masks])  # noqa: B023
            answers = []
            for way, work in ways.items():
                seconds, answer = measure(work, options.device)
                times[way].append(seconds)
                answers.append(answer)
            if options.device == "cpu" and max(float((answers[0] - each).abs().max()) for each in answers[1:]) > 1e-3:
                raise SystemExit("the masks of the methods differ")
        median = {way: statistics.median(each) for way, each in times.items()}
        ratio = {way: statistics.median(np.divide(each, times["ours"])) for way, each in times.items()}
        print(f"{traits} trait(s): ours {median['ours'] * 1000:,.0f} ms a target, support once {once * 1000:,.0f} ms")
        for way in list(ways)[1:]:
            print(f"    {way}: {median[way] * 1000:,.0f} ms, {ratio[way]:.2f} times; tracked twice, as the retrieval")
            print(f"        script does for every query: {2 * ratio[way]:.2f} times", flush=True)
        one_trait = median["one film"] if traits == 1 else one_trait
    return one_trait


def measure_memory(options: argparse.Namespace) -> None:
    """Print how peak memory grows with the number of targets, in a process of its own."""
    command = [sys.executable, __file__, "--flat", str(options.most), "--device", options.device]
    subprocess.run(command, check=True)


def print_peak_memory(count: int, device: str) -> None:
    """Propagate onto many targets with a small network, and print the peak memory on the way."""
    side, name = 128, "short"
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, config = Path(folder) / "random.pt", Path(folder) / "random.yaml"
        torch.save({"model": make_random_network(name, side).state_dict()}, checkpoint)
        config.write_text(OmegaConf.to_yaml(OmegaConf.create({"model": read_configuration(name, side)})))
        # Random weights have low confidence; avoid a second pass over each target.
        propagator = Sam2Propagator(
            str(checkpoint), config=config, device=device, settings=Sam2Settings(sure=0.0), batch=4
        )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    masks = np.zeros((5, 240, 320), dtype=bool)
    for trait in range(5):
        masks[trait, 30 * trait + 20 : 30 * trait + 80, 100:200] = True
    memory = propagator.remember([Support("one", "group", image, tuple("abcde"), masks)])
    print(f"SAM 2.1 with a short trunk, {side} px, 5 traits, 4 photographs at once")
    for done in range(4, count + 4, 4):
        propagator.propagate(memory, list(rng.integers(0, 255, (4, 240, 320, 3), dtype=np.uint8)))
        if done in (12, 100, 250, 500, count):
            print(f"peak memory after {done} targets: {peak_memory(device):,.0f} MB", flush=True)


def peak_memory(device: str) -> float:
    """Return the peak memory so far, in MB: of the process, or of the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_query(options: argparse.Namespace, official_seconds: float) -> None:
    """Compare a query of the index with tracking every photograph for the query."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((options.most, size), dtype=np.float32) for size in BLOCKS.values()]
    vectors = np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
    with tempfile.TemporaryDirectory() as folder:
        write_vectors(Path(folder) / "trait.faiss", np.arange(options.most), vectors)
        index = VectorIndex(Path(folder) / "trait.faiss", BLOCKS)
        times = [
            measure(lambda: index.search([QueryExample(vector[None])], 12, weights=np.ones(3)), "cpu")[0]  # noqa: B023
            for vector in vectors[:51]
        ]
    once = statistics.median(times[1:])
    anew = 2 * options.most * official_seconds
    print(f"a query among {options.most:,} specimens: {once * 1000:.2f} ms by the index; tracked anew, there and back,")
    print(f"    {anew:,.0f} s (one target's time, times {2 * options.most:,}): {anew / once:,.0f} times", flush=True)


@torch.inference_mode()
def measure_parts(options: argparse.Namespace) -> None:
    """Print the times of image encoder, memory attention and mask decoder per target, for the sizes tiny and large."""
    pictures = make_photographs(1, options.side)
    for name in ("tiny", "large"):
        network = Sam2Network(make_random_network(name, options.side), torch.device(options.device))
        network.encode(pictures)  # Warm.
        for traits in options.traits:
            spent = time_parts(network, pictures, traits, options.device)
            total = sum(spent.values())
            said = ", ".join(f"{part} {each * 1000:,.0f} ms ({each / total:.0%})" for part, each in spent.items())
            print(f"{name}, {options.side} px, {traits} trait(s): {said}", flush=True)


def time_parts(network: Sam2Network, pictures: np.ndarray, traits: int, device: str) -> dict[str, float]:
    """Time the three parts on one target, in seconds."""
    encoder, encoded = measure(lambda: network.encode(pictures), device)
    memory = network.project_memories(
        [network.encode_conditioning_frame(encoded, draw_rectangles(traits, network.side))]
    )
    whole, _ = measure(lambda: network.track(encoded, memory), device)
    with network.autocast():
        attention, _ = measure(
            lambda: sam2_network.attend(network.model, encoded.features[-1], encoded.positions, memory), device
        )
    return {"image encoder": encoder, "memory attention": attention, "mask decoder": max(0.0, whole - attention)}


def make_photographs(count: int, side: int) -> np.ndarray:
    """Make random pictures: uint8 (N, S, S, 3)."""
    return np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=LETTERS, default="tiny")
    parser.add_argument("--side", type=int, default=512, help="edge of the pictures; Meta's is 1024")
    parser.add_argument("--traits", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument(
        "--most", type=int, default=1000, help="number of targets for peak memory, of specimens for the query"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predictor", choices=PREDICTORS, default="published")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--flat", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flat:
        print_peak_memory(options.flat, options.device)
        return
    seconds = float("nan")
    if "memory" in options.parts:
        measure_memory(options)
    if "propagation" in options.parts or "query" in options.parts:
        seconds = compare_propagation(options)
    if "query" in options.parts:
        compare_query(options, seconds)
    if "shares" in options.parts:
        measure_parts(options)


if __name__ == "__main__":
    main()
