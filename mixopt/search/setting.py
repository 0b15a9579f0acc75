"""What a search trains and measures on, once its text is prepared: sizes, costs, and the problem to solve."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixopt.config import SearchConfig
from mixopt.evidence import Proposal
from mixopt.fidelity import EXPERT_FIDELITY
from mixopt.mixture import Mixture, Recipe
from mixopt.problem import Problem
from mixopt.sections import RungSection, continued_tokens
from mixopt.text import PARTS, Text
from mixopt.workers import ExpertFolders, Job
from proxies.corpus import Part
from store import Trial

SEEDS_A_SEARCH = 10_000  # training seeds of two searches of one file never meet
UNIMAX_EPOCHS = 4.0  # where the file caps no epochs: the usual cap, repeats up to there being worth nearly as much


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One search: its file, its text, its problem, and where its artifacts go."""

    config: SearchConfig
    text: Text
    problem: Problem
    artifacts: str

    @classmethod
    def of(cls, config: SearchConfig, text: Text, *, artifacts: str) -> "Setting":
        """Return the setting of `config` on `text`; ConfigError or EmptySpace where the two do not fit."""
        problem = Problem(
            space=config.space(text.available_tokens),
            ladder=config.ladder(text.vocabulary, text.evaluation_tokens["search"]),
            objective=config.objective,
            sets=config.sets,
            natural=Mixture.proportional({name: float(n) for name, n in text.available_tokens.items()}),
            available_tokens=dict(text.available_tokens),
            pools=text.slice_tokens,
            max_epochs=config.max_epochs or UNIMAX_EPOCHS,
            natural_seeds=config.strategy.natural_seeds,
            spread=config.strategy.spread,
            acquisition=config.strategy.acquisition,
            stop_below=config.strategy.stop_below,
            seed=config.seed,
        )
        return cls(config=config, text=text, problem=problem, artifacts=artifacts)

    @property
    def names(self) -> tuple[str, ...]:
        """The domains, in the file's order."""
        return self.problem.space.names

    def flops(self, fidelity: str, part: str, tokens: int) -> float:
        """Return the nominal cost of a trial: its training on `tokens`, and its evaluation on `part`."""
        evaluation = self.text.evaluation_tokens[part]
        return self.config.rung(fidelity).trial_flops(
            tokens=tokens, vocabulary=self.text.vocabulary, evaluation_tokens=evaluation
        )

    def flops_of(self, proposal: Proposal) -> float:
        """Return the nominal cost of the trial of `proposal`."""
        return self.flops(self.rung_of(proposal), part_of(proposal), self.tokens_of(proposal))

    def tokens_of(self, proposal: Proposal) -> int:
        """Return how many tokens the trial of `proposal` trains on."""
        if proposal.purpose == "expert":
            return self.expert_tokens(only_domain(proposal.mixture))
        return self.problem.ladder[proposal.fidelity].tokens

    def expert_tokens(self, domain: str) -> int:
        """Return how many tokens the expert of `domain` trains on: its rung's, or fewer where the passes are capped."""
        experts = self.config.experts
        assert experts is not None
        rung = self.config.rung(experts.rung)
        return min(rung.tokens, int(experts.max_passes * self.text.slice_tokens[rung.name][domain]))

    def expert_proposal(self, domain: str) -> Proposal:
        """Return the trial that makes the data expert of `domain`."""
        rung = self.config.rung(self._experts_rung)
        return Proposal(
            mixture=Mixture({name: float(name == domain) for name in self.names}),
            fidelity=rung.name if self.expert_tokens(domain) == rung.tokens else EXPERT_FIDELITY,
            seed=0,
            purpose="expert",
            reason=f"the data expert of {domain}",
        )

    def content(self, proposal: Proposal) -> dict[str, object]:
        """Return all that decides what the trial of `proposal` leaves behind, plain; its hash names the run."""
        rung = self.config.rung(self.rung_of(proposal))
        return {
            "recipe": Recipe.of(proposal.mixture).plain(),
            "rung": rung.name,
            "proxy": self._trained(rung),
            "tokens": self.tokens_of(proposal),
            "gold": proposal.purpose == "expert",
            "seed": self.config.seed * SEEDS_A_SEARCH + proposal.seed,
            "corpus": self.text.digest,
            "part": part_of(proposal),
            "target_tokens": self.config.target.tokens if self.config.target else None,
        }

    def rung_of(self, proposal: Proposal | Trial) -> str:
        """Return the rung that a trial or a proposal trains at: an expert of its own fidelity at the experts'."""
        return self._experts_rung if proposal.fidelity == EXPERT_FIDELITY else proposal.fidelity

    def trains(self, content: Mapping[str, Any]) -> bool:
        """Say whether a run of `content` would be trained now as it was meant: another command trains another run."""
        return self.config.command is None or content["proxy"] == self._trained(self.config.rung(content["rung"]))

    def reads(self, content: Mapping[str, Any]) -> bool:
        """Say whether a run of `content` would be trained now on the text that it names."""
        named = {name for _, weights in content["recipe"] for name in weights}
        return content["corpus"] == self.text.digest and named == set(self.names)

    def _trained(self, rung: RungSection) -> Mapping[str, object]:
        """Return what trains at a rung: a proxy, or what the user's own command is told there."""
        if rung.proxy is not None:
            return dict(rung.proxy)
        workers = self.config.workers.model_dump(mode="json", include={"command", "shell", "paths"})
        return workers | rung.model_dump(mode="json", include={"parameters", "steps", "values"})

    def spared_flops(self, fidelity: str) -> float:
        """Return what a trial at a rung costs less that goes on from one at the rung which it continues."""
        rung = self.config.rung(fidelity)
        if rung.continues is None:
            return 0.0
        return rung.model.flops_per_token(self.text.vocabulary) * continued_tokens(self.config.rung(rung.continues))

    def stable(self, run_hash: str) -> str:
        """Return the folder of what a training was before its rate fell."""
        return f"{self.artifacts}/{run_hash}/stable"

    def job(
        self,
        trial: Trial,
        *,
        attempt: int,
        began_s: float | None = None,
        continues: str | None = None,
        experts: Sequence[str | None] | None = None,
    ) -> Job:
        """Return what a worker needs to train `trial`, for the attempt of that number; `began_s`: see `Job`.

        continues: the run that it goes on from. experts: the folders of the data experts that it starts from.
        """
        is_expert = trial.purpose == "expert"
        rung = self.config.rung(self._experts_rung if is_expert else trial.fidelity)
        tokens = self.expert_tokens(only_domain(trial.weights)) if is_expert else rung.tokens
        return Job(
            key=trial.id,
            recipe=tuple(trial.recipe),
            proxy=rung.proxy,
            tokens=tokens,
            seed=trial.seed,
            corpus=self.text.folder,
            part=next(part for part in PARTS if part == trial.part),
            rung=rung.name,
            slice_tokens=rung.tokens,
            folder=f"{self.artifacts}/{trial.run_hash}/attempt-{attempt}",
            checkpoint=self.checkpoint(trial.run_hash),
            checkpoint_s=self.config.workers.checkpoint_s,
            target_tokens=self.config.target.tokens if self.config.target else None,
            gold=self.gold(trial),
            cpus=rung.cpus,
            gpus=rung.gpus,
            resources=rung.resources,
            processes=rung.processes,
            timeout_s=rung.timeout_s,
            began_s=began_s,
            begin=None if continues is None else self.stable(continues),
            stable=self.stable(trial.run_hash) if self._is_continued(trial) else None,
            experts=None if experts is None else self._experts_in(experts),
        )

    def _experts_in(self, folders: Sequence[str | None]) -> ExpertFolders:
        proxy = self.config.rung(self._experts_rung).proxy
        assert proxy is not None, "only proxies merge"
        return ExpertFolders(proxy=proxy, folders=tuple(folders))

    def _is_continued(self, trial: Trial) -> bool:
        """Say whether a longer training may go on from that of `trial`."""
        return trial.purpose not in ("expert", "proof") and any(
            rung.continues == trial.fidelity for rung in self.config.rungs
        )

    def checkpoint(self, run_hash: str) -> str:
        """Return the folder or URL where a training of that run is saved while it goes on."""
        place = self.config.workers.checkpoints
        return f"{self.artifacts}/{run_hash}/checkpoint" if place is None else f"{place.rstrip('/')}/{run_hash}"

    def gold(self, trial: Trial) -> str | None:
        """Return the folder for an expert's gold-token log-probabilities, None for any other trial."""
        return f"{self.artifacts}/{trial.run_hash}" if trial.purpose == "expert" else None

    @property
    def _experts_rung(self) -> str:
        assert self.config.experts is not None
        return self.config.experts.rung


def part_of(proposal: Proposal) -> Part:
    """Return the part of the evaluation text that a trial is measured on: only the proof looks at its own."""
    return "proof" if proposal.purpose == "proof" else "search"


def only_domain(weights: Mapping[str, float]) -> str:
    """Return the domain that has all the weight."""
    return next(name for name, weight in weights.items() if weight == 1.0)


def content_hash(content: Mapping[str, object]) -> str:
    """Return the sha256 that names a run."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
