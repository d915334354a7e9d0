"""A configuration to begin with: every key there is, each with a line that says what it is for.

Written from the tree of values, so that a key cannot be forgotten. What guards money is written
out with a proposed value, for it has no other default; the rest is there as a comment.
Source of the proposals: SEC rule 15c3-5(c) and FIA best practices; the values are ours.
"""

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from ibloop.config.tree import Config
from ibloop.core.model import Mode

PAPER_ACCOUNT_EXAMPLE = "DU1234567"


@dataclass(frozen=True, slots=True)
class Key:
    """One line of explanation, and the TOML value to write, ``None`` for the default as a comment.

    ``live`` is the value for live mode where it is another one; ``example`` stands in the comment
    of a key whose default is that it is left out.
    """

    comment: str
    paper: str | None = None
    live: str | None = None
    example: str | None = None

    def value(self, mode: Mode) -> str | None:
        """Return the value to write in this mode."""
        return self.live if mode is Mode.LIVE and self.live is not None else self.paper


HEADS = {
    "gateway": 'The gateway: "sim" starts a simulated one, "external" talks to one that runs.',
    "gateway.client_ids": "One IB client id a daemon; a second holder of an id is refused by IB.",
    "limits": "What a run may do at most. Every value here is required: look at each of them.",
    "quotes": "What a price must keep to before an order is made of it. Required.",
    "guard": "Losses at which the guard stops trading, as positive fractions. Required.",
    "session": "When the market is open.",
    "schedule": "When the weekly run is started (`ibloop rebalance --if-due`).",
    "targets": "Where the target weights come from.",
    "universe": "What may be traded at all.",
    "stream": "How prices are received.",
    "execution": "How orders are sent and followed.",
    "telegram": "Where alerts go; without a chat and a token they stay in the ledger.",
    "web": "Where the page of `ibloop web run` listens.",
}

_LIMITS = {
    "order_value_usd_max": Key("USD: the largest order.", "15_000", "10_000"),
    "order_quantity_max": Key("Shares: the largest order.", "2_000"),
    "plan_turnover_weight_max": Key(
        "Of net liquidation: what one run may trade; 1.0 and a bit to invest all cash at once.",
        "1.2",
        "0.6",
    ),
    "day_turnover_weight_max": Key(
        "Of net liquidation: what all runs of a day may trade.", "3.0", "1.0"
    ),
    "position_weight_max": Key("Of net liquidation: the largest position.", "0.15", "0.25"),
    "sector_weight_max": Key("Of net liquidation: the largest sector.", "0.50"),
    "gross_weight_max": Key("Of net liquidation: all positions together.", "1.0"),
    "net_weight_max": Key("Of net liquidation: longs less shorts.", "1.0"),
    "cash_weight_min": Key("Of net liquidation: the cash that stays.", "0.02"),
    "adv_participation_max": Key("Of the average daily volume: the largest order.", "0.05"),
    "price_collar_fraction": Key("How far a limit price may be from the fresh mid.", "0.015"),
    "orders_per_run_max": Key("Orders a run.", "50"),
    "orders_per_day_max": Key("Orders a day, over all runs.", "200", "100"),
    "orders_per_second_max": Key("Orders a second; IB allows 50 messages.", "20", "5"),
    "submissions_per_symbol_max": Key("Orders a day for one side of one symbol.", "20", "3"),
    "duplicate_window_s": Key(
        "Seconds in which the same order again is taken for a mistake.", None, "60", "60"
    ),
    "rejections_in_a_row_max": Key("Rejections by the broker after which a run is blocked.", "3"),
    "day_trades_max": Key(
        "Day trades in five days, for a margin account below 25,000 USD.", None, "3", "3"
    ),
    "settled_cash_only": Key(
        "true for a cash account: sales pay for purchases once they have settled.", None, "false"
    ),
    "margin_check": Key(
        "true for a margin account: the broker says first what a run costs in margin.", None, "true"
    ),
    "short_allowed": Key("Whether a position may become negative.", "false"),
    "symbols_allowed": Key("Only these may be bought; empty: the whole universe."),
    "symbols_denied": Key("These are not traded at all."),
}

_QUOTES = {
    "quote_age_s_max": Key("Seconds: the oldest price an order is made of.", "15"),
    "spread_fraction_max": Key("(ask - bid) / mid: the widest spread.", "0.01"),
    "jump_fraction_max": Key("Distance from yesterday's close: the largest jump.", "0.50", "0.10"),
}

