"""Fits take one thread, and leave the others as they were."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mixopt.optimize.threads import one_thread


def threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@one_thread
def inside(fails: bool = False) -> set[int]:
    if fails:
        raise ValueError("told")
    return threads()


def test_a_fit_takes_one_thread_and_others_get_theirs_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert inside() == {1}
        with pytest.raises(ValueError, match="told"):
            inside(fails=True)
        assert threads() == before
