"""What never changes is computed once: where a network can be cut, what is kept at a cut, and the plan.

`find_cuts` lists the places, `split` gives the two halves, which share the network's own parameters.
"""

from __future__ import annotations

from layerwise.frozen.cuts import Cut, find_cuts, split

__all__ = ["Cut", "find_cuts", "split"]
