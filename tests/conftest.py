"""Rules for every test."""

import os
from collections.abc import Generator

import pytest

NEEDS = {
    "browser": "needs Chromium; skipped without, but not in CI",
    "clients": "needs the clients of `make setup-clients`; skipped without, but not in CI",
    "systemd": "needs systemd, most of them root to boot one; skipped without, but not in CI",
}
"""Markers of tests that need more than Python."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers."""
    for marker, text in NEEDS.items():
        config.addinivalue_line("markers", f"{marker}: {text}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that was skipped for want of its needs fail where CI=true: there they must be."""
    report = yield
    needed = [marker for marker in NEEDS if item.get_closest_marker(marker) is not None]
    if os.environ.get("CI") == "true" and report.skipped and needed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI=true forbids: {report.longrepr}"
    return report
