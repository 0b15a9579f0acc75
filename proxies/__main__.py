"""The command `python -m proxies`: train one proxy on one mixture, from a small file of its own."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from proxies import machine
from proxies.config import ProxyConfig
from proxies.corpus import CorpusConfig, prepare
from proxies.errors import ProxyError
from proxies.train import train
from proxies.training import Progress, Training

EXAMPLE = """example of PROXY.yaml:
  corpus:
    tokenizer: {kind: bytes}
    domains:
      - {name: code, source: {kind: files, paths: "src/**/*.py"}}
      - {name: prose, source: {kind: files, paths: "docs/**/*.md"}}
    evaluation:
      - {name: code, domain: code}
      - {name: quiz, source: {kind: files, paths: quiz.jsonl, prompt: question, choices: options, answer: right}}
  model: {layers: 2, width: 64, heads: 1, lags: 3, learning_rate: 0.02}
  tokens: 500_000

$ python -m proxies train PROXY.yaml --weights code=0.7,prose=0.3
"""
KEYS = {"corpus", "model", "tokens"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for what the user can mend, said in one line."""
    options = _parser().parse_args(arguments)
    try:
        training = _train(options)
    except ProxyError as error:
        print(f"proxies: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(training)) if options.json else _table(training))
    return 0


def read_weights(text: str) -> dict[str, float]:
    """Return the weights written as `a=0.5,b=0.5`."""
    weights: dict[str, float] = {}
    for item in text.split(","):
        name, _, number = item.partition("=")
        try:
            weight = float(number)
        except ValueError:
            raise ProxyError(f"weights must read a=0.5,b=0.5; got {item!r} in {text!r}") from None
        if name.strip() in weights:
            raise ProxyError(f"weights name {name.strip()!r} twice in {text!r}; name each domain once")
        weights[name.strip()] = weight
    return weights


def read_proxy(path: Path) -> Mapping[str, Any]:
    """Return the sections `corpus`, `model` and `tokens` of a file, or `ProxyError` naming what it lacks."""
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ProxyError(f"{path}: cannot be read ({' '.join(str(error).split())}); give a YAML file") from None
    if not isinstance(plain, Mapping) or set(plain) != KEYS:
        got = sorted(map(str, plain)) if isinstance(plain, Mapping) else type(plain).__name__
        raise ProxyError(f"{path}: must hold {sorted(KEYS)} and nothing else, got {got}")
    if not isinstance(plain["model"], Mapping) or not isinstance(plain["corpus"], Mapping):
        raise ProxyError(f"{path}: corpus and model must be mappings; see python -m proxies train --help")
    if not isinstance(plain["tokens"], int):
        raise ProxyError(f"{path}: tokens must be a whole number, got {plain['tokens']!r}")
    return plain


def _train(options: argparse.Namespace) -> Training:
    plain = read_proxy(options.proxy)
    weights = read_weights(options.weights)
    config = ProxyConfig.from_plain(plain["model"])
    corpus_config = CorpusConfig.from_plain(plain["corpus"])
    machine.prepare_process(threads=options.threads)
    corpus = prepare(corpus_config, options.folder, report=_say)
    return train(
        config,
        corpus,
        [(1.0, weights)],
        tokens=plain["tokens"],
        seed=options.seed,
        part=options.part,
        gold=options.gold,
        report=_progress,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proxies", description="Small language models on data mixtures.")
    command = parser.add_subparsers(required=True).add_parser(
        "train",
        help="train one proxy and measure it in bits per byte",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("proxy", type=Path, metavar="PROXY.yaml", help="corpus, model and tokens")
    command.add_argument("--weights", required=True, help="share of the training tokens by domain: a=0.5,b=0.5")
    command.add_argument("--seed", type=int, default=0, help="of the weights drawn and of the text's order")
    command.add_argument("--part", choices=("search", "proof"), default="search", help="half of the evaluation text")
    command.add_argument("--folder", type=Path, default=Path("corpora"), help="where the prepared corpus is kept")
    command.add_argument("--gold", type=Path, help="a folder for the gold-token log-probabilities")
    command.add_argument("--threads", type=int, default=1, help="processor threads; small models want one")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _progress(progress: Progress) -> None:
    _say(f"{progress.tokens:>12,} tokens  {progress.loss:.4f} nats per token  {progress.elapsed_s:.1f} s")


def _table(training: Training) -> str:
    if training.diverged:
        return f"diverged after {training.tokens:,} tokens; lower the learning rate"
    rows = [f"{name:<24} {loss:.4f} bits per byte" for name, loss in training.losses.items()]
    rows += [
        f"{name:<24} {accuracy:.1%} of {training.items[name]} items right"
        for name, accuracy in training.accuracies.items()
    ]
    passes = ", ".join(f"{name} {epochs:.3g}" for name, epochs in training.epochs.items())
    speed = f"{training.tokens:,} tokens in {training.elapsed_s:.1f} s, {training.flops:.3g} FLOPs"
    return "\n".join([*rows, f"epochs: {passes}", speed])


if __name__ == "__main__":
    sys.exit(main())
