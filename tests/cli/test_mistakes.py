"""Every mistake of a person is one clear sentence, the documented exit code, and nothing written.

A traceback in any of these fails the test: the runner lets no exception pass but SystemExit.
"""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML

from .conftest import files

TARGETS = samples_dir() / "targets-initial.csv"
BAD_TARGETS = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n\n", "the file is empty"),
    "header only": (b"symbol,weight\n", "no targets"),
    "no header": (b"AAPL,0.5\n", "expected a header line"),
    "binary": (bytes(range(256)), "the file is binary"),
    "not UTF-8": (b"symbol,weight\nAAPL\xff,0.5\n", "not UTF-8"),
    "duplicate": (b"symbol,weight\nAAPL,0.1\nAAPL,0.1\n", "line 3: AAPL appears twice"),
    "nan": (b"symbol,weight\nAAPL,NaN\n", "line 2: weight NaN is not a finite number"),
    "infinite": (b"symbol,weight\nAAPL,inf\n", "line 2: weight inf is not a finite number"),
    "negative": (b"symbol,weight\nAAPL,-0.1\n", "line 2: weight -0.1 is negative"),
    "word": (b"symbol,weight\nAAPL,half\n", "line 2: weight 'half' is not a number"),
    "over 100 %": (b"symbol,weight\nAAPL,0.6\nIBM,0.6\n", "the weights sum to 1.2"),
    "one over 100 %": (b"symbol,weight\nAAPL,5\n", "line 2: weight 5 is above 1"),
    "unknown symbol": (b"symbol,weight\nQQQQ,0.1\n", "QQQQ is not in the universe"),
    "bad as_of": (b"symbol,weight,as_of\nAAPL,0.1,monday\n", "as_of 'monday' is not an ISO date"),
}
ASKING = {
    "rebalance": ("rebalance", "--targets"),
    "preview": ("rebalance", "--dry-run", "--targets"),
    "validate": ("targets", "validate"),
}


def sentence(err: str) -> str:
    """Return the one line on stderr, which begins with our name and goes on in lower case."""
    (line,) = err.splitlines()
    name, _, text = line.partition(": ")
    assert name == "ibloop"
    assert text[0] == text[0].lower()
    return text


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("kind", BAD_TARGETS)
def test_a_bad_targets_file_is_bad_input(kind: str, asking: str, ibloop: Callable) -> None:
    """65, whoever reads it, and not even a data directory is made."""
    content, told = BAD_TARGETS[kind]
    Path("bad.csv").write_bytes(content)
    said = ibloop(*ASKING[asking], "bad.csv")
    assert (said.code, said.out) == (65, "")
    assert told in sentence(said.err)
    assert files(Path()) == {"bad.csv": content}


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize(
    ("path", "told"), [("none.csv", "No such file"), (".", "Is a directory"), ("a/b", "No such")]
)
def test_a_targets_file_that_is_none_is_bad_input(
    path: str, told: str, asking: str, ibloop: Callable
) -> None:
    """Missing, a directory, in a directory that is missing."""
    said = ibloop(*ASKING[asking], path)
    assert (said.code, said.out) == (65, "")
    assert told in sentence(said.err)
    assert files(Path()) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_targets_file_is_bad_input(ibloop: Callable) -> None:
    """The permission is named."""
    Path("secret.csv").write_text("symbol,weight\nAAPL,0.1\n", encoding="utf-8")
    Path("secret.csv").chmod(0)
    said = ibloop("rebalance", "--targets", "secret.csv")
    assert said.code == 65
    assert "Permission denied" in sentence(said.err)


BAD_CONFIGS = {
    "not TOML": ("mode = paper", "is not valid TOML"),
    "not even nearly": ("[" * 400, "is not valid TOML"),
    "unknown table": (BUILTIN_TOML + "\n[typo]\nx = 1\n", "unknown key 'typo'"),
    "unknown key": (BUILTIN_TOML + "peak_los = 1\n", "unknown key 'web.peak_los'"),
    "nan limit": (BUILTIN_TOML.replace("= 15_000", "= nan"), "limits.order_value_usd_max"),
    "infinite limit": (BUILTIN_TOML.replace("= 15_000", "= inf"), "limits.order_value_usd_max"),
    "quoted nan": (BUILTIN_TOML.replace("= 15_000", '= "NaN"'), "limits.order_value_usd_max"),
    "negative limit": (BUILTIN_TOML.replace("= 15_000", "= -1"), "must not be negative"),
    "missing limit": (BUILTIN_TOML.replace("order_value_usd_max = 15_000", ""), "order_value_usd"),
    "per cent": (BUILTIN_TOML.replace("kill = 0.05", "kill = 5"), "is a fraction of 1"),
    "live account": (BUILTIN_TOML.replace("DU1234567", "U1234567"), "mode paper expects"),
    "live port": (BUILTIN_TOML.replace("port = 0", "port = 4001", 1), "refuses the live port"),
    "live and simulated": (BUILTIN_TOML.replace('"paper"', '"live"'), "mode live"),
    "no such zone": (BUILTIN_TOML.replace('"always"', '"always"\ntimezone = "X/Y"'), "timezone"),
}


