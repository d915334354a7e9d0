"""A configuration is right in every part or refused with the reasons; nothing is assumed."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.config import BUILTIN_TOML, Config, Profile, load_profile, parse
from ibloop.config import loading as module
from ibloop.config.rules import checks_off, doubts
from ibloop.core.model import Algo, Mode, OrderType, Tif
from ibloop.core.retrying import Retry
from ibloop.core.snapshot import Omitted
from ibloop.errors import ConfigError, Exit

D = Decimal
LIVE_TOML = (
    BUILTIN_TOML.replace('mode = "paper"', 'mode = "live"')
    .replace("DU1234567", "U1234567")
    .replace('launcher = "sim"\nport = 0', 'launcher = "external"\nport = 4001')
    .replace('calendar = "always"', 'calendar = "nyse"')
    + '\n[universe]\nfile = "universe.csv"\n'
)


def with_line(line: str, *, under: str = "", base: str = BUILTIN_TOML) -> str:
    """Return a configuration with one more line, at the top or under an existing table."""
    head = f"[{under}]\n"
    return base.replace(head, f"{head}{line}\n", 1) if under else f"{line}\n{base}"


def with_value(name: str, value: str, base: str = BUILTIN_TOML) -> str:
    """Return a configuration in which one key of one line has another value."""
    lines = base.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
    return "\n".join([*lines[:at], f"{name} = {value}", *lines[at + 1 :]])


def without(name: str) -> str:
    """Return the built-in configuration without one key."""
    lines = [line for line in BUILTIN_TOML.splitlines() if not line.startswith(f"{name} = ")]
    return "\n".join(lines)


def problem_of(text: str) -> str:
    """Return why a configuration is refused; it must name its source."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "here.toml")
    assert caught.value.exit_code == Exit.BAD_CONFIG
    assert str(caught.value).startswith("here.toml")
    return str(caught.value)


def test_the_builtin_profile_is_paper_on_the_simulator() -> None:
    """Whoever starts without a file trades play money, round the clock, on free ports."""
    config = parse(BUILTIN_TOML, "built-in")
    assert (config.mode, config.account) == (Mode.PAPER, "DU1234567")
    assert (config.gateway.launcher, config.gateway.host, config.gateway.port) == (
        *("sim", "127.0.0.1", 0),
    )
    assert config.session.calendar == "always"
    assert config.limits.short_allowed is False
    assert config.limits.order_value_usd_max == D(15_000)
    assert config.execution.order_type is OrderType.LMT
    assert config.execution.tif is Tif.GTD
    assert config.targets.omitted is Omitted.SELL
    assert config.order_window == 8


def test_numbers_of_money_are_exact() -> None:
    """A fraction in the file is that decimal, not the nearest binary one."""
    config = parse(with_value("cash_weight_min", "0.0213"), "x")
    assert config.limits.cash_weight_min == D("0.0213")


def test_only_play_money_is_tried_again_by_itself() -> None:
    """A remainder is retried in paper, and in live mode when somebody has said so."""
    assert (parse(BUILTIN_TOML, "x").retry, parse(LIVE_TOML, "x").retry) == (
        *(Retry.REMAINDER, Retry.NONE),
    )
    asking = with_line('approval = "required"', under="execution")
    assert parse(asking, "x").retry is Retry.NONE
    said = with_line('retry = "remainder"', under="execution", base=LIVE_TOML)
    assert parse(said, "x").retry is Retry.REMAINDER


def test_an_algo_comes_with_its_priority() -> None:
    """Without one orders are plain; adaptive is of normal urgency unless told otherwise."""
    assert parse(BUILTIN_TOML, "x").order_algo is None
    adaptive = with_line('algo = "adaptive"', under="execution")
    assert parse(adaptive, "x").order_algo is Algo.ADAPTIVE_NORMAL
    urgent = with_line('adaptive_priority = "urgent"', under="execution", base=adaptive)
    assert parse(urgent, "x").order_algo is Algo.ADAPTIVE_URGENT


