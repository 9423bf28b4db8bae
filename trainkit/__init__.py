"""Adapters trained on certified shards."""

import os

# torch's threads wait for each other by spinning, and a spinning thread keeps the one it waits for off the CPU: two
# processes on the same cores were five times slower than with short spins. Read once, when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
