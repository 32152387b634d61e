"""How many threads linear algebra takes, and that it is what it was afterwards."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from kerasresnet import solving
from kerasresnet.threads import few_threads


def taken():
    return [
        each["num_threads"] for each in threadpool_info() if "blas" in each["user_api"]
    ]


def test_little_work_takes_one_thread_and_then_all_are_back():
    with threadpool_limits(2, user_api="blas"):
        before = taken()
        with few_threads(99, enough=100):
            assert set(taken()) == {1}
        assert taken() == before


def test_much_work_takes_what_there_is():
    with threadpool_limits(2, user_api="blas"):
        before = taken()
        with few_threads(100, enough=100):
            assert taken() == before


def test_a_small_problem_is_solved_by_one_thread(monkeypatch):
    seen, own = [], solving._evaluate
    monkeypatch.setattr(
        solving, "_evaluate", lambda *a: seen.append(set(taken())) or own(*a)
    )
    with threadpool_limits(2, user_api="blas"):
        solving.solve_path(np.eye(8, 3), np.arange(8) % 4, classes=4, penalties=[1e-3])
    assert seen
    assert all(each == {1} for each in seen)