def test_a_live_profile_is_careful() -> None:
    """Live sends one order at a time unless told otherwise."""
    config = parse(LIVE_TOML, "x")
    assert (config.mode, config.order_window) == (Mode.LIVE, 1)
    assert parse(with_line("window = 3", under="execution", base=LIVE_TOML), "x").order_window == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_line("colour = 1"), "unknown key 'colour' (known here: account, data_dir,"),
        (with_line("order_value_max = 1", under="limits"), "unknown key 'limits.order_value_max'"),
        (with_line("ports = 1", under="gateway"), "unknown key 'gateway.ports'"),
        (BUILTIN_TOML + "[gateway.client_ids]\nwatcher = 1\n", "'gateway.client_ids.watcher'"),
        (BUILTIN_TOML + "[limit]\n", "unknown key 'limit'"),
    ],
)
def test_unknown_keys_are_errors_at_every_depth(text: str, words: str) -> None:
    """A misspelt limit must not be a missing one."""
    assert words in problem_of(text)


def test_several_unknown_keys_are_told_at_once() -> None:
    """Nobody mends a file one word at a time."""
    told = problem_of(with_line("b = 1", under="guard", base=with_line("a = 1")))
    assert "'a'" in told
    assert "'guard.b'" in told


LIMITS = [
    line.partition(" = ")[0]
    for line in re.sub(r"\[execution\][^\[]*", "", BUILTIN_TOML.partition("[limits]")[2])
    .partition("[web]")[0]
    .splitlines()
    if " = " in line
]


@pytest.mark.parametrize("name", [*LIMITS, "mode", "account", "launcher"])
def test_nothing_that_guards_money_has_a_default(name: str) -> None:
    """Without a limit, a mode or an account there is no configuration."""
    assert name in problem_of(without(name))


@pytest.mark.parametrize("table", ["limits", "quotes", "guard", "gateway"])
def test_a_missing_table_is_told(table: str) -> None:
    """The tables with limits are mandatory as a whole."""
    head, _, rest = BUILTIN_TOML.partition(f"[{table}]\n")
    following = rest.find("\n[")
    text = head + (rest[following:] if following >= 0 else "")
    assert table in problem_of(text)


