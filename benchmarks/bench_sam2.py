"""Measure SAM 2 as this program runs it against the straightforward way, on the same random weights.

    python benchmarks/bench_sam2.py                                    # tiny, 512 px: minutes on two cores
    python benchmarks/bench_sam2.py --model large --side 1024 --shares # where the time goes
    python benchmarks/bench_sam2.py --device cuda --side 1024

The straightforward way is the official predictor on a film of two frames, support and target, anew for every target
(Feng et al. 2025, published script). It runs here on pictures in memory, without the JPEG files that it also writes and
reads. Both answer the same targets in turn, and every mask must be the same but for the rounding of floats: masks of
random weights mean nothing, but they cost what real ones do. Ratios are what to compare between computers.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sam2
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sst_retrieval.models import sam2_checkpoint
from sst_retrieval.models.sam2_network import Memory, Sam2Network

LETTERS = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def configuration(name: str, side: int, target: str) -> dict[str, Any]:
    """Return Meta's configuration of a size, for pictures of another edge."""
    path = Path(sam2.__path__[0]) / f"configs/sam2.1/sam2.1_hiera_{LETTERS[name]}.yaml"
    whole: Any = OmegaConf.to_container(OmegaConf.load(path))
    model: dict[str, Any] = whole["model"]
    layer = model["memory_attention"]["layer"]
    for part in ("self_attention", "cross_attention"):
        layer[part]["feat_sizes"] = [side // 16, side // 16]
    return model | {"image_size": side, "_target_": target} | sam2_checkpoint._AS_IN_VIDEO


def build(name: str, side: int, device: str) -> tuple[Sam2Network, Any]:
    """Make the network and the official predictor with the same random weights, present objects switched on."""
    torch.manual_seed(0)
    model = instantiate(OmegaConf.create(configuration(name, side, "sam2.modeling.sam2_base.SAM2Base"))).eval()
    official = instantiate(
        OmegaConf.create(configuration(name, side, "sam2.sam2_video_predictor.SAM2VideoPredictor"))
    ).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 2
        for block in model.memory_encoder.fuser.layers:
            block.gamma.fill_(0.1)
    official.load_state_dict(model.state_dict())
    return Sam2Network(model, torch.device(device)), official.to(device)


@torch.inference_mode()
def straightforward(official: Any, frames: np.ndarray, masks: torch.Tensor) -> torch.Tensor:
    """Run the official predictor on [support, target]: float32 (T, S, S)."""
    mean, spread = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pictures = (torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255 - mean) / spread
    import sam2.sam2_video_predictor as module

    module.load_video_frames = lambda **_: (pictures, frames.shape[1], frames.shape[2])
    module.tqdm = lambda each, **_: each
    state = official.init_state("")
    for trait, mask in enumerate(masks):
        official.add_new_mask(state, 0, trait, mask)
    *_, (_, _, logits) = official.propagate_in_video(state)
    return logits[:, 0]


@torch.inference_mode()
def ours(network: Sam2Network, picture: np.ndarray, memory: Memory) -> torch.Tensor:
    """Propagate onto one target: float32 (T, S, S)."""
    found = network.track(network.encode(picture[None]), [memory])
    return network.enlarged(found.logits[0][:, None])[:, 0]


def timed(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Run something: seconds, and its result. On the CPU seconds of computing, of all threads: others may work too."""
    if device == "cpu":
        start = time.process_time()
        result = work()
        return time.process_time() - start, result
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def compare(network: Sam2Network, official: Any, pictures: np.ndarray, traits: int, device: str) -> None:
    """Let both ways answer the same targets in turn."""
    masks = torch.zeros(traits, network.side, network.side, dtype=torch.bool)
    for trait in range(traits):
        start = network.side * (trait + 1) // (traits + 3)
        masks[trait, start : start + network.side // 4, start : start + network.side // 3] = True
    with torch.inference_mode():
        once, memory = timed(lambda: network.remember(network.encode(pictures[:1]), masks), device)
    mine, theirs = [], []
    for target in pictures[1:]:
        seconds, expected = timed(lambda: straightforward(official, np.stack([pictures[0], target]), masks), device)  # noqa: B023
        theirs.append(seconds)
        seconds, found = timed(lambda: ours(network, target, memory), device)  # noqa: B023
        mine.append(seconds)
        if device == "cpu" and (found - expected).abs().max() > 1e-3:
            raise SystemExit("the two ways disagree")
    a, b = statistics.median(mine), statistics.median(theirs)
    print(f"{traits} trait(s): {a * 1000:,.0f} ms a target (support once: {once * 1000:,.0f} ms), straightforward")
    print(f"    {b * 1000:,.0f} ms: {b / a:.2f} times; retrieval that tracks twice a photograph: {2 * b / a:.2f} times")


@torch.inference_mode()
def shares(network: Sam2Network, picture: np.ndarray, traits: int, device: str) -> None:
    """Say how much of a target's time encoder, memory attention and mask decoder take."""
    spent = {"memory attention": 0.0, "mask decoder": 0.0}
    model = network.model

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(**given: Any) -> Any:
            seconds, result = timed(lambda: work(**given), device)
            spent[name] += seconds
            return result

        return run

    masks = torch.zeros(traits, network.side, network.side, dtype=torch.bool)
    masks[:, 10 : network.side // 2, 10 : network.side // 2] = True
    encoder, encoded = timed(lambda: network.encode(picture[None]), device)
    memory = network.remember(encoded, masks)
    model._prepare_memory_conditioned_features = watched("memory attention", model._prepare_memory_conditioned_features)
    model._forward_sam_heads = watched("mask decoder", model._forward_sam_heads)
    network.track(encoded, [memory])
    total = encoder + sum(spent.values())
    parts = {"image encoder": encoder, **spent}
    said = ", ".join(f"{part} {each * 1000:,.0f} ms ({each / total:.0%})" for part, each in parts.items())
    print(f"{traits} trait(s): {said}")


def flat_memory(network: Sam2Network, pictures: np.ndarray, count: int, device: str) -> None:
    """Say how the peak of memory grows with the number of targets."""
    masks = torch.zeros(1, network.side, network.side, dtype=torch.bool)
    masks[:, 10:60, 10:60] = True
    with torch.inference_mode():
        memory = network.remember(network.encode(pictures[:1]), masks)
    for done in range(count):
        ours(network, pictures[done % len(pictures)], memory)
        if done + 1 in (10, 100, count):
            peak = torch.cuda.max_memory_allocated() / 1024 if device != "cpu" else resource.getrusage(0).ru_maxrss
            print(f"peak memory after {done + 1} targets: {peak / 1024:,.0f} MB", flush=True)


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=LETTERS, default="tiny")
    parser.add_argument("--side", type=int, default=512, help="edge of the pictures; Meta's is 1024")
    parser.add_argument("--traits", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shares", action="store_true", help="only where the time goes")
    parser.add_argument("--flat", type=int, default=0, metavar="N", help="only peak memory, up to N targets")
    options = parser.parse_args()
    network, official = build(options.model, options.side, options.device)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (options.targets + 1, options.side, options.side, 3), dtype=np.uint8)
    print(f"SAM 2.1 {options.model}, {options.side} px, random weights, {options.device}")
    if options.flat:
        flat_memory(network, pictures, options.flat, options.device)
        return
    with torch.inference_mode():
        network.encode(pictures[:1])  # Warm.
    for traits in options.traits:
        if options.shares:
            shares(network, pictures[1], traits, options.device)
        else:
            compare(network, official, pictures, traits, options.device)


if __name__ == "__main__":
    main()