@pytest.mark.parametrize(
    "command", [("config", "check"), ("halt", "x"), ("rebalance", "--targets", TARGETS)], ids=str
)
@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_a_bad_configuration_stops_everything(
    kind: str, command: tuple[str, ...], ibloop: Callable
) -> None:
    """78, the key named, whatever was asked; a half understood limit must never be in force."""
    text, told = BAD_CONFIGS[kind]
    Path("ibloop.toml").write_text(text, encoding="utf-8")
    said = ibloop(*command)
    assert (said.code, said.out) == (78, "")
    assert told in sentence(said.err)
    assert files(Path()) == {"ibloop.toml": text.encode()}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--config", "none.toml"), "no configuration at"),
        (("--config", "."), "Is a directory"),
        (("--profile", "no-such-profile"), "/etc/ibloop/no-such-profile.toml"),
        (("--profile", "../paper"), "expected a profile name"),
    ],
)
def test_a_named_configuration_must_be_there(
    options: tuple[str, str], told: str, ibloop: Callable
) -> None:
    """A missing one is never replaced by the built-in profile."""
    for command in (("status",), ("halt", "x"), ("executor", "run"), ("config", "show")):
        said = ibloop(*command, *options)
        assert (said.code, said.out) == (78, ""), command
        assert told in sentence(said.err)
    assert files(Path()) == {}


def test_the_mode_must_agree_with_the_profile(ibloop: Callable) -> None:
    """`--mode live` never switches a paper profile by itself."""
    said = ibloop("rebalance", "--targets", TARGETS, "--mode", "live")
    assert (said.code, said.out) == (77, "")
    assert "this profile trades paper, not live" in sentence(said.err)
    assert files(Path()) == {}


@pytest.mark.parametrize(
    "command",
    [
        ("rebalance", "--targets", TARGETS),
        ("db", "migrate"),
        ("demo",),
        *((daemon, "run") for daemon in ("gateway", "stream", "executor", "guard")),
    ],
    ids=str,
)
@pytest.mark.parametrize("data", ["a-file", "a-file/below", "/proc/nowhere/data"])
def test_a_data_directory_must_be_usable(
    data: str, command: tuple[str, ...], process: Callable, tmp_path: Path
) -> None:
    """A file in its place, or nowhere to make it: 78 from everything that would write."""
    (tmp_path / "a-file").write_text("mine", encoding="utf-8")
    said = process(*command, "--data", data)
    assert (said.code, said.out) == (78, "")
    assert "cannot make the data directory" in sentence(said.err)
    assert files(tmp_path) == {"a-file": b"mine"}


def test_a_halt_where_nothing_runs_is_no_success(ibloop: Callable) -> None:
    """Halting a ledger that is not the loop's would be a false comfort: 78, and where it looked."""
    said = ibloop("halt", "x", "--level", "kill")
    assert said.code == 78
    assert f"no data directory {Path('data').absolute()}" in sentence(said.err)
    assert files(Path()) == {}


def test_a_halt_from_elsewhere_reaches_the_loop_that_the_file_names(
    ibloop: Callable, tmp_path: Path
) -> None:
    """What `ibloop init` writes says where its data is, wherever one is; nothing is made here."""
    config = tmp_path / "loop" / "ibloop.toml"
    config.parent.mkdir()
    assert ibloop("init", config).code == 0
    assert ibloop("halt", "too early", "--config", config).code == 78
    assert ibloop("db", "migrate", "--config", config).code == 0
    assert ibloop("halt", "prices look wrong", "--config", config).code == 0
    assert ibloop("status", "--json", "--config", config).data["halt"]["reason"]
    assert files(Path()) == {}
    assert (tmp_path / "loop" / "data" / "ibloop.db").exists()


def test_before_there_is_a_ledger_the_file_halts(ibloop: Callable) -> None:
    """A command makes no ledger; in a data directory that is there the HALT file stops the loop."""
    Path("data").mkdir()
    said = ibloop("halt", "not yet", "--level", "reduce-only")
    assert said.code == 0
    assert files(Path()) == {"data": None, "data/HALT": b"reduce-only\n"}
    assert ibloop("halt", "not at all", "--level", "kill").code == 0
    again = ibloop("halt", "perhaps")
    assert "at level kill" in again.err
    assert files(Path()) == {"data": None, "data/HALT": b"kill\n"}


