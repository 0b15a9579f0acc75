"""The columns of a table of runs: which there are, which there must be, and which nobody knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mixopt.runs_table.faults import Audit, listed

REQUIRED = ("run_id", "fidelity", "cost")
OPTIONAL = ("seed", "split", "parameters", "tokens")
GROUPS = ("weight", "loss", "accuracy", "items", "available")
RESERVED_SET = "objective"  # the key of the objective among predictions, beside the sets


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where everything stands: `plain` maps a column to its place, `groups` a group to {name: place}."""

    plain: dict[str, int]
    groups: dict[str, dict[str, int]]

    @classmethod
    def of(cls, header: Sequence[str], audit: Audit) -> Columns:
        """Return the columns of `header`; what is missing, twice there or unknown goes into `audit`."""
        names = [name.strip() for name in header]
        plain = {name: i for i, name in enumerate(names) if name in (*REQUIRED, *OPTIONAL)}
        groups = {group: _group(group, names) for group in GROUPS}
        columns = cls(plain=plain, groups=groups)
        columns._audit(names, audit)
        return columns

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that are weighed, in their order."""
        return tuple(self.groups["weight"])

    def _audit(self, names: Sequence[str], audit: Audit) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            audit.refuse(f"columns {listed(twice)} are there more than once; keep one of each")
        missing = [name for name in REQUIRED if name not in self.plain]
        if missing:
            audit.refuse(f"columns {listed(missing)} are missing; a table has {', '.join(REQUIRED)}")
        if not self.domains:
            audit.refuse("there is no column weight/<domain>; add one for each domain")
        if not self.groups["loss"] and not self.groups["accuracy"]:
            audit.refuse("there is neither a column loss/<evaluation set> nor accuracy/<evaluation set>; add one")
        self._audit_names(audit)
        if "seed" not in self.plain:
            audit.warn("there is no column seed: every seed is taken as 0")
        known = {*self.plain, *(f"{group}/{name}" for group, found in self.groups.items() for name in found)}
        unknown = [name for name in names if name not in known]
        if unknown:
            audit.warn(f"unknown columns are left out: {listed([_with_hint(name) for name in unknown])}")

    def _audit_names(self, audit: Audit) -> None:
        nameless = [f"{group}/" for group, found in self.groups.items() if "" in found]
        if nameless:
            audit.refuse(f"columns {listed(nameless)} name nothing; write what they are about after the slash")
        if RESERVED_SET in self.groups["loss"]:
            audit.refuse(f"loss/{RESERVED_SET} has the name of what is minimized; call the evaluation set otherwise")
        strange = [name for name in self.groups["available"] if name not in self.domains]
        if strange:
            audit.warn(f"available/ of domains without weight is left out: {listed(strange)}")
        strange = [name for name in self.groups["items"] if name not in self.groups["accuracy"]]
        if strange:
            audit.warn(f"items/ of sets without accuracy is left out: {listed(strange)}")
        given = [name for name in self.domains if name in self.groups["available"]]
        if given and len(given) < len(self.domains):
            lacking = [name for name in self.domains if name not in given]
            audit.warn(f"available/ is missing for {listed(lacking)}: epochs and the natural mixture are unknown")


def _group(group: str, names: Sequence[str]) -> dict[str, int]:
    head = f"{group}/"
    return {name.removeprefix(head).strip(): i for i, name in enumerate(names) if name.startswith(head)}


def _with_hint(name: str) -> str:
    group, slash, rest = name.partition("/")
    near = get_close_matches(group, GROUPS if slash else (*REQUIRED, *OPTIONAL), n=1)
    return f"{name!r}" + (f" (did you mean {near[0] + slash + rest!r}?)" if near else "")
