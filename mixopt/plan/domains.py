"""What a plan says of every domain: how often the target repeats it, and whether its effect can be told from noise."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mixopt.optimize.heuristics import unimax
from mixopt.plan.rehearsal import Rehearsal, Rehearsed
from mixopt.search.setting import Setting

LAWS = 24  # drawn, that tell how large effects are
STANDARD_ERRORS = 2.0  # of which an effect is told from noise


@dataclass(frozen=True, kw_only=True)
class DomainPlan:
    """One domain: its tokens, its weight in the natural and the UniMax mixture, and the passes that these make over it.

    cap_weight: the largest weight that the file allows, with its passes. raised: by how much its weight is raised to
    see its effect (0: the file pins it); effect_sd: of that on the objective at the top rung, over simulated laws;
    error: of what the rehearsals' models say of it (both root mean squares, in bits per byte).
    """

    name: str
    available_tokens: int
    natural: float
    natural_epochs: float
    unimax: float
    unimax_epochs: float
    cap_weight: float
    cap_epochs: float
    raised: float
    effect_sd: float
    error: float

    @property
    def is_resolved(self) -> bool:
        """Whether an effect of the usual size stands out of the noise."""
        return self.raised > 0.0 and self.effect_sd >= STANDARD_ERRORS * self.error

    def plain(self) -> dict[str, object]:
        """Return the domain as JSON holds it."""
        return asdict(self) | {"resolved": self.is_resolved}


def plan_domains(setting: Setting, played: Sequence[Rehearsed]) -> tuple[DomainPlan, ...]:
    """Return what there is to say of every domain, after rehearsals that bought `played`."""
    problem = setting.problem
    space, names = problem.space, setting.names
    laws = [Rehearsal(setting=setting, seed=seed) for seed in range(LAWS)]
    effects = np.array([law.effects for law in laws])
    wanted = unimax(problem.available_tokens, problem.tokens, problem.max_epochs)
    found = []
    for place, name in enumerate(names):
        passes = problem.tokens / max(problem.available_tokens[name], 1)
        errors = [each.missed[place] for each in played]
        found.append(
            DomainPlan(
                name=name,
                available_tokens=problem.available_tokens[name],
                natural=problem.natural[name],
                natural_epochs=problem.natural[name] * passes,
                unimax=wanted[name],
                unimax_epochs=wanted[name] * passes,
                cap_weight=float(space.upper[place]),
                cap_epochs=float(space.upper[place]) * passes,
                raised=float(laws[0].raised[place, place] - laws[0].base[place]),
                effect_sd=float(np.sqrt(np.mean(effects[:, place] ** 2))),
                error=float(np.sqrt(np.mean(np.square(errors)))),
            )
        )
    return tuple(found)
