"""The command `python -m proxies`: train one proxy on one mixture, or find its learning rate, from a small file."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from proxies import machine
from proxies.config import ProxyConfig
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.errors import ProxyError
from proxies.plain_values import meant
from proxies.train import train
from proxies.training import Progress, Training
from proxies.tuning import tune

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
$ python -m proxies tune-lr PROXY.yaml --weights code=0.7,prose=0.3 --seeds 2
"""
MOST_SEEDS = 2**32
KEYS = {"corpus", "model", "tokens"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 for what the user can mend, said in one line."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except ProxyError as error:
        print(f"proxies: {error}", file=sys.stderr)
        return 1
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
    tokens = meant(plain["tokens"])
    if not isinstance(tokens, int):
        raise ProxyError(f"{path}: tokens must be a whole number, got {tokens!r}")
    return {**plain, "tokens": tokens}


def _train(options: argparse.Namespace) -> str:
    asked = _asked(options)
    training = train(
        asked.config,
        asked.corpus,
        [(1.0, asked.weights)],
        tokens=asked.tokens,
        seed=options.seed,
        part=options.part,
        gold=options.gold,
        report=_progress,
    )
    return json.dumps(asdict(training)) if options.json else _table(training)


def _tune(options: argparse.Namespace) -> str:
    asked = _asked(options)
    if options.seeds < 1:
        raise ProxyError(f"a rate needs at least one seed, got {options.seeds}")

    def loss(rate: float) -> float:
        config = replace(asked.config, learning_rate=rate)
        trainings = [
            train(config, asked.corpus, [(1.0, asked.weights)], tokens=asked.tokens, seed=seed, part=options.part)
            for seed in range(options.seed, options.seed + options.seeds)
        ]
        if any(training.diverged for training in trainings):
            found = math.inf
        elif not trainings[0].losses:
            raise ProxyError("the corpus has no evaluation set, and a rate is told by its losses; give it one")
        else:
            found = fmean(fmean(training.losses.values()) for training in trainings)
        _say(f"{rate:<10.4g} {found:.4f} bits per byte")
        return found

    tuned = tune(loss, asked.config.learning_rate)
    if not math.isfinite(tuned.losses[tuned.best]):
        tried = f"{min(tuned.losses):.4g} to {max(tuned.losses):.4g}"
        raise ProxyError(f"the training diverged at every rate of {tried}; begin with a lower learning_rate")
    if options.json:
        rates = [[rate, found if math.isfinite(found) else None] for rate, found in tuned.losses.items()]
        return json.dumps({"best": tuned.best, "bracketed": tuned.bracketed, "losses": rates})
    rows = [f"{rate:<10.4g} {found:.4f} bits per byte" for rate, found in tuned.losses.items()]
    advice = "" if tuned.bracketed else " (the best so far; nothing worse was found on one side of it)"
    return "\n".join([*rows, f"learning_rate: {tuned.best:.4g}{advice}"])


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What both commands take: a proxy, its text, the mixture and the tokens."""

    config: ProxyConfig
    corpus: Corpus
    weights: Mapping[str, float]
    tokens: int


def _asked(options: argparse.Namespace) -> _Asked:
    if not 0 <= options.seed < MOST_SEEDS:
        raise ProxyError(f"--seed must be a number from 0 to below {MOST_SEEDS}, got {options.seed}")
    plain = read_proxy(options.proxy)
    weights = read_weights(options.weights)
    config = ProxyConfig.from_plain(plain["model"])
    corpus_config = CorpusConfig.from_plain(plain["corpus"])
    machine.prepare_process(threads=options.threads)
    corpus = prepare(corpus_config, options.folder, report=_say)
    return _Asked(config=config, corpus=corpus, weights=weights, tokens=plain["tokens"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proxies", description="Small language models on data mixtures.")
    commands = parser.add_subparsers(required=True)
    training = _command(commands, "train", _train, "train one proxy and measure it in bits per byte")
    training.add_argument("--gold", type=Path, help="a folder for the gold-token log-probabilities")
    tuning = _command(commands, "tune-lr", _tune, "find the learning rate of one proxy, by factors of two")
    tuning.add_argument("--seeds", type=int, default=1, help="trainings of each rate, whose losses are averaged")
    return parser


def _command(
    commands: Any,  # noqa: ANN401  # argparse has no public name for it
    name: str,
    run: Callable[[argparse.Namespace], str],
    summary: str,
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.set_defaults(run=run)
    command.add_argument("proxy", type=Path, metavar="PROXY.yaml", help="corpus, model and tokens")
    command.add_argument("--weights", required=True, help="share of the training tokens by domain: a=0.5,b=0.5")
    command.add_argument("--seed", type=int, default=0, help="of the weights drawn and of the text's order")
    command.add_argument("--part", choices=("search", "proof"), default="search", help="half of the evaluation text")
    command.add_argument("--folder", type=Path, default=Path("corpora"), help="where the prepared corpus is kept")
    command.add_argument("--threads", type=int, default=1, help="processor threads; small models want one")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    return command


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
