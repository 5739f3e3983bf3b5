"""Fixtures and plugins of the tests."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# how fast a machine is, and what else it does, decides about no test
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")
