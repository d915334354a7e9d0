"""The layout of ibloop is held by these tests: who imports whom, what is pure, how long, how told.

Every checker takes one ``Source`` and yields ``path:line: message``. The checkers themselves are
tested on snippets at the end: a rule that cannot fail protects nothing.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

LEAVES = ("ibloop.config", "ibloop.errors", "ibloop.log")
SIDE_LAYERS = ("ibloop.signals", "ibloop.adapters", "ibloop.sim")
BELOW_DAEMONS = ("ibloop.__version__", "ibloop.core", *LEAVES, *SIDE_LAYERS)
# Layer (the longest prefix of a module's name wins) -> what of ibloop it may import beside itself.
ALLOWED_IMPORTS: dict[str, tuple[str, ...]] = {
    "ibloop": (),
    "ibloop.core": (),
    # errors.py is a leaf: config and log.py raise its exceptions.
    "ibloop.config": ("ibloop.core", "ibloop.errors"),
    "ibloop.errors": ("ibloop.core",),
    "ibloop.log": ("ibloop.core", "ibloop.errors"),
    "ibloop.signals": ("ibloop.core",),
    "ibloop.adapters": ("ibloop.__version__", "ibloop.core", *LEAVES),
    "ibloop.sim": ("ibloop.core.model",),
    "ibloop.daemons": BELOW_DAEMONS,
    "ibloop.web": (*BELOW_DAEMONS, "ibloop.daemons"),
    "ibloop.cli": (*BELOW_DAEMONS, "ibloop.daemons", "ibloop.web"),
    "ibloop.__main__": ("ibloop.cli",),
}
# Third-party package -> the modules (or packages) that may import it.
PLACES: dict[str, tuple[str, ...]] = {
    "click": ("ibloop.cli",),
    "eventkit": ("ibloop.adapters.ib",),
    "filelock": ("ibloop.adapters.streamfiles", "ibloop.adapters.locks"),
    "holidays": ("ibloop.adapters.calendar",),
    "ib_insync": ("ibloop.adapters.ib",),
    "jinja2": ("ibloop.web",),
    "msgspec": ("ibloop.config", "ibloop.adapters.streamfiles", "ibloop.sim.market.replay"),
    "prometheus_client": ("ibloop.web",),
    "pysqlite3": ("ibloop.adapters.ledger", "ibloop.adapters.sqlite"),
    "pytest": ("ibloop.sim.testing",),
    "requests": ("ibloop.adapters.telegram",),
    "rich": ("ibloop.cli",),
    "sqlite_utils": ("ibloop.adapters.ledger",),
    "starlette": ("ibloop.web",),
    "structlog": ("ibloop.log",),
    "uvicorn": ("ibloop.web",),
}

# What core may not even import, because all it offers is a clock, I/O, async, logs or chance.
IMPURE_MODULES = frozenset(
    {"asyncio", "logging", "os", "pathlib", "random", "secrets", "select", "shutil", "signal"}
    | {"socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time"}
)
CLOCKS = ("date.today", "datetime.now", "datetime.today", "datetime.utcnow")
IMPURE_NAMES = frozenset({"uuid.uuid1", "uuid.uuid4", *(f"datetime.{clock}" for clock in CLOCKS)})
IMPURE_BUILTINS = frozenset({"input", "open", "print"})


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path below the repository, its module name, text and syntax tree."""

    path: str
    module: str
    text: str
    tree: ast.Module

    def at(self, line: int, message: str) -> str:
        """Return the message as ``path:line: message``, the form editors jump to."""
        return f"{self.path}:{line}: {message}"


Checker = Callable[[Source], Iterator[str]]


