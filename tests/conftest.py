"""Fixtures and plugins of the tests."""

pytest_plugins = ["pytester"]
