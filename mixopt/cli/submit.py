"""`mixopt submit`, `jobs`, `logs`, `stop`: searches as jobs of a Ray cluster."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixopt.cli.app import AsJson, Config, app, fail

if TYPE_CHECKING:
    from mixopt.submit import Jobs, RayJob

INTERRUPTED = 130  # the shell's exit code for Ctrl-C
STOPPING_S = 30.0  # for a job that was asked to stop: Ray kills it after 3 s

SUBMITTING = """
Examples:

    mixopt submit search.yaml --address http://head:8265 --store postgresql://user@host/name --folder /shared/mixopt

    mixopt submit search.yaml --store-there --folder /shared/mixopt --follow
"""
OTHERS = """
Examples:

    mixopt jobs --address http://head:8265

    mixopt logs quickstart --follow

    mixopt stop mixopt-quickstart-1
"""

Address = Annotated[
    str,
    typer.Option(help="Where the cluster's dashboard is.", envvar="RAY_API_SERVER_ADDRESS", show_envvar=False),
]
Named = Annotated[str, typer.Argument(metavar="JOB", help="The job, as `mixopt jobs` prints it, or its search.")]
Following = Annotated[bool, typer.Option("--follow", help="Print what it prints, until it ends.")]
HEAD = "http://127.0.0.1:8265"


@app.command(epilog=SUBMITTING)
def submit(
    config: Config,
    address: Address = HEAD,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the search is kept: a server that outlives the cluster.")
    ] = None,
    store_there: Annotated[
        bool, typer.Option("--store-there", help="MIXOPT_STORE names the store, on the head node.")
    ] = False,
    store_outlasts: Annotated[
        bool, typer.Option("--store-outlasts", help="The store lies on the head node, on a disk that outlives it.")
    ] = False,
    folder: Annotated[
        str | None, typer.Option(help="Folder that all nodes share, for prepared text and artifacts.")
    ] = None,
    working_dir: Annotated[
        Path | None, typer.Option(help="Folder with CONFIG in it that is sent whole; else CONFIG alone.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Another name than the file's: another search.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    package: Annotated[
        bool, typer.Option("--package/--no-package", help="Send this mixopt too, or use the cluster's own.")
    ] = True,
    python: Annotated[str, typer.Option(help="Python, as the head node calls it.")] = "python",
    follow: Following = False,
    as_json: AsJson = False,
) -> None:
    """Run the search of CONFIG as a job of a Ray cluster; submitted again after any death, it goes on where it was."""
    from mixopt.config import load
    from mixopt.submission import Submission

    if (store is None) != store_there:
        fail("say where the search is kept: --store URL, or --store-there where MIXOPT_STORE on the head node says it")
    asked = (("--name", name), ("--seed", seed))
    submission = Submission(
        config=load(config).renamed(name=name, seed=seed),
        path=Path(config),
        options=tuple(word for key, value in asked if value is not None for word in (key, str(value))),
        store=store,
        outlasts=store_outlasts,
        folder=folder,
        working_dir=working_dir,
        python=python,
    )
    jobs = _jobs(address)
    job = jobs.submit(submission, with_package=package)
    if as_json:
        print(json.dumps(job.plain()), flush=True)
    else:
        print(f"{job.id}: search {job.search}, store {job.store}, {job.page}", flush=True)
    if follow:
        _follow(jobs, job)


@app.command(epilog=OTHERS)
def jobs(address: Address = HEAD, as_json: AsJson = False) -> None:
    """List the searches that are or were jobs of a Ray cluster."""
    from mixopt.cli.tables import jobs_table, wide_console

    found = [job.plain() for job in _jobs(address).all()]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    wide_console().print(jobs_table(found))


@app.command(epilog=OTHERS)
def logs(job: Named, address: Address = HEAD, follow: Following = False) -> None:
    """Print what the job of a search has printed."""
    jobs = _jobs(address)
    found = jobs.get(job)
    if follow:
        _follow(jobs, found)
        return
    print(jobs.log(found), end="")


@app.command(epilog=OTHERS)
def stop(job: Named, address: Address = HEAD, as_json: AsJson = False) -> None:
    """Stop the job of a search; what has ended is in the store, and submitted again it goes on."""
    import time

    jobs = _jobs(address)
    found = jobs.get(job)
    if found.is_over:
        fail(f"job {found.id} is {found.state} already; nothing to stop")
    jobs.stop(found)
    until_s = time.monotonic() + STOPPING_S
    while not (found := jobs.get(found.id)).is_over and time.monotonic() < until_s:
        time.sleep(0.2)
    print(json.dumps(found.plain()) if as_json else f"{found.id}: {found.state}")


def _jobs(address: str) -> "Jobs":
    try:
        from mixopt.submit import Jobs
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; the jobs of Ray need: pip install 'mixopt[cluster]'")
    return Jobs(address)


def _follow(jobs: "Jobs", job: "RayJob") -> None:
    """Print what `job` prints; leave with 1 where it does not succeed."""
    try:
        for chunk in jobs.follow(job):
            print(chunk, end="", flush=True)
    except KeyboardInterrupt:
        print(f"\nmixopt: {job.id} goes on; see: mixopt logs {job.id} --follow; mixopt stop {job.id}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    job = jobs.get(job.id)
    if job.state != "SUCCEEDED":
        fail(f"{job.id} has {job.state.lower()}; submitting the search again goes on where it was")
