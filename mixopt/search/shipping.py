"""What a search ships: its recommendation as an exporter takes it."""

from collections.abc import Mapping
from typing import Any

from mixopt.errors import SearchError
from mixopt.evidence import Prediction
from mixopt.export import Export
from mixopt.mixture import Mixture
from mixopt.search.report import find
from store import Store


def export_of(store: Store, name: str) -> Export:
    """Return the recommendation of the search called `name` with its provenance.

    Where the proof failed and another mixture took its place, there is no prediction of it.

    Raises:
        SearchError: there is no such search, it has recommended nothing yet, or what it rests on was retracted.
    """
    search = find(store, name)
    recommendation = store.recommendation(search.id)
    if recommendation is None:
        raise SearchError(f"search {name!r} has recommended nothing yet; go on with: mixopt run")
    if recommendation.undermined:
        raise SearchError(
            f"the recommendation of {name!r} rests on trials {list(recommendation.undermined)} that were retracted "
            "since; decide anew with: mixopt run"
        )
    payload: dict[str, Any] = dict(recommendation.payload)
    mixture = Mixture(payload["mixture"])
    as_searched = payload["mixture"] == payload.get("searched", payload["mixture"])
    target = search.config.get("target")
    return Export(
        search=search.name,
        mixture=mixture,
        available_tokens=search.domains,
        seed=search.seed,
        config_hash=payload["config_hash"],
        created=recommendation.created_at.isoformat(timespec="seconds"),
        target_tokens=None if target is None else int(target["tokens"]),
        predicted=Prediction(**payload["predicted"]) if as_searched else None,
        beats_natural=_beats_natural(payload),
        versions=payload["versions"],
        tokens_a_document=_tokens_a_document(search.corpus),
    )


def _tokens_a_document(corpus: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean of every domain, {} where mixopt prepared no text."""
    manifest = corpus.get("manifest")
    domains = {} if manifest is None else manifest["domains"]
    return {name: record["tokens"] / record["documents"] for name, record in domains.items() if record["documents"]}


def _beats_natural(payload: dict[str, Any]) -> float | None:
    """Return the probability as the proof measured it for the shipped mixture, or else as predicted."""
    proof = payload["proof"]
    if proof is None:
        return float(payload["beats_natural"])
    measured = next((row["beats_natural"] for row in proof["rows"] if row["mixture"] == payload["mixture"]), None)
    return None if measured is None else float(measured)
