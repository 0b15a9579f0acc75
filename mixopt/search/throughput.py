"""What a device does in a second: given, recorded, or measured on the spot; it turns device-hours into FLOPs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from mixopt.config import SearchConfig
from mixopt.fidelity import Ladder
from mixopt.search.setting import Setting
from mixopt.sections import RungSection

TOP_SHARE = 0.5  # of a search's FLOPs are spent at the top rung, the others evenly below: what is usual; a guess


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """FLOPs a second of one device, by rung; `source`: where they are from, in words."""

    rungs: Mapping[str, float]
    source: str

    @classmethod
    def alike(cls, config: SearchConfig, flops_per_s: float, *, source: str) -> "Throughput":
        """Return the same figure for every rung."""
        return cls(rungs={rung.name: flops_per_s for rung in config.rungs}, source=source)

    def flops_per_s(self, ladder: Ladder) -> float:
        """Return what a device does on average over a search, which spends half of its FLOPs at the top rung."""
        below = [rung.name for rung in ladder.rungs[:-1]]
        top = TOP_SHARE if below else 1.0
        seconds = top / self.rungs[ladder.top.name] + sum((1.0 - top) / len(below) / self.rungs[name] for name in below)
        return 1.0 / seconds

    def trial_s(self, config: SearchConfig, ladder: Ladder) -> dict[str, float]:
        """Return the seconds that a trial of every rung takes on the devices that it occupies."""
        return {r.name: ladder[r.name].cost_flops / (self.rungs[r.name] * devices(r)) for r in config.rungs}

    def plain(self) -> dict[str, object]:
        """Return the throughput as JSON holds it."""
        return asdict(self)


def devices(rung: RungSection) -> float:
    """Return how many devices a trial of `rung` occupies: GPUs where it asks for them, else processor cores."""
    return (rung.gpus or rung.cpus) * rung.processes


def known(config: SearchConfig) -> Throughput | None:
    """Return the throughput that a file states, or that its simulated device has; None where it must be measured."""
    if config.throughput_flops is not None:
        return Throughput.alike(config, config.throughput_flops, source="given as throughput_flops")
    if config.simulated is not None:
        return Throughput.alike(config, config.simulated.device_flops, source="of the simulated device")
    return None


def counted(setting: Setting, throughput: Throughput) -> Setting:
    """Return `setting` with its budget in FLOPs, where its file gives device-hours."""
    if setting.config.counts_flops:
        return setting
    flops_per_s = throughput.flops_per_s(setting.problem.ladder)
    return replace(setting, config=setting.config.with_throughput(flops_per_s))
