"""How many threads linear algebra takes.

That of NumPy and SciPy. TensorFlow has threads of its own, which are left alone.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def few_threads(work: int, enough: int = 2**28) -> AbstractContextManager[Any]:
    """Returns a context in which little work is done by one thread.

    OpenBLAS's threads wait for each other in loops. Where other processes keep the cores
    busy, a short product then takes up to a hundred times as long on two threads as on
    one; where they are free it is a third faster.

    Args:
        work: Multiplications in a product of matrices.
        enough: From how many on all threads are taken. The default takes some 50 ms on
            one thread.
    """
    if work >= enough:
        return nullcontext()
    context: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return context


@cache
def _libraries() -> ThreadpoolController:
    """What is loaded of BLAS; to look for it takes 10 ms."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which is to be found

    return ThreadpoolController()
