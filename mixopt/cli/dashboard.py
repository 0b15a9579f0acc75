"""`mixopt dashboard`: the search in a browser."""

import importlib.util
import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt dashboard

    mixopt dashboard --store /data/mixopt.db --port 8600
"""


@app.command(epilog=EXAMPLES)
def dashboard(
    store: StoreLocation = DEFAULT_STORE,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on this machine.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anyone who reaches it can read the store.")
    ] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Open the searches of a store in the browser, read-only; Ctrl-C ends it."""
    from store import Store, without_password

    Store(store, read_only=True).close()  # a missing or foreign file is said here, in one line
    spec = importlib.util.find_spec("dashboard")
    if spec is None or spec.origin is None:
        fail("the dashboard package is not installed; install mixopt whole")
    if as_json:
        print(json.dumps({"url": f"http://{host}:{port}", "store": without_password(store)}), flush=True)
    script = Path(spec.origin).with_name("app.py")
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
    }
    if not _is_this_machine(host):
        print(
            f"mixopt: note: whoever reaches {host} can read every search of this store: the dashboard asks nobody for "
            "a password; leave --host out, and come through a tunnel (ssh -L), to keep it to yourself",
            file=sys.stderr,
        )
    flags = [f"--{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *flags]
    # Everybody on the machine can read the words of a command, and a URL may hold a password.
    sys.exit(subprocess.run(command, env=os.environ | {"MIXOPT_STORE": store}, check=False).returncode)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
