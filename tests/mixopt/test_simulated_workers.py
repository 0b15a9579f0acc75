"""What stands for text and trainings in a rehearsal."""

from pathlib import Path

from mixopt.config import SearchConfig, load
from mixopt.simulated_workers import simulated_law, simulated_text

CONFIG = load(Path(__file__).parents[2] / "configs" / "simulated.yaml")


def with_law(**settings: object) -> SearchConfig:
    plain = CONFIG.resolved()
    section = plain["simulated"]
    assert isinstance(section, dict)
    return SearchConfig.from_plain(plain | {"simulated": section | settings})


def test_another_law_is_another_text_so_that_no_run_is_taken_for_its_own() -> None:
    digests = {simulated_text(config).digest for config in (CONFIG, with_law(seed=1), with_law(noise=0.02))}
    assert len(digests) == 3
    assert simulated_text(CONFIG.renamed(name="other", seed=7)).digest == simulated_text(CONFIG).digest


def test_the_law_has_the_files_settings_and_domains() -> None:
    law = simulated_law(with_law(limits={"web": 0.5}, device_flops=1e9))
    assert (law.domains, law.sets) == (("web", "code", "books", "math"),) * 2
    assert (law.limits, law.device_flops, law.bias) == ({"web": 0.5}, 1e9, 0.3)