NUMBERS = [name for name in LIMITS if name not in {"short_allowed", "global_cancel"}]
BAD_NUMBERS = ["nan", "+inf", "-inf", "-1", "-0.5", '"nan"', '"Infinity"', '"-1"', "true", "[]"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_a_limit_is_a_finite_number_and_not_negative(name: str, value: str) -> None:
    """Not even as a string does NaN, infinity or a negative number become a limit."""
    assert name in problem_of(with_value(name, value))


@pytest.mark.parametrize("value", ["1e400", "1" + "0" * 400])
def test_a_number_too_large_for_a_float_is_no_limit(value: str) -> None:
    """It would become infinity, an age that is never reached."""
    assert "quote_age_s_max" in problem_of(with_value("quote_age_s_max", value))


@pytest.mark.parametrize(
    ("line", "table"),
    [
        ("order_value_usd_min = nan", "execution"),
        ("ack_timeout_s = -1.0", "execution"),
        ("deadline_minutes = -5", "execution"),
        ("window = -1", "execution"),
        ("age_h_max = inf", "targets"),
    ],
)
def test_numbers_with_defaults_are_checked_too(line: str, table: str) -> None:
    """A default is no excuse for nonsense in its place."""
    held = f"[{table}]\n" in BUILTIN_TOML
    text = with_line(line, under=table) if held else f"{BUILTIN_TOML}[{table}]\n{line}\n"
    assert f"{table}.{line.partition(' ')[0]}" in problem_of(text)


@pytest.mark.parametrize(
    "name",
    [
        *("quote_age_s_max", "heartbeat_age_s_max", "orders_per_second_max"),
        *("day_loss_reduce_only", "intraday_drawdown_kill", "peak_drawdown_kill"),
        "rejections_in_a_row_max",
    ],
)
def test_some_values_make_no_sense_at_zero(name: str) -> None:
    """An age, a pace or a loss of zero would stop everything, or nothing."""
    assert f"{name} must be positive" in problem_of(with_value(name, "0"))


@pytest.mark.parametrize(
    "name", ["window", "ack_timeout_s", "absence_spacing_s", "deadline_minutes"]
)
def test_a_zero_is_not_the_default(name: str) -> None:
    """A window of zero is refused, not read as "left out"."""
    held = f"{name} = " in BUILTIN_TOML
    text = with_value(name, "0") if held else with_line(f"{name} = 0", under="execution")
    assert f"execution.{name} must be positive" in problem_of(text)


@pytest.mark.parametrize(
    "name",
    [
        *("position_weight_max", "cash_weight_min", "adv_participation_max"),
        *("price_collar_fraction", "spread_fraction_max"),
        *("day_loss_kill", "intraday_drawdown_kill", "peak_drawdown_kill"),
    ],
)
def test_per_cent_are_not_fractions(name: str) -> None:
    """5 for five per cent would be a limit that is never reached."""
    assert f"{name} is a fraction of 1, was 5" in problem_of(with_value(name, "5"))
    parse(with_value(name, "1"), "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_value("mode", '"demo"'), "mode"),
        (with_value("mode", "1"), "mode"),
        (with_value("account", '"U1234567"'), "mode paper expects an account DU... or DF..."),
        (with_value("account", '""'), "mode paper expects an account"),
        (with_value("account", '"DU"'), "mode paper expects an account"),
        (with_value("account", '"DU12 "'), "mode paper expects an account"),
        (with_value("account", '"DU１２"'), "mode paper expects an account"),  # noqa: RUF001
        (with_value("port", "4001"), "mode paper refuses the live port 4001"),
        (with_value("port", "7496"), "mode paper refuses the live port 7496"),
        (with_value("port", "65536"), "gateway.port must be at most 65535"),
        (with_value("port", "-1"), "'gateway.port' must not be negative"),
        (with_value("launcher", '"magic"'), "launcher"),
        (with_value("launcher", '"external"'), "launcher external needs gateway.port"),
        (with_value("launcher", '"external"'), "universe.file is missing"),
        (with_value("account", '"DU1234567"', LIVE_TOML), "mode live expects a live account"),
        (with_value("account", '"DF1234567"', LIVE_TOML), "mode live expects a live account"),
        (with_value("account", '"live"', LIVE_TOML), "mode live expects a live account"),
        (with_value("port", "4002", LIVE_TOML), "mode live refuses the paper port 4002"),
        (with_value("port", "7497", LIVE_TOML), "mode live refuses the paper port 7497"),
        (with_value("launcher", '"sim"', LIVE_TOML), "mode live cannot use the simulated gateway"),
        (with_value("calendar", '"always"', LIVE_TOML), 'session.calendar must be "nyse"'),
        (
            with_value("calendar", '"always"', with_value("port", "7496", LIVE_TOML)),
            "port 7496 is a real gateway's",
        ),
        (
            with_line('order_type = "MKT"', base=LIVE_TOML, under="execution"),
            "execution.order_type must be LMT",
        ),
        (with_value("day_loss_reduce_only", "0.06"), "must not exceed guard.day_loss_kill"),
        (with_line("warn_fraction = 1.1", under="guard"), "guard.warn_fraction is a fraction"),
        (with_line("warn_fraction = 0", under="guard"), "guard.warn_fraction must be positive"),
        (with_line("year_drawdown_kill = 0", under="guard"), "leave it out to measure none"),
        (with_line("year_drawdown_kill = 12", under="guard"), "year_drawdown_kill is a fraction"),
        (with_line("reduce_only_release = 0.03", under="guard"), "must be below guard.day_loss"),
        (with_line("evaluation_s = 40", under="guard"), "guard.evaluation_closed_s must be from"),
        (with_line("evaluation_closed_s = 61", under="guard"), "sleep through the open"),
        (with_line("price_confirmations = 0", under="guard"), "price_confirmations must be pos"),
        (with_line("data_refusals_max = 0", under="guard"), "data_refusals_max must be positive"),
        (with_line("stream_errors_max = 0", under="guard"), "stream_errors_max must be positive"),
        (with_line("flow_fraction_max = 0", under="guard"), "flow_fraction_max must be positive"),
        (with_line("flow_fraction_max = 10", under="guard"), "flow_fraction_max is a fraction"),
        (
            with_line("stream_degraded_fraction_max = 2", under="guard"),
            "stream_degraded_fraction_max is a fraction",
        ),
        (with_line("drop_copy_grace_s = 0", under="guard"), "drop_copy_grace_s must be positive"),
        (BUILTIN_TOML + "[gateway.client_ids]\nguard = 11\n", "client_ids must all differ"),
        (with_line('timezone = "Mars/Olympus"', under="session"), "unknown session.timezone"),
        (with_line('timezone = ""', under="session"), "unknown session.timezone"),
        (with_line('timezone = "America"', under="session"), "unknown session.timezone"),
        (with_line('timezone = "../etc"', under="session"), "unknown session.timezone"),
        (with_line(f'timezone = "{"a" * 300}"', under="session"), "unknown session.timezone"),
        (with_value("calendar", '"lse"'), "calendar"),
        (with_value("orders_per_run_max", "5.5"), "orders_per_run_max"),
        (with_value("short_allowed", "0"), "short_allowed"),
        (with_value("short_allowed", '"no"'), "short_allowed"),
        (with_line('tif = "GTC"', under="execution"), "tif"),
        (with_line('order_type = "STP"', under="execution"), "order_type"),
        (with_line('algo = "twap"', under="execution"), "algo"),
        (with_line('adaptive_priority = "slow"', under="execution"), "adaptive_priority"),
        (with_line('retry = "always"', under="execution"), "retry"),
        (with_line("stalled_after_s = 0", under="execution"), "execution.stalled_after_s"),
        (with_value("quote_wait_s_max", "601"), "quote_wait_s_max must be at most 600"),
        (with_value("quote_wait_s_max", "-1"), "quote_wait_s_max' must not be negative"),
        (
            with_line("deadline_minutes = 1441", under="execution"),
            "deadline_minutes must be at most",
        ),
        (BUILTIN_TOML + '[targets]\nomitted = "hold"\n', "omitted"),
        ("limits = 3\n", "limits"),
        ("", "mode"),
        ("mode = ", "is not valid TOML"),
        (with_line('mode = "live"'), "is not valid TOML"),
    ],
)
def test_contradictions_and_nonsense_are_refused(text: str, words: str) -> None:
    """Mode, account and port agree; what cannot be meant is not guessed at."""
    assert words in problem_of(text)


