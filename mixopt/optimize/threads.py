"""One thread for the small matrices of a fit.

A fit makes thousands of products of matrices with a few hundred rows. Threads share none of these with profit, and
where trainings keep the cores busy they wait for each other: with two threads on two busy cores a proposal took four
times as long. It is also the same proposal, bit for bit, on any number of cores.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def one_thread(function: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """Return `function` with the linear algebra of its calls on one thread; others get theirs back afterwards."""

    @wraps(function)
    def limited(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        with threadpool_limits(1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
