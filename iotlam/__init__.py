"""iotlam: sensors become tokens, a bottleneck fuses them, a LoRA-tuned decoder acts.

Implements and extends "Edge Large AI Models: Collaborative Deployment and IoT Applications"
(Wang, Shi, Letaief). Importing this package loads neither torch nor any simulator.
"""

__version__ = "0.1.0"