def parse(path: str, text: str) -> Source:
    """Return the source of a file, ``path`` relative to the repository, with forward slashes."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Source(path, module, text, ast.parse(text))


def sources(root: Path = ROOT) -> list[Source]:
    """Return every Python file of the package, in order of path."""
    paths = sorted((root / "ibloop").rglob("*.py"))
    return [parse(p.relative_to(root).as_posix(), p.read_text(encoding="utf-8")) for p in paths]


def is_within(name: str, *prefixes: str) -> bool:
    """Return whether a dotted name is one of the prefixes or lies below one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of each import: ``from a import b`` yields ``a.b``."""
    own = source.module.split(".")
    package = own if source.path.endswith("/__init__.py") else own[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def layer_of(module: str) -> str:
    """Return the layer of a module; a module of an unknown layer is its own."""
    layers = [layer for layer in ALLOWED_IMPORTS if is_within(module, layer)]
    layer = max(layers, key=len)
    return module if layer == "ibloop" and module != "ibloop" else layer


def check_layers(source: Source) -> Iterator[str]:
    """Core <- signals, adapters, sim <- daemons, web <- cli."""
    layer = layer_of(source.module)
    if layer not in ALLOWED_IMPORTS:
        yield source.at(1, f"{source.module} is in no layer; give it one in ALLOWED_IMPORTS")
        return
    # The package root lies above all layers: it may not pull them in, so it is not "itself".
    allowed = ALLOWED_IMPORTS[layer] + (() if layer == "ibloop" else (layer,))
    for line, name in imports(source):
        if is_within(name, "ibloop") and not is_within(name, *allowed):
            may = ", ".join(sorted(allowed)) or "nothing of ibloop"
            yield source.at(line, f"{layer} imports {name}; it may import {may}")


def check_third_party(source: Source) -> Iterator[str]:
    """Each third-party package is imported only in its place."""
    for line, name in imports(source):
        package = name.split(".")[0]
        if package == "ibloop" or package in sys.stdlib_module_names:
            continue
        places = PLACES.get(package)
        if places is None:
            yield source.at(line, f"{package} has no place; give it one in PLACES")
        elif not is_within(source.module, *places):
            yield source.at(line, f"{package} belongs in {', '.join(places)} only")


def meanings(source: Source) -> dict[str, str]:
    """Return what each imported name of a file stands for: ``{"dt": "datetime.datetime"}``."""
    known: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """Return the full dotted name of an expression, empty if it is none."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, known)
        return f"{base}.{node.attr}" if base else ""
    return ""


def check_core_is_pure(source: Source) -> Iterator[str]:
    """Core has no clock, no I/O, no async, no logging and no randomness; ``now`` is an argument."""
    if not is_within(source.module, "ibloop.core"):
        return
    for line, name in imports(source):
        if name.split(".")[0] in IMPURE_MODULES:
            yield source.at(line, f"core imports {name}: take its result as an argument")
    known = meanings(source)
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)):
            yield source.at(node.lineno, "core is not async")
        elif isinstance(node, (ast.Name, ast.Attribute)) and dotted(node, known) in IMPURE_NAMES:
            yield source.at(node.lineno, f"core uses {dotted(node, known)}: take it as an argument")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_BUILTINS:
            yield source.at(node.lineno, "core does no I/O: leave it to an adapter")


def check_lengths(source: Source) -> Iterator[str]:
    """Functions have up to 70 lines, files up to 400."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield source.at(lines, f"expected at most {FILE_LINES_MAX} lines in a file, was {lines}")
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                message = f"expected at most {FUNCTION_LINES_MAX} lines in {node.name}, was {lines}"
                yield source.at(node.lineno, message)


def repeats_another(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a definition is an overload or a property's setter, told by its first form."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
    return bool(marks & {"overload", "setter", "deleter"})


def check_docstrings(source: Source) -> Iterator[str]:
    """Every module, public class, public function and public method has a docstring."""
    if not ast.get_docstring(source.tree):
        yield source.at(1, "expected a docstring of the module")
    waiting: list[ast.AST] = [source.tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, (ast.If, ast.Try, ast.With)):
                waiting.append(node)  # what is defined there is defined for the module
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if node.name.startswith("_") or repeats_another(node):
                continue
            if isinstance(node, ast.ClassDef):
                waiting.append(node)
            if not ast.get_docstring(node):
                yield source.at(node.lineno, f"expected a docstring of {node.name}")


def is_broad(caught: ast.expr | None) -> bool:
    """Return whether what is caught is everything: nothing named, Exception or BaseException."""
    return caught is None or re.search(r"\b(Base)?Exception\b", ast.unparse(caught)) is not None


def check_no_broad_except(source: Source) -> Iterator[str]:
    """Whoever catches everything says why on the same line, as ``# why: ...``."""
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            broad = is_broad(node.type)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            broad = any(is_broad(argument) for argument in node.args)
        else:
            continue
        if broad and "# why:" not in lines[node.lineno - 1]:
            yield source.at(node.lineno, "catches everything without `# why:` on its line")