@pytest.mark.parametrize(
    "command",
    [
        ("resume", "x"),
        ("disarm",),
        ("guard", "release", "AAA", "why"),
        ("positions", "accept", "AAA", "--reason", "why"),
        ("orders", "cancel", "x", "--reason", "why"),
    ],
    ids=str,
)
def test_only_what_begins_a_loop_makes_a_ledger(command: tuple[str, ...], ibloop: Callable) -> None:
    """78 and the directory that was meant: a new ledger somewhere else would be a false success."""
    Path("data").mkdir()
    said = ibloop(*command)
    assert (said.code, said.out) == (78, "")
    assert "nothing has run yet" in sentence(said.err)
    assert files(Path()) == {"data": None}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_must_be_writable(ibloop: Callable) -> None:
    """78 before anything is written."""
    Path("data").mkdir(mode=0o555)
    said = ibloop("db", "migrate")
    assert said.code == 78
    assert "is not writable" in sentence(said.err)


READS = [("run", "list"), ("run", "show", "x"), ("orders", "list"), ("fills", "list")]
READS += [("positions", "list"), ("db", "check"), ("rebalance", "--dry-run", "--targets", TARGETS)]
CHANGES = [("resume", "x"), ("run", "retry", "x"), ("run", "cancel", "x")]


@pytest.mark.parametrize("command", READS + CHANGES, ids=str)
def test_before_the_first_ledger_there_is_nothing_to_ask(
    command: tuple[str, ...], ibloop: Callable
) -> None:
    """78 with the way to begin; asking makes neither a directory nor a ledger."""
    said = ibloop(*command)
    assert (said.code, said.out) == (78, "")
    assert "nothing has run yet" in sentence(said.err)
    assert files(Path()) == {}


@pytest.mark.parametrize("command", [("run", "show"), ("run", "retry"), ("run", "cancel")], ids=str)
@pytest.mark.parametrize("name", ["2026W99", "run-9", "", "\udcff", "2026w47 "])
def test_an_unknown_run_is_bad_input(
    name: str, command: tuple[str, ...], ibloop: Callable, traded: Path
) -> None:
    """65, and nothing of the ledger is changed."""
    said = ibloop(*command, name, "--data", traded)
    assert (said.code, said.out) == (65, "")
    assert f"there is no run {name!r}" in sentence(said.err)


def test_a_run_that_has_ended_is_neither_retried_nor_canceled(
    ibloop: Callable, traded: Path
) -> None:
    """77 with the way on: an extra run has a key of its own."""
    said = ibloop("run", "retry", "2026W47", "--data", traded)
    assert said.code == 77
    assert "only a blocked run is retried" in sentence(said.err)
    said = ibloop("run", "cancel", "2026W47", "--data", traded)
    assert said.code == 77
    assert "has ended: partial" in sentence(said.err)


@pytest.mark.parametrize(
    "command",
    [("halt", "x"), ("rebalance", "--targets", TARGETS), ("run", "retry", "2026W47")],
    ids=str,
)
def test_the_ledger_of_another_account_is_refused(
    command: tuple[str, ...], ibloop: Callable, traded: Path
) -> None:
    """One profile, one account, one ledger: 78, and both accounts are named."""
    text = BUILTIN_TOML.replace("DU1234567", "DU7654321")
    Path("ibloop.toml").write_text(text, encoding="utf-8")
    said = ibloop(*command, "--data", traded)
    assert (said.code, said.out) == (78, "")
    assert "belongs to paper account DU1234567" in sentence(said.err)
    assert "DU7654321" in said.err


OTHER_READS = [("run", "list"), ("orders", "list"), ("fills", "list"), ("positions", "list")]
OTHER_READS += [("status",), ("guard", "once"), ("db", "check"), ("alerts", "list")]


@pytest.mark.parametrize("command", OTHER_READS, ids=str)
@pytest.mark.parametrize(
    ("mode", "account"), [("paper", "DU7654321"), ("live", "U1234567")], ids=str
)
def test_the_ledger_of_another_account_is_not_shown(
    mode: str, account: str, command: tuple[str, ...], ibloop: Callable, traded: Path
) -> None:
    """77: runs of the paper account under the name of the live one would be believed."""
    text = BUILTIN_TOML.replace("DU1234567", account).replace('mode = "paper"', f'mode = "{mode}"')
    if mode == "live":
        text = text.replace('launcher = "sim"\nport = 0', 'launcher = "external"\nport = 5001')
        text += f'\n[universe]\nfile = "{samples_dir() / "universe.csv"}"\n'
    Path("ibloop.toml").write_text(text, encoding="utf-8")
    said = ibloop(*command, "--data", traded)
    assert (said.code, said.out) == (77, "")
    assert "is the ledger of paper account DU1234567" in sentence(said.err)
    assert f"{mode} account {account}" in said.err


