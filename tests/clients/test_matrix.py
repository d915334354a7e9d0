"""The matrix itself: every client is locked, and no driver lacks a verb."""

import ast
import json
import re

import pytest

from tests.clients.callback_client import CallbackClient
from tests.clients.insync_client import InsyncClient
from tests.clients.matrix import DRIVERS, KINDS

LOCKS = DRIVERS.parent / "locks"
PINNED = {
    "ib_insync": "ib-insync==0.9.86",
    "ib_async": "ib-async==2.1.0",
    "ibapi-stable": "ibapi-stable==10.50.2",
    "nautilus-ibapi": "nautilus-ibapi==10.46.1",
    "ibapi": "ibapi==9.81.1.post1",
}


def test_the_clients_are_those_of_the_issue() -> None:
    """Six clients, at five server versions; each version is one that the simulator negotiates."""
    assert {kind.name for kind in KINDS} == {*PINNED, "stoqey"}
    assert {kind.version for kind in KINDS} == {157, 176, 178, 193, 200}


@pytest.mark.parametrize("name", PINNED)
def test_a_lock_pins_its_client_with_hashes_and_names_no_place(name: str) -> None:
    """Names, versions and hashes only: it installs from anywhere, and nothing else."""
    for file in (f"{name}.lock", "build.txt"):
        text = (LOCKS / file).read_text(encoding="utf-8")
        requirements = re.sub(r"\\\n", " ", text).splitlines()
        assert all(re.match(r"[\w.-]+==[\w.]+ .*--hash=sha256:", each) for each in requirements)
        assert not re.search(r"https?:|--index|--find-links|--trusted", text)
    assert f"{PINNED[name]} " in (LOCKS / f"{name}.lock").read_text(encoding="utf-8")


def test_the_lock_of_stoqey_has_hashes_and_names_no_registry() -> None:
    """npm verifies the integrity of each package, wherever it finds it."""
    lock = json.loads((LOCKS / "stoqey/package-lock.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages["node_modules/@stoqey/ib"]["version"] == "1.6.10"
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not [name for name, package in packages.items() if "resolved" in package]


def test_no_client_lacks_a_verb() -> None:
    """What is abstract in Client is there for all: a test of a scenario runs for every client."""
    assert not CallbackClient.__abstractmethods__
    assert not InsyncClient.__abstractmethods__


def test_the_driver_of_ib_insync_knows_every_verb() -> None:
    """Each verb that InsyncClient sends is a method there."""
    sent = set(re.findall(r'_verb\(\s*"(\w+)"', (DRIVERS.parent / "insync_client.py").read_text()))
    tree = ast.parse((DRIVERS / "insync.py").read_text(encoding="utf-8"))
    (verbs,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Verbs")
    known = {node.name for node in verbs.body if isinstance(node, ast.AsyncFunctionDef)}
    assert known == sent
