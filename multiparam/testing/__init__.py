"""The conformance kit: what every backend promises, as one suite of tests.

A backend's test file subclasses `ConformanceSuite`, provides the models of `NativeModels` in plain framework code,
and gets every test:

    from multiparam.testing import ConformanceSuite

    class TestMine(ConformanceSuite):
        backend = "mine"
        def mlp(self): ...
"""

import pytest

for _module in ("models", "access", "values", "names", "initialization", "ties", "files", "running", "building"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from .models import NativeModels  # noqa: E402  # after the rewrite, or third parties see a bare AssertionError
from .suite import ConformanceSuite  # noqa: E402

__all__ = ["ConformanceSuite", "NativeModels"]