_GUARD = {
    "day_loss_reduce_only": Key("Loss of the day from which on only less is held.", "0.03"),
    "day_loss_kill": Key("Loss of the day that stops everything and cancels all orders.", "0.05"),
    "intraday_drawdown_kill": Key("Fall from the day's highest value that does.", "0.06", "0.05"),
    "peak_drawdown_kill": Key("Fall from the highest value ever that does.", "0.10"),
    "heartbeat_age_s_max": Key("Seconds: without the guard for so long nothing is sent.", "10"),
    "global_cancel": Key("Whether a kill cancels every order of the account.", "true"),
    "warn_fraction": Key("Of each limit: from where on the guard warns."),
    "year_drawdown_kill": Key("Fall from the highest of 52 weeks that kills.", example="0.10"),
    "reduce_only_release": Key(
        "Loss of the day below which reduce-only ends by itself.", example="0.02"
    ),
    "order_failures_max": Key("So many refused or lost orders make it reduce-only."),
    "order_failures_minutes": Key("Within so many minutes."),
    "data_refusals_max": Key("So many orders of a day refused for bad market data do, too."),
    "stream_errors_max": Key("And so many errors of the gateway within those minutes."),
    "stream_degraded_fraction_max": Key("More of the stream's symbols without quotes block buys."),
    "flow_fraction_max": Key("More than this gone in a day without a trade waits for a person."),
    "evaluation_s": Key("Seconds between two looks in market hours."),
    "evaluation_closed_s": Key("Seconds between two looks outside."),
    "price_jump_fraction": Key("A price that jumps further waits to be confirmed."),
    "price_confirmations": Key("By so many quotes."),
    "price_missing_s_max": Key("Seconds without a price after which the guard is degraded."),
    "drop_copy_s": Key("Seconds between two comparisons with the broker's executions."),
    "drop_copy_grace_s": Key("Seconds for which ledger and broker may differ."),
}

_GATEWAY = {
    "launcher": Key('"sim", "external", or "command" to start a program.', '"sim"', '"external"'),
    "host": Key("Where it listens."),
    "port": Key("4002 is a gateway's for paper, 4001 for live; 0 with sim: any.", None, "4001"),
    "command": Key("With launcher command: the program and its arguments."),
    "sim_args": Key("With launcher sim: further arguments of `ibloop sim`."),
    "restart_at": Key(
        "When the gateway restarts each day: nothing is sent then.", example='"23:45"'
    ),
    "restart_timezone": Key("Whose time of day that is.", example='"America/New_York"'),
    "restart_before_minutes": Key("Minutes before it in which nothing is sent."),
    "restart_after_minutes": Key("Minutes after it in which nothing is sent."),
    "client_ids.executor": Key("The executor's."),
    "client_ids.stream": Key("The price stream's."),
    "client_ids.guard": Key("The guard's: the gateway's master client id."),
    "client_ids.probe": Key("The gateway keeper's."),
}

_EXECUTION = {
    "order_type": Key('"LMT" inside the price collar, or "MKT".'),
    "tif": Key('"GTD" dies at the deadline by itself, "DAY" is cancelled then.'),
    "window": Key("Unacknowledged orders at once: 8 in paper, 1 in live.", example="1"),
    "ack_timeout_s": Key("Seconds without an answer after which an order is looked for."),
    "absence_spacing_s": Key("Seconds between two looks that must both miss an order."),
    "absence_after_expiry_s": Key("Seconds after its expiry before an order is not sent."),
    "deadline_minutes": Key("Minutes after which a run ends and cancels what works."),
    "order_value_usd_min": Key("USD: smaller changes are left undone, unless they close."),
    "algo": Key('"adaptive" lets IB\'s Adaptive algo work the orders.'),
    "adaptive_priority": Key('"urgent", "normal" or "patient".'),
    "retry": Key(
        '"remainder" tries once more what died unfilled (paper), "none" does not (live).',
        example='"none"',
    ),
    "quote_wait_s_max": Key("Seconds a run waits for prices that are still to come."),
    "stalled_after_s": Key("Seconds without progress after which a run is told of."),
    "approval": Key('"required": paper runs wait for a person as well.'),
    "approval_minutes": Key("Minutes for which a ticket can be approved."),
    "alert_age_minutes_max": Key("Live: so old an undelivered critical alert blocks new runs."),
}

