"""A trained agent in its folder, and in charge of the net that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from iotlam.contracts import BadInput, MissingExtra, whole_file
from iotlam_street.junction import Junction
from iotlam_street.programs import NativeProgram
from iotlam_traffic.rivals.signals import Sizes, observe, phases

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy

ALGORITHMS = ("dqn", "ppo")
WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"


@dataclass(frozen=True, slots=True)
class Description:
    """What a policy can be rebuilt from, beside its weights.

    Attributes:
        algorithm: one of `ALGORITHMS`.
        sizes: what its network is made for.
    """

    algorithm: str
    sizes: Sizes


def load_sb3() -> Any:
    """Import Stable-Baselines3 on first use.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        import stable_baselines3
    except ImportError as error:
        raise MissingExtra("stable-baselines3", "rivals") from error
    return stable_baselines3


def new_policy(description: Description) -> BasePolicy:
    """The policy of that description, with random weights."""
    load_sb3()
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.ppo.policies import MlpPolicy

    from iotlam_traffic.rivals.vec_env import spaces

    kinds: dict[str, type[BasePolicy]] = {"dqn": DQNPolicy, "ppo": MlpPolicy}
    return kinds[description.algorithm](*spaces(description.sizes), lr_schedule=lambda _: 0.0)


class Agent:
    """A trained policy in charge; it takes the action that it thinks best.

    Args:
        policy: its network.
        description: what it is.
    """

    native: NativeProgram | None = None

    def __init__(self, policy: BasePolicy, description: Description) -> None:
        self.name, self.sizes = description.algorithm, description.sizes
        self.policy = policy.eval()

    def choose(self, junctions: Sequence[Junction]) -> list[int]:
        """For each junction, index of the green phase to show.

        Raises:
            BadInput: if the agent was made for another net.
        """
        net = Sizes.of([junction.plan for junction in junctions])
        if net != self.sizes:
            raise BadInput(
                f"Agent '{self.name}'",
                expected=f"the net that it was trained on ({_say(self.sizes)})",
                got=f"one of {_say(net)}",
                fix="train one for this net with: iotlam traffic train-agent",
            )
        actions_J, _ = self.policy.predict(observe(junctions, self.sizes), deterministic=True)
        return phases(actions_J, junctions)


def _say(sizes: Sizes) -> str:
    return f"{sizes.junctions} signals, at most {sizes.lanes} lanes and {sizes.phases} phases"


def save_agent(policy: BasePolicy, description: Description, folder: Path) -> None:
    """Write an agent; its weights appear last, whole or not at all."""
    with whole_file(folder / DESCRIPTION) as partial:
        partial.write_text(json.dumps(asdict(description), indent=1) + "\n")
    with whole_file(folder / WEIGHTS) as partial:
        save_file({name: value.contiguous() for name, value in policy.state_dict().items()}, partial)


def load_agent(folder: Path, algorithm: str) -> Agent:
    """Read what `save_agent` wrote; no pickle is read.

    Raises:
        BadInput: if the folder holds no such agent.
        MissingExtra: if Stable-Baselines3 is not installed.
    """
    load_sb3()
    try:
        known = json.loads((folder / DESCRIPTION).read_text())
        description = Description(known["algorithm"], Sizes(**known["sizes"]))
        if description.algorithm != algorithm:
            raise ValueError(f"one of '{description.algorithm}'")
        policy = new_policy(description)
        policy.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # json, safetensors and torch raise their own types
        got = _first_line(error) if (folder / DESCRIPTION).exists() else f"none in {folder}"
        fix = "train one with: iotlam traffic train-agent"
        raise BadInput(f"Agent '{algorithm}'", expected="its folder", got=got, fix=fix) from error
    return Agent(policy, description)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(" .:")
