"""The process that thinks of proposals: `python -m mixopt.search.brain_process FD`, started by the driver's brain."""

import sys
from dataclasses import replace
from multiprocessing.connection import Connection

from mixopt.search.brain import Question, Ready, answered


def serve(driver: Connection) -> None:
    """Answer question after question, until the driver is gone.

    The first message is a strategy, whose modules are loaded by receiving it; any other that is no question is
    what the experts tell, for the questions after it.
    """
    driver.recv()
    driver.send(Ready())
    experts = None
    while True:
        message = driver.recv()
        if isinstance(message, Question):
            driver.send(answered(replace(message, evidence=replace(message.evidence, experts=experts))))
        else:
            experts = message


if __name__ == "__main__":
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, OSError):  # the driver is gone
        sys.exit(0)
