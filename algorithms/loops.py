"""The loops that numba has compiled, loaded next to the first requests."""

from __future__ import annotations

import logging
import threading
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Final, Literal

COMPILED_MODULES: Final = (
    "algorithms.compiled_border",
    "algorithms.compiled_sampling",
    "algorithms.compiled_pixels",
    "algorithms.compiled_placing",
    "algorithms.compiled_relaxation",
    "algorithms.compiled_taking",
)
"""Where they are."""

_logger = logging.getLogger(__name__)


class _Loading:
    """The compiled loops: until they are there requests take numpy's, which give the same bytes."""

    def __init__(self) -> None:
        self.loops: Any = None
        # numba takes a second to load, and longer where nothing is compiled yet. No daemon, though the thread that
        # asks first may be one: a compiler that the end of the interpreter cuts off takes the process down.
        self._thread = threading.Thread(target=self._load, name="compiled-loops", daemon=False)
        self._thread.start()

    def _load(self) -> None:
        if find_spec("numba") is None:
            return
        try:
            modules = [import_module(name) for name in COMPILED_MODULES]
        except Exception:  # an installation of numba that does not fit Python or numpy
            _logger.warning("numba cannot be used, and tiles take longer; install clearsky[fast] again", exc_info=True)
            return
        self.loops = SimpleNamespace(**{name: value for module in modules for name, value in vars(module).items()})

    @property
    def state(self) -> Literal["loading", "compiled", "numpy"]:
        """Which loops run."""
        if self.loops is not None:
            return "compiled"
        return "loading" if self._thread.is_alive() else "numpy"

    def wait(self) -> None:
        """Wait until they are there, or it is known that there are none."""
        self._thread.join()


compiled_loops = cache(_Loading)
"""The compiled loops of this process, `loops` None until they are there."""
