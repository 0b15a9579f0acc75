"""A real search made small: three domains of made-up text, two tiny rungs, seconds of training."""

import random
from pathlib import Path

WORDS = {
    "letters": ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"],
    "numbers": ["one", "two", "three", "four", "five", "six", "seven"],
    "animals": ["cat", "dog", "horse", "mouse", "whale", "heron"],
}

SEARCH = """\
name: small
domains:
  - {{name: letters, source: {{kind: files, paths: [letters/*.txt]}}, held_out: 0.2}}
  - {{name: numbers, source: {{kind: files, paths: [numbers/*.txt]}}, held_out: 0.2}}
  - {{name: animals, source: {{kind: files, paths: [animals/*.txt]}}, held_out: 0.2}}
evaluation:
  letters: {{domain: letters, max_bytes: 2048, excerpt_tokens: 64}}
  numbers: {{domain: numbers, max_bytes: 2048, excerpt_tokens: 64}}
objective:
  weights: {{letters: 1, numbers: 1}}
ladder:
  - name: small
    tokens: 4_096
    proxy: {{layers: 1, width: 16, heads: 1, sequence_tokens: 64, batch_sequences: 4{routed}}}
  - name: large
    tokens: 8_192
    proxy: {{layers: 1, width: 32, heads: 1, sequence_tokens: 64, batch_sequences: 4{routed}}}
experts: {{rung: small}}
strategy: {{name: bayesian, natural_seeds: 2, spread: 3}}
budget_flops: {budget}
proof: {{seeds: 2}}
workers: {{kind: {workers}, slots: {slots}}}
"""


def write_search(
    folder: Path, *, workers: str = "local", slots: int = 2, budget: float = 2.6e10, routed: str = ""
) -> Path:
    """Write the text and the file of a search into `folder`, and return the file's path.

    routed: further settings of its proxies, as `, experts: 4`.
    """
    rng = random.Random(0)
    for name, words in WORDS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for document in range(40):
            text = " ".join(rng.choice(words) for _ in range(80))
            (folder / name / f"{document}.txt").write_text(text, encoding="utf-8")
    path = folder / "small.yaml"
    path.write_text(SEARCH.format(workers=workers, slots=slots, budget=budget, routed=routed), encoding="utf-8")
    return path
