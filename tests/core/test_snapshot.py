"""A decision has one hash and an order one reference, for ever and to the last digit."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.invariant import InvariantError
from ibloop.core.model import Side, Target
from ibloop.core.snapshot import (
    REF_LENGTH_MAX,
    DecisionSnapshot,
    Omitted,
    canonical_json,
    client_order_id,
    decimal_text,
    hash_of,
    is_ours,
    snapshot_targets,
    total_weight,
)

D = Decimal
SNAPSHOT = DecisionSnapshot(
    account="DU1",
    mode="paper",
    targets=(Target("AAA", D("0.25")), Target("BBB", D("0.5"))),
    as_of=datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
    source="targets.csv",
    omitted=Omitted.SELL,
    config_hash="c",
    universe_hash="u",
)
many = settings(deadline=None, max_examples=100)


def test_the_hash_is_of_the_content_alone() -> None:
    """A known decision keeps its hash over versions: stored runs refer to it."""
    assert SNAPSHOT.content_hash == hash_of(SNAPSHOT.content())
    assert re.fullmatch("[0-9a-f]{64}", SNAPSHOT.content_hash)
    assert SNAPSHOT.snapshot_id == f"snap-{SNAPSHOT.content_hash[:12]}"
    assert canonical_json(SNAPSHOT.content()) == (
        '{"account":"DU1","as_of":"2026-11-20T15:30:00+00:00","config_hash":"c","mode":"paper",'
        '"omitted":"sell","source":"targets.csv","targets":[{"symbol":"AAA","weight":"0.25"},'
        '{"symbol":"BBB","weight":"0.5"}],"universe_hash":"u"}'
    )


def test_the_hash_does_not_depend_on_order_or_spelling() -> None:
    """Order of rows, trailing zeros and the zone of a time make no other decision."""
    spelled = replace(
        SNAPSHOT,
        targets=(Target("BBB", D("0.500")), Target("AAA", D("25E-2"))),
        as_of=SNAPSHOT.as_of.astimezone(timezone(timedelta(hours=-5))),
    )
    assert spelled.content_hash == SNAPSHOT.content_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "DU2"},
        {"mode": "live"},
        {"targets": (Target("AAA", D("0.25")), Target("BBB", D("0.5000000000001")))},
        {"targets": (Target("AAA", D("0.5")), Target("BBB", D("0.25")))},
        {"targets": SNAPSHOT.targets[:1]},
        {"as_of": SNAPSHOT.as_of + timedelta(microseconds=1)},
        {"source": "other.csv"},
        {"omitted": Omitted.KEEP},
        {"config_hash": "d"},
        {"universe_hash": "v"},
    ],
)
def test_any_other_content_is_another_decision(changes: dict[str, object]) -> None:
    """Every field counts."""
    assert set(changes) <= {f.name for f in fields(SNAPSHOT)}
    assert replace(SNAPSHOT, **changes).content_hash != SNAPSHOT.content_hash  # type: ignore[arg-type]


@many
@given(st.integers(0, 10**40 - 1), st.integers(0, 39))
def test_every_digit_of_a_weight_counts(digits: int, place: int) -> None:
    """Forty decimal places or one: a change of any digit changes the hash."""
    changed = digits + 10**place if digits + 10**place < 10**40 else digits - 10**place
    texts = (f"0.{number:040d}" for number in (digits, changed))
    one, other = (replace(SNAPSHOT, targets=(Target("AAA", D(text)),)) for text in texts)
    assert one.content_hash != other.content_hash


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("0", "0"), ("-0", "0"), ("0.000", "0"), ("-0.00", "0"), ("0E+3", "0"), ("0E-9", "0")),
        *(("1", "1"), ("100", "100"), ("1E+2", "100"), ("0.10", "0.1"), ("10.0", "10")),
        *(("-1.50", "-1.5"), ("1E-7", "0.0000001"), (".5", "0.5")),
        ("0.12345678901234567890123456789012345", "0.12345678901234567890123456789012345"),
    ],
)
def test_a_decimal_has_one_spelling(value: str, text: str) -> None:
    """No exponent, no trailing zero, no negative zero, no digit lost."""
    assert decimal_text(D(value)) == text


@many
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_the_spelling_of_a_decimal_reads_back(value: Decimal) -> None:
    """Nothing is lost on the way into the ledger and back."""
    text = decimal_text(value)
    assert D(text) == value
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", text)


def test_stored_targets_read_back() -> None:
    """A run executes what was frozen, whatever the file says by then."""
    assert snapshot_targets(SNAPSHOT.content()) == SNAPSHOT.targets
    assert total_weight(SNAPSHOT.targets) == D("0.75")
    assert total_weight([]) == 0


KEYS = st.one_of(
    st.from_regex(r"20[0-9]{2}W[0-5][0-9]", fullmatch=True),
    st.text("AB0.-_~:", min_size=1, max_size=30),
    st.text(min_size=1, max_size=60),
)
SYMBOLS = st.from_regex(r"[A-Z0-9][A-Z0-9 .-]{0,11}", fullmatch=True)
PARTS = st.tuples(KEYS, SYMBOLS, st.sampled_from(Side), st.integers(0, 999))


@many
@given(st.lists(PARTS, unique=True, max_size=8))
def test_references_are_short_plain_and_unique(parts: list[tuple[str, str, Side, int]]) -> None:
    """At most 40 ASCII characters, ours, and no two alike, whatever the run is called."""
    refs = [client_order_id(*each) for each in parts]
    assert len(set(refs)) == len(refs)
    for ref, (_, symbol, side, attempt) in zip(refs, parts, strict=True):
        assert is_ours(ref)
        assert 0 < len(ref) <= REF_LENGTH_MAX
        assert ref.isascii()
        assert ref.isprintable()
        assert ref.endswith(f":{symbol}:{side[0]}:{attempt}")


def test_a_reference_is_readable_and_always_the_same() -> None:
    """A weekly run's reference tells run, symbol, side and attempt; old ones never change."""
    assert client_order_id("2026W47", "BRK B", Side.BUY, 0) == "ibl:2026W47:BRK B:B:0"
    assert client_order_id("2026W47", "AAA", Side.SELL, 3) == "ibl:2026W47:AAA:S:3"
    hashed = client_order_id("a-key-longer-than-thirty-characters", "AAA", Side.BUY, 0)
    assert hashed == client_order_id("a-key-longer-than-thirty-characters", "AAA", Side.BUY, 0)
    assert re.fullmatch("ibl:~[0-9a-f]{10}:AAA:B:0", hashed)


