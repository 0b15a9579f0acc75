"""How many trainings fit on the nodes of a cluster, by counting: Ray waits for ever for what none of them has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mixopt.errors import WorkerError

ROUNDING = 1e-6  # a node with 1 GPU has room for ten jobs of 0.1


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a job occupies: by Ray's names of resources, each of its processes."""

    resources: Mapping[str, float]
    processes: int = 1


def room(nodes: Sequence[Mapping[str, float]], demand: Demand) -> int:
    """Return how many jobs of `demand` fit into the resources of `nodes`, at least one."""
    return max(1, _places(nodes, demand.resources) // demand.processes)


def check_demands(demands: Mapping[str, Demand], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse a rung whose jobs do not fit into the resources of `nodes`.

    Raises:
        WorkerError: with what the rung asks for and what the nodes have.
    """
    for rung, demand in demands.items():
        if _places(nodes, demand.resources) >= demand.processes:
            continue
        asked = _told(demand.resources, demand.resources)
        asked = asked if demand.processes == 1 else f"{demand.processes} processes of {asked} each"
        have = "; ".join(dict.fromkeys(_told(node, demand.resources) for node in nodes)) or "nothing"
        raise WorkerError(
            f"rung {rung!r} asks for {asked}, for which no node has room: they have {have}; lower what the rung asks "
            "for, give more slots, or add a node"
        )


def _places(nodes: Sequence[Mapping[str, float]], demand: Mapping[str, float]) -> int:
    """Return how many processes of `demand` fit, none of them cut in two."""
    asked = {name: amount for name, amount in demand.items() if amount > 0.0}
    fitting = [min((node.get(name, 0.0) / amount for name, amount in asked.items()), default=1.0) for node in nodes]
    return sum(int(count + ROUNDING) for count in fitting)


def _told(resources: Mapping[str, float], names: Iterable[str]) -> str:
    return ", ".join(f"{resources.get(name, 0.0):g} {name}" for name in names)