@pytest.mark.parametrize("port", [0, 1, 4002, 7497, 54321])
@pytest.mark.parametrize("account", ["DU1", "DF7654321"])
def test_paper_is_free_to_use_other_ports(port: int, account: str) -> None:
    """Only the live ports are refused, and both kinds of paper account are known."""
    text = with_value("port", str(port), with_value("account", f'"{account}"'))
    assert parse(text, "x").gateway.port == port


def test_the_largest_values_themselves_are_allowed() -> None:
    """A limit names the last value that can be meant."""
    parse(with_value("port", "65535"), "x")
    parse(with_line("deadline_minutes = 1440", under="execution"), "x")
    parse(with_value("day_loss_reduce_only", "0.05"), "x")


def test_every_contradiction_is_told_at_once() -> None:
    """A profile copied from paper to live is wrong in three ways, and hears of all of them."""
    told = problem_of(with_value("mode", '"live"'))
    assert "live account" in told
    assert "simulated gateway" in told


def test_the_hash_names_what_a_run_was_made_under() -> None:
    """Any limit, any account is another configuration; comments and order are not."""
    base = parse(BUILTIN_TOML, "x").config_hash
    assert parse(f"# hello\n{BUILTIN_TOML}", "elsewhere.toml").config_hash == base
    changed = {
        parse(with_value("order_value_usd_max", "15_001"), "x").config_hash,
        parse(with_value("peak_drawdown_kill", "0.11"), "x").config_hash,
        parse(with_value("account", '"DU1234568"'), "x").config_hash,
        parse(with_line("window = 2", under="execution"), "x").config_hash,
    }
    assert len({base, *changed}) == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("net_weight_max = 1.01", "limits.net_weight_max must not exceed limits.gross_weight_max"),
        ("net_weight_max = -0.1", "'limits.net_weight_max' must not be negative"),
        ("net_weight_max = nan", "'limits.net_weight_max' must be a finite number"),
        ("submissions_per_symbol_max = 0", "limits.submissions_per_symbol_max must be positive"),
        ("submissions_per_symbol_max = 1.5", "submissions_per_symbol_max"),
        ("duplicate_window_s = -1.0", "'limits.duplicate_window_s' must not be negative"),
        ("duplicate_window_s = inf", "'limits.duplicate_window_s' must be a finite number"),
        ("day_trades_max = -1", "'limits.day_trades_max' must not be negative"),
        ('settled_cash_only = "no"', "settled_cash_only"),
        ("margin_check = 1", "margin_check"),
        ('symbols_denied = "SPY"', "symbols_denied"),
        ('symbols_denied = ["spy"]', "limits.symbols_denied has 'spy', which is not a symbol"),
        ('symbols_allowed = [""]', "limits.symbols_allowed has '', which is not a symbol"),
    ],
)
def test_limits_that_may_be_left_out_are_checked_where_they_are_not(line: str, words: str) -> None:
    """A limit that says nothing is an error, not a check that is off."""
    assert words in problem_of(with_line(line, under="limits"))