_OTHERS = {
    "mode": Key('"paper" or "live": must agree with account and port.'),
    "account": Key("The one account of this profile."),
    "data_dir": Key(
        "Where ledger and prices are kept; left out in /etc/ibloop: /var/lib/ibloop/NAME.",
        example='"data"',
    ),
    "session.calendar": Key(
        '"nyse", or "always" with the simulated gateway.', '"always"', '"nyse"'
    ),
    "session.timezone": Key("The market's time zone."),
    "session.close_margin_minutes": Key("No order lives longer than so long before the close."),
    "session.server_reset": Key("Where IB keeps the account.", example='"americas"'),
    "schedule.rule": Key('"weekly": the first session of the week.'),
    "schedule.offset_minutes": Key("Minutes after the open at which the run is due."),
    "schedule.catch_up_minutes": Key("Minutes for which it stays due."),
    "targets.file": Key("Relative to this file; `symbol,weight`.", '"targets.csv"'),
    "targets.age_h_max": Key("Hours: older weights are not traded."),
    "targets.omitted": Key('A holding the file does not name: "sell" or "keep".'),
    "universe.file": Key(
        "Required with a real gateway; relative to this file.",
        None,
        '"universe.csv"',
        '"universe.csv"',
    ),
    "stream.fast_receive": Key("Takes ticks past the client library's decoder."),
    "stream.lines_max": Key("Symbols at once; IB allows 100 without boosters."),
    "stream.silence_s": Key("Seconds of silence after which a symbol is asked about."),
    "telegram.api_base": Key("Another address only for tests."),
    "telegram.chat_id": Key("Who is told: a number in quotes, or @channel.", example='"-1001234"'),
    "telegram.user_ids": Key("Whose commands are heard."),
    "telegram.token_file": Key("Holds the bot's token, mode 0600.", example='"telegram-token"'),
    "web.host": Key("A loopback address."),
    "web.port": Key("0 picks a free one."),
}

KEYS: dict[str, Key] = {
    **_OTHERS,
    **{
        f"{table}.{name}": key
        for table, keys in (
            ("gateway", _GATEWAY),
            ("limits", _LIMITS),
            ("quotes", _QUOTES),
            ("guard", _GUARD),
            ("execution", _EXECUTION),
        )
        for name, key in keys.items()
    },
}
"""Every key by its dotted name; a test holds this equal to the tree."""


def template(mode: Mode, account: str, data_dir: str | None = None) -> str:
    """Return the text of a configuration file for an account, with its data in ``data_dir``."""
    fixed = {"mode": f'"{mode}"', "account": f'"{account}"'}
    if data_dir is not None:
        fixed["data_dir"] = f'"{data_dir}"'
    head = f"# ibloop, {mode} account {account}. `ibloop config check` says whether it can be used."
    if mode is Mode.PAPER:
        head += "\n# The values suit the simulated gateway: docs/reference/risk-checks.md proposes"
        head += "\n# others for an account of your own, which `ibloop init --mode live` writes."
    return "\n".join([head, *_table(Config, "", mode, fixed)]) + "\n"


def _table(kind: type, prefix: str, mode: Mode, fixed: dict[str, str]) -> Iterator[str]:
    """Yield the lines of one table: its plain keys, then the tables inside it."""
    hints = typing.get_type_hints(kind)
    if prefix:
        yield from ("", f"# {HEADS[prefix]}", f"[{prefix}]")
    tables = []
    for field in dataclasses.fields(kind):
        name = f"{prefix}.{field.name}" if prefix else field.name
        if dataclasses.is_dataclass(hints[field.name]):
            tables.append((hints[field.name], name))
            continue
        key = KEYS[name]
        written = fixed.get(name, key.value(mode))
        shown = written or f"{_toml(field.default) if key.example is None else key.example}"
        yield f"# {key.comment}"
        yield f"{'' if written else '#'}{field.name} = {shown}"
    for inner, name in tables:
        yield from _table(inner, name, mode, fixed)


def _toml(value: object) -> str:
    """Return a default as TOML spells it."""
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return f'"{value.value}"'
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case int() | float() | Decimal():
            return str(value)
    raise TypeError(f"expected a default that TOML can spell, was {value!r}")