@pytest.mark.parametrize("command", [("status",), ("run", "list"), ("halt", "x")], ids=str)
@pytest.mark.parametrize("data", ["a-file", "a-file/below"])
def test_a_data_directory_that_is_a_file_is_named(
    data: str, command: tuple[str, ...], ibloop: Callable
) -> None:
    """78: a file in its place neither halts a loop nor is one."""
    Path("a-file").write_text("mine", encoding="utf-8")
    said = ibloop(*command, "--data", data)
    assert (said.code, said.out) == (78, "")
    assert f"the data directory {Path(data).absolute()}" in sentence(said.err)
    assert "HALT" not in said.err


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_ledger_that_is_none_is_refused(content: bytes, ibloop: Callable) -> None:
    """78, and what is there stays as it is."""
    Path("data").mkdir()
    Path("data/ibloop.db").write_bytes(content)
    for command in (("orders", "list"), ("resume", "x"), ("db", "migrate")):
        said = ibloop(*command)
        assert (said.code, said.out) == (78, ""), command
        sentence(said.err)
    assert Path("data/ibloop.db").read_bytes() == content


USAGE = [
    (),
    ("nonsense",),
    ("demoo",),
    ("--nonsense",),
    ("status", "--nonsense"),
    ("status", "extra"),
    ("run",),
    ("run", "nonsense"),
    ("run", "show"),
    ("halt",),
    ("halt", ""),
    ("halt", "  "),
    ("halt", "\udcff"),
    ("halt", "two\nlines"),
    ("halt", "x" * 501),
    ("halt", "x", "--level", "loud"),
    ("resume", ""),
    ("rebalance", "--key", ""),
    ("rebalance", "--key", "a b"),
    ("rebalance", "--key", "ü"),
    ("rebalance", "--key", "x" * 65),
    ("rebalance", "--mode", "both"),
    ("orders", "list", "--limit", "0"),
    ("orders", "list", "--limit", "-1"),
    ("fills", "list", "--limit", "9" * 30),
    ("run", "list", "--limit", "many"),
    ("status", "--data", ""),
    ("halt", "x", "--config", ""),
    ("--profile", "", "status"),
    ("sim", "--port", "70000"),
    ("sim", "--data", "x"),
]


@pytest.mark.parametrize("arguments", USAGE, ids=repr)
def test_a_wrong_command_line_is_a_usage_error(
    arguments: tuple[str, ...], ibloop: Callable
) -> None:
    """2, the usage on stderr, and nothing done: an empty --data must not mean this directory."""
    said = ibloop(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Usage: ibloop" in said.err
    assert files(Path()) == {}


@pytest.mark.e2e
def test_a_port_in_use_is_bad_configuration(process: Callable, tmp_path: Path) -> None:
    """78 from the daemon, for a restart would not free the port; the last line says where."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = BUILTIN_TOML.replace("port = 0", f"port = {port}", 1)
        (tmp_path / "ibloop.toml").write_text(text, encoding="utf-8")
        said = process("gateway", "run")
    assert (said.code, said.out) == (78, "")
    assert f"cannot listen on 127.0.0.1:{port}" in said.err
    last = said.err.splitlines()[-1]
    assert last.startswith("ibloop: the simulator refused to start")
    assert "Traceback" not in said.err


WORDS = ("run", "show", "list", "status", "orders", "--json", "--data", "--run", "--limit", "-1")
WORDS += ("halt", "resume", "targets", "validate", "rebalance", "--dry-run", "--key", "config")
WORDS += ("2026W47", "", "\udcff", "--", "-", "%s", "{}", "..", "/dev/null", "/proc/self/mem")
WORDS += ("--config", "check", "db", "--targets", "positions", "fills", "--level", "kill", "--help")


@pytest.mark.parametrize("seed", range(40))
def test_no_combination_of_words_gives_a_traceback(
    seed: int, ibloop: Callable, traded: Path
) -> None:
    """Whatever is typed, the answer is data, a sentence or the usage, and a documented code."""
    chance = random.Random(seed)
    for _ in range(5):
        arguments = chance.choices(WORDS, k=chance.randint(1, 6))
        said = ibloop("--data", traded, *arguments)
        assert said.code in {0, 1, 2, 3, 65, 69, 75, 77, 78}, (seed, arguments)
        assert "Traceback" not in said.err, (seed, arguments)