def test_a_symbol_cannot_be_allowed_and_denied() -> None:
    """Nobody can mean both."""
    both = with_line('symbols_allowed = ["SPY"]\nsymbols_denied = ["SPY", "QQQ"]', under="limits")
    assert "SPY is in limits.symbols_allowed and in limits.symbols_denied" in problem_of(both)


def test_shorts_are_not_for_cash_accounts() -> None:
    """A cash account cannot borrow shares: whoever writes both means one of them."""
    text = with_line("settled_cash_only = true", under="limits").replace(
        "short_allowed = false", "short_allowed = true"
    )
    assert "limits.short_allowed needs a margin account" in problem_of(text)


def test_a_limit_left_out_is_off_and_said_to_be() -> None:
    """No number of ours stands in for one that nobody wrote."""
    limits = parse(BUILTIN_TOML, "x").limits
    assert limits.net_weight_max is limits.submissions_per_symbol_max is None
    assert limits.duplicate_window_s is limits.day_trades_max is None
    assert limits.margin_check is False
    assert (limits.settled_cash_only, limits.symbols_allowed, limits.symbols_denied) == (
        *(False, (), ()),
    )
    text = with_line('day_trades_max = 0\nsymbols_denied = ["SPY"]', under="limits")
    assert parse(text, "x").limits.day_trades_max == 0
    assert parse(text, "x").limits.symbols_denied == ("SPY",)


# --- where the file and the data are ------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory with system directories of its own and no environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IBLOOP_CONFIG", raising=False)
    monkeypatch.setattr(module, "SYSTEM_CONFIG_DIR", tmp_path / "etc")
    monkeypatch.setattr(module, "SYSTEM_DATA_DIR", tmp_path / "var")
    (tmp_path / "etc").mkdir()
    return tmp_path


