"""Networks that several packages share, their weights, and the device they run on."""

import os

# Before torch is loaded: its threads otherwise spin while they wait for each other, and on a computer that is busy with
# other work that makes a build several times slower. A value that is already set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Also before torch is loaded: large tensors in large pages of memory, where the system allows it on request (Linux). A
# photograph takes a twentieth less time.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