CHECKERS: tuple[Checker, ...] = (
    *(check_layers, check_third_party, check_core_is_pure),
    *(check_lengths, check_docstrings, check_no_broad_except),
)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_architecture(checker: Checker) -> None:
    """The whole package keeps the rule."""
    findings = [finding for source in sources() for finding in checker(source)]
    assert findings == [], "\n" + "\n".join(findings)


def found(checker: Checker, path: str, text: str) -> list[str]:
    """Return what a checker finds in one snippet."""
    return list(checker(parse(path, text)))


BAD_IMPORTS = [
    ("ibloop/core/orders.py", "from ibloop.errors import IbloopError"),
    ("ibloop/core/orders.py", "def f():\n    import ibloop.adapters.ledger"),
    ("ibloop/core/orders.py", "from ..adapters import ledger"),
    ("ibloop/core/__init__.py", "from .. import config"),
    ("ibloop/core/orders.py", "import ibloop"),
    ("ibloop/signals/momentum.py", "from ibloop import config"),
    ("ibloop/adapters/ledger.py", "from ibloop.sim import broker"),
    ("ibloop/adapters/host.py", "import ibloop"),
    ("ibloop/adapters/ledger.py", "from ibloop.daemons.loop import run"),
    ("ibloop/sim/brokerage/broker.py", "from ibloop.core.orders import build"),
    ("ibloop/sim/brokerage/broker.py", "from ibloop.core import *"),
    ("ibloop/daemons/guard.py", "from ibloop.web import app"),
    ("ibloop/web/app.py", "from ibloop import cli"),
    ("ibloop/config/loading.py", "from ibloop.adapters import host"),
    ("ibloop/log.py", "from .config import Config"),
    ("ibloop/__init__.py", "from ibloop.cli import main"),
    ("ibloop/unheard.py", "import csv"),
]
GOOD_IMPORTS = [
    ("ibloop/core/orders.py", "import csv\nfrom .model import Order\nfrom ibloop.core import risk"),
    ("ibloop/signals/momentum.py", "from ibloop.core.model import Target"),
    ("ibloop/adapters/ledger.py", "from ibloop import config, errors, log\nfrom . import ports"),
    ("ibloop/adapters/host.py", "from ibloop import __version__"),
    ("ibloop/sim/model.py", "from ibloop.core import model\nfrom ibloop.core.model import Fill"),
    ("ibloop/daemons/gateway.py", "from ibloop import __version__, sim\nimport ibloop.signals"),
    ("ibloop/cli/run.py", "from ibloop.web import app\nfrom ibloop.daemons import stream"),
    ("ibloop/config/loading.py", "from ibloop.errors import ConfigError"),
    ("ibloop/__main__.py", "from ibloop.cli import main"),
]


@pytest.mark.parametrize(("path", "text"), BAD_IMPORTS)
def test_layers_catches(path: str, text: str) -> None:
    """An import against the direction of the layers is found at its line."""
    (finding,) = found(check_layers, path, text)
    assert finding.startswith(f"{path}:{len(text.splitlines())}: ")


@pytest.mark.parametrize(("path", "text"), GOOD_IMPORTS)
def test_layers_lets_through(path: str, text: str) -> None:
    """An import along the direction of the layers is no finding."""
    assert found(check_layers, path, text) == []