def write(path: Path, account: str, more: str = "") -> Path:
    """Write a good configuration that its account tells from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(more + with_value("account", f'"{account}"'), encoding="utf-8")
    return path


def test_the_search_order_of_configurations(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named file, named profile, environment, ``./ibloop.toml``, built-in: the first one counts."""

    def account(config_file: Path | None = None, profile: str | None = None) -> str:
        return load_profile(config_file, profile, None).config.account

    assert account() == "DU1234567"
    write(home / "ibloop.toml", "DU1")
    assert account() == "DU1"
    monkeypatch.setenv("IBLOOP_CONFIG", str(write(home / "env.toml", "DU2")))
    assert account() == "DU2"
    write(home / "etc" / "paper.toml", "DU3")
    assert account(profile="paper") == "DU3"
    assert account(write(home / "named.toml", "DU4"), "paper") == "DU4"
    monkeypatch.setenv("IBLOOP_CONFIG", "")
    assert account() == "DU1"


@pytest.mark.parametrize("profile", ["live", "Paper", "../paper", "a/b", "", "-x", "paper.toml"])
def test_a_missing_profile_is_never_replaced(home: Path, profile: str) -> None:
    """A profile is a plain name of a file in the one directory, or an error; no fallback."""
    write(home / "ibloop.toml", "DU1")
    write(home / "paper.toml", "DU1")
    write(home / "etc" / "paper.toml", "DU3")
    with pytest.raises(ConfigError):
        load_profile(None, profile, None)


def test_a_named_file_must_be_there_and_be_text(home: Path) -> None:
    """Missing, a directory, not UTF-8: each is told with its path."""
    binary = home / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for path, words in (
        (home / "none.toml", "no configuration at"),
        (home, "cannot read"),
        (binary, "cannot read"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_profile(path, None, None)


def test_a_missing_file_in_the_environment_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names a file means that file."""
    monkeypatch.setenv("IBLOOP_CONFIG", str(home / "gone.toml"))
    with pytest.raises(ConfigError, match=r"no configuration at .*gone\.toml"):
        load_profile(None, None, None)


def test_the_data_directory(home: Path) -> None:
    """``--data``, the file's own, the system's for a profile, ``./data``."""
    plain = write(home / "sub" / "one.toml", "DU1")
    own = write(home / "sub" / "two.toml", "DU1", 'data_dir = "kept"\n')
    absolute = write(home / "sub" / "three.toml", "DU1", f'data_dir = "{home / "far"}"\n')
    write(home / "etc" / "paper.toml", "DU1")
    write(home / "etc" / "other.toml", "DU1", 'data_dir = "kept"\n')
    assert load_profile(None, None, None).data_dir == home / "data"
    assert load_profile(plain, None, None).data_dir == home / "data"
    assert load_profile(Path("sub/one.toml"), None, None).data_dir == home / "data"
    assert load_profile(own, None, None).data_dir == home / "sub" / "kept"
    assert load_profile(absolute, None, None).data_dir == home / "far"
    assert load_profile(None, "paper", None).data_dir == home / "var" / "paper"
    assert load_profile(home / "etc" / "paper.toml", None, None).data_dir == home / "var" / "paper"
    assert load_profile(None, "other", None).data_dir == home / "etc" / "kept"
    for config_file in (plain, own):
        assert load_profile(config_file, None, Path("mine")).data_dir == home / "mine"


def test_a_profile_names_its_places(home: Path) -> None:
    """Ledger and streams lie below the data directory, other files beside the configuration."""
    profile = load_profile(write(home / "conf" / "weekly.toml", "DU1"), None, home / "d")
    assert profile.name == "weekly"
    assert profile.ledger_path == home / "d" / "ibloop.db"
    assert profile.stream_dir == home / "d" / "ib" / "stream"
    assert profile.resolve("targets.csv") == home / "conf" / "targets.csv"
    assert profile.resolve("/abs/targets.csv") == Path("/abs/targets.csv")
    builtin = load_profile(None, None, None)
    assert (builtin.name, builtin.source) == ("sim", None)
    assert builtin.resolve("targets.csv") == home / "targets.csv"


def test_profiles_and_configurations_are_frozen() -> None:
    """What was checked cannot be changed afterwards."""
    assert Config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert Profile.__dataclass_params__.frozen  # type: ignore[attr-defined]


# --- when nothing is sent -------------------------------------------------------------------------


def test_windows_without_words() -> None:
    """The simulator never restarts; a real gateway does at 23:45, and IB resets after it."""
    assert parse(BUILTIN_TOML, "x").quiet == ()
    names = {rule.name for rule in parse(with_value("calendar", '"nyse"', LIVE_TOML), "x").quiet}
    assert names == {
        "the gateway's daily restart",
        "IB's server reset",
        "IB's weekend reset",
    }


def test_windows_as_they_are_told() -> None:
    """Time, zone, margins and region are the configuration's; none switches the reset off."""
    text = with_line('restart_at = "03:10"\nrestart_before_minutes = 5', under="gateway")
    text = with_line('server_reset = "asia"', under="session", base=text)
    restart, *resets = parse(text, "x").quiet
    assert (restart.begins.isoformat(), restart.lasts.seconds) == ("03:05:00", 900)
    assert {rule.timezone for rule in resets} == {"Asia/Hong_Kong", "America/New_York"}
    none = with_line('server_reset = "none"', under="session", base=LIVE_TOML)
    assert [rule.name for rule in parse(none, "x").quiet] == ["the gateway's daily restart"]
    simulated = with_value("calendar", '"always"', with_value("port", "5000", LIVE_TOML))
    assert len(parse(simulated, "x").quiet) == 3


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("gateway", 'restart_at = "24:00"', "gateway.restart_at must be like 23:45"),
        ("gateway", 'restart_at = "7:30"', "gateway.restart_at must be like 23:45"),
        ("gateway", 'restart_timezone = "Mars/Base"', "unknown gateway.restart_timezone"),
        ("gateway", "restart_before_minutes = 181", "restart_before_minutes must be at most 180"),
        ("gateway", "restart_after_minutes = -1", "must not be negative"),
        ("session", "close_margin_minutes = 0", "session.close_margin_minutes must be positive"),
        ("session", "close_margin_minutes = 500", "close_margin_minutes must be at most 180"),
        ("session", 'server_reset = "mars"', "session.server_reset must be"),
        ("execution", "approval_minutes = 0", "execution.approval_minutes must be positive"),
        ("execution", "alert_age_minutes_max = 0", "alert_age_minutes_max must be positive"),
        ("execution", 'approval = "never"', 'approval must be "live" or "required", was "never"'),
    ],
)
def test_nonsense_about_windows_and_approvals(section: str, line: str, said: str) -> None:
    """Each is refused with what to write instead."""
    assert said in problem_of(with_line(line, under=section))


