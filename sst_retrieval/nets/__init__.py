"""Networks that several rooms share, their weights, and the device they run on."""

import os

# Before torch is loaded: its threads else spin while they wait for each other, and on a computer that is busy with
# something else too that makes a build several times slower. Whoever has set it keeps it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
