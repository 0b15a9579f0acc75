"""How long a trial takes to start on a warm worker of Ray's, beside one that trains."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mixopt.ray_room import Demand
from mixopt.ray_workers import RayWorkers
from mixopt.workers import Job, JobProgress, Outcome, run_job
from proxies.config import ProxyConfig
from proxies.corpus import Corpus, open_corpus, prepare
from proxies.corpus_config import CorpusConfig
from proxies.train import Plan, build, draw
from tests.benchmarks.programs import TENTH, dense, text
from tests.benchmarks.timing import Row, at_most

TRIALS = 12
LONG_TOKENS = 100_000_000


def start_of_a_trial() -> Row:
    """The seconds from handing a job in to the moment where its first batch is there, all before the first step."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = small_corpus(Path(folder))
        workers = RayWorkers(first_batch, address="local", slots=2, demands={"rung": Demand(resources={"CPU": 1.0})})
        try:
            return _measured(workers, Path(folder), corpus)
        finally:
            workers.close()


def small_corpus(folder: Path) -> Path:
    """Return the folder of a corpus made of a few megabytes of text."""
    content = text().astype(np.uint8).tobytes()
    for index in range(64):
        (folder / f"{index}.txt").write_bytes(content[index * 60_000 : (index + 1) * 60_000])
    domain = {"name": "a", "source": {"kind": "files", "paths": f"{folder}/*.txt"}}
    evaluation = [{"name": "a", "domain": "a", "max_bytes": 4096}]
    plain = {"tokenizer": {"kind": "bytes"}, "domains": [domain], "evaluation": evaluation}
    made: Corpus = prepare(CorpusConfig.from_plain(plain), folder / "corpora")
    return made.folder


def first_batch(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
    """Train job 0 for as long as it takes; of others prepare all that comes before the first step."""
    if job.key == 0:
        return run_job(job, report)
    assert job.proxy is not None
    config, corpus = ProxyConfig.from_plain(job.proxy), open_corpus(Path(job.corpus))
    build(config, vocabulary=corpus.vocabulary, end_of_document=corpus.end_of_document, seed=job.seed)
    plan = Plan(config=config, recipe=job.recipe, tokens=job.tokens, seed=job.seed)
    draw(config, plan, corpus.domains, tokens=job.tokens).batch(0)
    return Outcome(key=job.key, state="completed", details={"ready": time.time()})


def _measured(workers: RayWorkers, folder: Path, corpus: Path) -> Row:
    def job(key: int, tokens: int) -> Job:
        return Job(
            key=key,
            recipe=[(1.0, {"a": 1.0})],
            proxy=dense(TENTH).to_plain(),
            tokens=tokens,
            seed=key,
            corpus=str(corpus),
            part="search",
            rung="rung",
            slice_tokens=tokens,
            folder=str(folder / f"job-{key}"),
            checkpoint=str(folder / f"checkpoint-{key}"),
        )

    workers.submit(job(0, LONG_TOKENS))
    found = []
    for key in range(1, TRIALS + 1):
        submitted = time.time()
        workers.submit(job(key, 500_000))
        outcome = None
        while outcome is None:
            outcome = next((e for e in workers.wait(1.0) if isinstance(e, Outcome)), None)
        assert outcome.key == key, outcome.error
        assert outcome.state == "completed", outcome.error
        ready = outcome.details["ready"]
        assert isinstance(ready, float)
        found.append(ready - submitted)
    print("start of a trial, s:", " ".join(f"{each:.3f}" for each in found), flush=True)
    return at_most("start of a trial on a warm Ray worker beside training", statistics.median(found[2:]), 0.2, "s")