def test_live_runs_are_approved_and_paper_runs_may_be() -> None:
    """Live cannot switch it off."""
    assert not parse(BUILTIN_TOML, "x").needs_approval
    assert parse(with_line('approval = "required"', under="execution"), "x").needs_approval
    assert parse(
        with_line('approval = "live"', under="execution", base=LIVE_TOML), "x"
    ).needs_approval


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lines_max = 0", "stream.lines_max must be positive"),
        ("lines_max = -1", "'stream.lines_max' must not be negative"),
        ("silence_s = 0.0", "stream.silence_s must be positive"),
        ("silence_s = nan", "'stream.silence_s' must be a finite number"),
        ("silence_s = 15.0", "stream.silence_s must be less than quotes.quote_age_s_max"),
        ("fast = true", "unknown key 'stream.fast'"),
        ('fast_receive = "yes"', 'stream.fast_receive must be true or false, was "yes"'),
    ],
)
def test_nonsense_about_the_stream(line: str, said: str) -> None:
    """A quiet symbol is asked about before its price is too old to use."""
    assert said in problem_of(f"{BUILTIN_TOML}\n[stream]\n{line}\n")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mode", '"papr"', 'mode must be "paper" or "live", was "papr"'),
        ("launcher", '"sm"', 'gateway.launcher must be "sim" or "command" or "external", was "sm"'),
        ("order_value_usd_max", "true", "order_value_usd_max must be a number, was true"),
        ("order_value_usd_max", '"much"', 'order_value_usd_max must be a number, was "much"'),
        ("port", "1.5", "gateway.port must be a whole number, was 1.5"),
        ("short_allowed", "0", "limits.short_allowed must be true or false, was 0"),
        ("account", "5", "account must be a text in quotes, was 5"),
    ],
)
def test_a_wrong_value_is_told_in_words(name: str, value: str, words: str) -> None:
    """The key, what it may be and what it was: not what a decoder is called inside."""
    assert words in problem_of(with_value(name, value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (without("order_value_usd_max"), "here.toml: limits.order_value_usd_max is missing"),
        (without("mode"), "here.toml: mode is missing"),
        (with_line("command = [3]", under="gateway"), "must be a list, each a text in quotes"),
        (with_line("command = 3", under="gateway"), "must be a list, each a text in quotes, was 3"),
        (BUILTIN_TOML.replace("[limits]", "[[limits]]"), "limits must be a table"),
        ('telegram = "1:secret"\n' + BUILTIN_TOML, "telegram must be a table"),
        (with_line("order_value_max = 1", under="limits"), "mean 'limits.order_value_usd_max'?"),
        (with_line("day_loss_kill = 1"), "mean 'guard.day_loss_kill'? It belongs under [guard]"),
    ],
)
def test_a_wrong_shape_is_told_in_words(text: str, words: str) -> None:
    """What is missing, no list or no table, and what an unknown key may have meant; no secret."""
    told = problem_of(text)
    assert words in told
    assert "secret" not in told


