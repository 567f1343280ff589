"""Connect to a Ray cluster, or start one on this computer (extra `ray`)."""

from __future__ import annotations

import importlib
import os
from typing import Any

from sst_retrieval.errors import ClusterError

LOCAL = "local"
"""The address that means: start Ray on this computer."""


def connect(ray: Any, address: str, cores: int) -> None:
    """Connect to a cluster, or start one on this computer.

    Args:
        ray: the library.
        address: "local" to start Ray on this computer, "auto" for the cluster that this computer belongs to, or the
            address of a cluster's head, HOST:PORT.
        cores: how many a cluster on this computer has.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Else Ray reports to its makers that it was used.
    options: dict[str, Any] = {"include_dashboard": False, "num_cpus": cores} if address == LOCAL else {}
    if address.startswith("ray://"):
        raise ClusterError(
            f"Ray cluster {address!r}: Ray's client is not supported; run this on a machine of the cluster, with the "
            "address 'auto'"
        )
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"the Ray cluster {address!r} cannot be reached ({' '.join(str(error).split())}); start it with "
            "`ray start --head`, and name its address, or say 'local' to start Ray on this computer"
        ) from error


def import_ray() -> Any:
    """Import Ray on first use.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ClusterError(
            "Ray is not installed, which a cluster needs; run: pip install 'sst-retrieval[ray]'"
        ) from error
