"""Checks of what the models need on this computer, for `sst-retrieval doctor`.

Each function returns what it found in a few words, or raises the error that it met. Everything is imported inside the
functions: this module must be importable in a broken installation, which is what they look for.
"""

from __future__ import annotations

import importlib
import importlib.metadata


def check_torch_device() -> str:
    """Multiply two small matrices where models would run.

    Returns:
        The version of PyTorch and the device, e.g. "PyTorch 2.13.0+cpu on the CPU, 2 threads".
    """
    torch = importlib.import_module("torch")
    device = importlib.import_module("sst_retrieval.nets.device").resolve_device("auto")
    ones = torch.ones(8, 8, device=device)
    if float((ones @ ones).sum()) != 8**3:
        raise RuntimeError(f"{device} computes wrong numbers")
    if device.type == "cpu":
        return f"PyTorch {torch.__version__} on the CPU, {torch.get_num_threads()} threads"
    return f"PyTorch {torch.__version__} on {torch.cuda.get_device_name(device)}"


def check_torchvision() -> str:
    """Import torchvision, see `nets.torchvision_shim`, and return its version."""
    importlib.import_module("sst_retrieval.nets.torchvision_shim").ensure_torchvision()
    return f"torchvision {importlib.metadata.version('torchvision')} loads"


def check_default_weights() -> str:
    """Find the weights of the default models and verify their checksum."""
    model = importlib.import_module("sst_retrieval.nets.efficientnet")
    path = model.find_weights_file()
    return f"{path.name}, SHA-256 {model.verify_sha256(path)[:12]}... as expected"


def check_timm() -> str:
    """Import timm, which needs torchvision, and return its version."""
    check_torchvision()
    importlib.import_module("timm")
    return f"timm {importlib.metadata.version('timm')} loads"


def check_sam2() -> str:
    """Import the parts of the sam2 package that propagate masks, and return its version."""
    importlib.import_module("sam2.build_sam")
    importlib.import_module("sam2.modeling.sam2_base")
    return f"sam2 {importlib.metadata.version('sam2')} loads"


def check_open_clip() -> str:
    """Import open_clip, which needs torchvision, and return its version."""
    check_torchvision()
    importlib.import_module("open_clip")
    return f"open-clip-torch {importlib.metadata.version('open-clip-torch')} loads"


def check_salient() -> str:
    """Load the salient-object network, which needs onnxruntime and a package that carries its weights."""
    model = importlib.import_module("sst_retrieval.foregrounds.u2netp")
    name: str = model.U2NetpForeground().name
    return f"{name} loads, onnxruntime {importlib.metadata.version('onnxruntime')}"


def check_mobile_sam() -> str:
    """Load MobileSAM; without the package that carries its weights, which may be in a file of the user's, its code."""
    model = importlib.import_module("sst_retrieval.nets.mobile_sam")
    try:
        importlib.metadata.version(model.DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        model.import_builder()
        commands = importlib.import_module("sst_retrieval.nets.install_commands")
        return (
            "MobileSAM's code loads, its weights are not installed: name a file, --outlines mobile_sam@FILE, or run "
            f"{commands.MOBILE_SAM_WEIGHTS_COMMAND}"
        )
    weights = model.MobileSam(device="cpu").weights
    return f"MobileSAM loads, {weights['file']}, SHA-256 {weights['sha256'][:12]}... as expected"


def check_openvino() -> str:
    """Run the default network by OpenVINO and by PyTorch on one picture; returns the version and the processor."""
    numpy, torch = importlib.import_module("numpy"), importlib.import_module("torch")
    picture = (numpy.arange(64 * 64 * 3) % 251).astype(numpy.uint8).reshape(1, 64, 64, 3)
    by_torch = importlib.import_module("sst_retrieval.nets.efficientnet").EfficientNetTrunk("cpu").levels(picture)
    by_openvino = importlib.import_module("sst_retrieval.nets.openvino_trunk").OpenVinoTrunk("cpu").levels(picture)
    for one, other in zip(by_torch, by_openvino, strict=True):
        if not torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max())):
            raise RuntimeError("OpenVINO computes other features than PyTorch")
    return f"OpenVINO {importlib.metadata.version('openvino')} computes what PyTorch does"


def check_ray() -> str:
    """Import Ray, and return its version; no cluster is started."""
    importlib.import_module("ray")
    return f"Ray {importlib.metadata.version('ray')} loads"