def test_what_is_allowed_and_hardly_meant_is_doubted() -> None:
    """Each is a value that somebody may want, so it is no error; the proposals have no doubts."""
    assert doubts(parse(BUILTIN_TOML, "x")) == []
    (collar,) = doubts(parse(with_value("price_collar_fraction", "0"), "x"))
    assert "limits.price_collar_fraction = 0" in collar
    lent = with_value("gross_weight_max", "1.5")
    (gross,) = doubts(parse(lent, "x"))
    assert "limits.gross_weight_max = 1.5" in gross
    assert doubts(parse(with_value("short_allowed", "true", lent), "x")) == []


LIMITS_ON = (
    "net_weight_max = 1.0\nsubmissions_per_symbol_max = 3\nduplicate_window_s = 60\n"
    "day_trades_max = 3\nsettled_cash_only = true"
)
ALL_ON = with_line(LIMITS_ON, under="limits", base=LIVE_TOML)


@pytest.mark.parametrize(
    ("text", "off"),
    [
        (ALL_ON, []),
        (ALL_ON.replace("settled_cash_only", "margin_check"), []),
        (ALL_ON.replace("net_weight_max = 1.0", ""), ["limits.net_weight_max"]),
        (ALL_ON.replace("duplicate_window_s = 60", ""), ["limits.duplicate_window_s"]),
        (ALL_ON.replace("window_s = 60", "window_s = 0"), ["limits.duplicate_window_s"]),
        (ALL_ON.replace("day_trades_max = 3", ""), ["limits.day_trades_max"]),
        (ALL_ON.replace("symbol_max = 3", "symbol_max = 3 # x"), []),
        (
            ALL_ON.replace("settled_cash_only = true", ""),
            ["limits.settled_cash_only", "limits.margin_check"],
        ),
        (with_value("global_cancel", "false", ALL_ON), ["guard.global_cancel"]),
        (
            with_value("calendar", '"always"', with_value("port", "5000", ALL_ON)),
            ["session.calendar"],
        ),
    ],
)
def test_what_is_off_with_real_money_is_named(text: str, off: list[str]) -> None:
    """Not mandatory, and not silent: every check that a live profile leaves off is told."""
    found = doubts(parse(text, "x"))
    assert [words.split()[0] for words in found] == off


def test_play_money_hears_of_no_check_that_is_off() -> None:
    """The simulator's profile leaves most of them off on purpose; what is off can be asked."""
    config = parse(with_value("global_cancel", "false"), "x")
    assert doubts(config) == []
    assert {"limits.net_weight_max", "guard.global_cancel"} <= set(checks_off(config))