def test_a_key_cannot_pose_as_the_hash_of_another() -> None:
    """Naming a run like a hash does not give it that reference."""
    hashed = client_order_id("x" * 40, "AAA", Side.BUY, 0)
    assert client_order_id(hashed.split(":")[1], "AAA", Side.BUY, 0) != hashed


@pytest.mark.parametrize("key", ["a b", "a:b", "é", "a\0b", "", "a\n"])
def test_a_key_with_other_characters_is_hashed(key: str) -> None:
    """Nothing that could break a protocol field or read as another part gets into a reference."""
    assert re.fullmatch("ibl:~[0-9a-f]{10}:AAA:B:0", client_order_id(key, "AAA", Side.BUY, 0))


def test_no_reference_is_longer_than_the_broker_keeps() -> None:
    """Exactly 40 characters are used; no room for the run is a bug, not a shortened identity."""
    assert client_order_id("k" * 28, "AAA", Side.BUY, 0) == f"ibl:{'k' * 28}:AAA:B:0"
    assert client_order_id("k" * 29, "AAA", Side.BUY, 0).startswith("ibl:~")
    assert len(client_order_id("k" * 29, "A" * 20, Side.BUY, 0)) == REF_LENGTH_MAX
    with pytest.raises(InvariantError, match="no room"):
        client_order_id("2026W47", "A" * 25, Side.BUY, 0)


@pytest.mark.parametrize(
    ("ref", "ours"), [("ibl:K:A:B:0", True), ("", False), ("manual", False), ("ibl", False)]
)
def test_our_references_are_told_by_their_prefix(ref: str, ours: bool) -> None:
    """Everything else at the broker is somebody else's."""
    assert is_ours(ref) is ours