@pytest.mark.parametrize(("package", "places"), PLACES.items(), ids=list(PLACES))
def test_third_party_has_its_place(package: str, places: tuple[str, ...]) -> None:
    """A package may be imported in its place, be that a module or a package, and nowhere else."""
    text = f"from {package}.part import thing"
    for below in (place.replace(".", "/") for place in places):
        assert found(check_third_party, f"{below}.py", text) == []
        assert found(check_third_party, f"{below}/inner.py", text) == []
        assert len(found(check_third_party, f"{below}_more.py", text)) == 1
    unplaced = found(check_third_party, "ibloop/cli/run.py", "import csv\nimport pandas as pd")
    assert unplaced == ["ibloop/cli/run.py:2: pandas has no place; give it one in PLACES"]


IMPURITIES = [
    "import datetime as dt\nx = dt.datetime.now(dt.UTC)",
    "from datetime import datetime as d\nx = d.utcnow()",
    "from datetime import date\nx = field(default_factory=date.today)",
    *("from time import time", "import random", "import os.path"),
    *("x = open('file')", "print('hello')", "async def f():\n    return 1"),
]


@pytest.mark.parametrize("text", IMPURITIES)
def test_core_purity_catches(text: str) -> None:
    """Clock, chance, I/O and async are found in core, and only in core."""
    assert len(found(check_core_is_pure, "ibloop/core/model.py", text)) == 1
    assert found(check_core_is_pure, "ibloop/daemons/loop.py", text) == []


def test_core_purity_lets_values_through() -> None:
    """Times as values, bars with an ``open`` and methods named ``now`` are no impurity."""
    text = "from datetime import datetime, time\nx = datetime(2026, 1, 2), time(9), b.open, b.now()"
    assert found(check_core_is_pure, "ibloop/core/model.py", text) == []


def test_lengths_are_inclusive_limits() -> None:
    """70 lines in a function and 400 in a file pass; one more is found."""
    function = "def f():\n" + "    x = 1\n" * 69
    assert found(check_lengths, "ibloop/a.py", function) == []
    assert found(check_lengths, "ibloop/a.py", "x = 1\n" * 400) == []
    longer = [f"\n{function}    x = 1\n", "x = 1\n" * 401]
    assert [found(check_lengths, "ibloop/a.py", text) for text in longer] == [
        ["ibloop/a.py:2: expected at most 70 lines in f, was 71"],
        ["ibloop/a.py:401: expected at most 400 lines in a file, was 401"],
    ]


DOCUMENTED = """'''Say what.'''
class A:
    '''Hold it.'''
    def __init__(self): pass
    @property
    def size(self):
        '''Return it.'''
    @size.setter
    def size(self, value): pass
def f():
    '''Do it.'''
    def inner(): pass
class _Private:
    def method(self): pass
"""


@pytest.mark.parametrize("docstring", ["Say what.", "Hold it.", "Return it.", "Do it."])
def test_docstrings_are_demanded(docstring: str) -> None:
    """A module, class, method or function is found once its docstring is gone."""
    assert found(check_docstrings, "ibloop/a.py", DOCUMENTED) == []
    undocumented = DOCUMENTED.replace(docstring, "")
    assert len(found(check_docstrings, "ibloop/a.py", undocumented)) == 1


@pytest.mark.parametrize("caught", ["", " Exception", " (OSError, BaseException) as e"])
def test_broad_except_needs_its_reason(caught: str) -> None:
    """Catching everything is found unless its line says why."""
    text = f"try:\n    f()\nexcept{caught}:  # why: the process ends here\n    pass"
    assert found(check_no_broad_except, "ibloop/a.py", text) == []
    (finding,) = found(check_no_broad_except, "ibloop/a.py", text.replace("# why:", "#"))
    assert finding.startswith("ibloop/a.py:3: ")


def test_suppressing_everything_is_broad_too() -> None:
    """``suppress(Exception)`` is a broad except in disguise; a named error is fine."""
    assert len(found(check_no_broad_except, "ibloop/a.py", "with suppress(Exception): f()")) == 1
    assert found(check_no_broad_except, "ibloop/a.py", "with suppress(OSError): f()") == []


def test_an_empty_tree_has_no_findings_and_the_real_one_is_read(tmp_path: Path) -> None:
    """The rules say what may be there, not what must be; and they do look at the package."""
    assert sources(tmp_path) == []
    assert "ibloop" in {source.module for source in sources()}
