"""A targets file gives all its targets or the reasons why there are none; it never crashes."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ibloop.core.model import Target
from ibloop.signals.targets import SIZE_BYTES_MAX, TOTAL_WEIGHT_MAX, TargetsReading, parse_targets

D = Decimal
KNOWN = {"AAA", "BBB", "BRK B", "CCC"}
HEADER = "symbol,weight\n"


def read(text: str | bytes) -> TargetsReading:
    """Return the reading of a file with these contents."""
    return parse_targets(text.encode() if isinstance(text, str) else text, KNOWN)


def problem_of(text: str | bytes) -> str:
    """Return the one problem of a file, which must give no targets."""
    reading = read(text)
    assert reading.targets == ()
    (problem,) = reading.problems
    return problem


GOOD = (Target("AAA", D("0.5")), Target("BBB", D("0.25")))


@pytest.mark.parametrize(
    "text",
    [
        "symbol,weight\nAAA,0.5\nBBB,0.25\n",
        "symbol,weight\r\nAAA,0.5\r\nBBB,0.25",
        "symbol,weight\rAAA,0.5\rBBB,0.25\r",
        "\ufeffsymbol,weight\nAAA,0.5\nBBB,0.25\n",
        "weight,symbol\n0.5,AAA\n0.25,BBB\n",
        "symbol, weight\nAAA, 0.5\n BBB , 0.25 \n",
        'symbol,weight\n"AAA","0.5"\n"BBB","0.25"\n',
        "symbol,weight,sector,note\nAAA,0.5,Energy,\nBBB,0.25,,best of all\n",
        "symbol,weight\nAAA,0.5\n\nBBB,0.25\n\n",
        "symbol,weight\nAAA,5e-1\nBBB,.25\n",
    ],
    ids=[
        "plain",
        "CRLF",
        "CR",
        "BOM",
        "swapped",
        "blanks",
        "quoted",
        "extra",
        "empty lines",
        "floats",
    ],
)
def test_good_files_give_their_targets(text: str) -> None:
    """Line ends, a byte order mark, the order of columns and further columns do not matter."""
    assert read(text) == TargetsReading(GOOD, None, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("  \n\n ", "the file is empty"),
        ("\ufeff", "a header line with the columns symbol,weight"),
        (HEADER, "the file has a header but no targets"),
        (b"symbol,weight\nAAA,0.5\0\n", "the file is binary"),
        (b"\x7fELF\0\0\0", "the file is binary"),
        (b"symbol,weight\nAAA,0.5 \xe9\n", "not UTF-8 text"),
        ("symbol,weight\nAAA,0.5\n".encode("utf-16"), "binary"),
        ("symbol;weight\nAAA;0.5\n", "missing: symbol, weight"),
        ("symbol\nAAA\n", "missing: weight"),
        ("Symbol,Weight\nAAA,0.5\n", "missing: symbol, weight"),
        ("AAA,0.5\nBBB,0.5\n", "missing: symbol, weight"),
        ("symbol,weight,weight\nAAA,0.5,0.1\n", "named twice: weight"),
        ("x" * 200_000, "field larger than field limit"),
        (HEADER + "AAA,0.5\nAAA,0.1\n", "line 3: AAA appears twice"),
        (HEADER + "AAA,0.5\nZZZ,0.1\n", "line 3: ZZZ is not in the universe"),
        (HEADER + "aaa,0.5\n", "line 2: 'aaa' is not a symbol"),
        (HEADER + "../AAA,0.5\n", "line 2: '../AAA' is not a symbol"),
        (HEADER + ",0.5\n", "line 2: '' is not a symbol"),
        (HEADER + "AAA,\n", "line 2: weight '' is not a number"),
        (HEADER + "AAA\n", "line 2: weight '' is not a number"),
        (HEADER + "AAA,half\n", "line 2: weight 'half' is not a number"),
        (HEADER + "AAA,50%\n", "weight '50%' is not a number; write 0.05 for five per cent"),
        (HEADER + "AAA,nan\n", "line 2: weight nan is not a finite number"),
        (HEADER + "AAA,sNaN\n", "line 2: weight sNaN is not a finite number"),
        (HEADER + "AAA,inf\n", "line 2: weight inf is not a finite number"),
        (HEADER + "AAA,-Infinity\n", "line 2: weight -Infinity is not a finite number"),
        (HEADER + "AAA,-0.1\n", "line 2: weight -0.1 is negative; set limits.short_allowed = true"),
        (HEADER + "AAA,50\n", "line 2: weight 50 is above 1; write 0.05 for 5 %"),
        (HEADER + "AAA,1e999999\n", "line 2: weight 1e999999 is above 1"),
        (HEADER + "AAA,1e-999999\n", "line 2: weight 1e-999999 has more than 50 decimal places"),
        (HEADER + "AAA,0.6\nBBB,0.41\n", "the weights sum to 1.01; expected at most 1"),
        (HEADER + "AAA,0.5,0.1\n", "line 2: more fields than the header names"),
        (HEADER + "AAA,0.5,,\n", "line 2: more fields than the header names"),
        (HEADER + 'AAA,0.5\nBBB,"' + "x" * 200_000, "field larger than field limit"),
        (b"x" * (SIZE_BYTES_MAX + 1), "expected at most 1000000 bytes, was 1000001"),
    ],
)
def test_bad_files_say_what_is_wrong(text: str | bytes, words: str) -> None:
    """Each fault alone is named, with its line where it has one, and nothing is traded."""
    assert words in problem_of(text)


def test_a_file_of_the_largest_size_is_read() -> None:
    """The limit itself is allowed."""
    text = HEADER + "AAA,0.5\n"
    assert read(text + "\n" * (SIZE_BYTES_MAX - len(text))).targets == GOOD[:1]


@pytest.mark.parametrize("weight", ["1", "1.0", f"0.{'1' * 50}", str(TOTAL_WEIGHT_MAX / 2)])
def test_the_limits_of_a_weight_are_allowed(weight: str) -> None:
    """The whole book in one name, fifty decimal places."""
    assert read(HEADER + f"AAA,{weight}\n").targets == (Target("AAA", D(weight)),)
    half = TOTAL_WEIGHT_MAX / 2
    assert len(read(HEADER + f"AAA,{half}\nBBB,{half}\n").targets) == 2


def test_everything_wrong_is_told_at_once() -> None:
    """One good line does not survive four bad ones, and each of those is named."""
    reading = read(HEADER + "AAA,0.5\nZZZ,1e\nAAA,0.1\nBBB,-1\n?,nan\n")
    assert reading.targets == ()
    assert [problem.split(":")[0] for problem in reading.problems] == [
        *("line 3", "line 3", "line 4", "line 5", "line 6", "line 6"),
    ]


def test_a_whole_book_of_cash_can_be_asked_for() -> None:
    """A weight of zero is a target: sell it, hold none of it."""
    assert read(HEADER + "AAA,0\n").targets == (Target("AAA", D(0)),)
    assert read(HEADER + "AAA,-0\n").targets == (Target("AAA", D("-0")),)


def test_floats_that_were_meant_to_sum_to_one_do() -> None:
    """1/3 and friends, written by a program with binary floats, may be a hair above one."""
    third = 0.3333333333333334
    assert D(str(third)) * 3 > 1
    assert len(read(HEADER + f"AAA,{third}\nBBB,{third}\nCCC,{third}\n").targets) == 3
    assert D("1.0000001") > TOTAL_WEIGHT_MAX
    assert "sum to" in problem_of(HEADER + "AAA,0.5\nBBB,0.5\nCCC,0.00001\n")


@pytest.mark.parametrize(
    ("cells", "as_of"),
    [
        (("", ""), None),
        (("2026-11-20", "2026-11-20"), datetime(2026, 11, 20, tzinfo=UTC)),
        (("2026-11-20T15:30", ""), datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        (("", "2026-11-20 15:30:00"), datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        (("2026-11-20T15:30Z", ""), datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        (("2026-11-20T10:30-05:00", ""), datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        (
            ("2026-11-20T10:30-05:00", "2026-11-20T15:30Z"),
            datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
        ),
    ],
)
def test_the_age_of_a_file(cells: tuple[str, str], as_of: datetime | None) -> None:
    """A column ``as_of`` may say it on any line: a date or a time, UTC unless it says otherwise."""
    reading = read(f"symbol,weight,as_of\nAAA,0.5,{cells[0]}\nBBB,0.25,{cells[1]}\n")
    assert reading == TargetsReading(GOOD, as_of, ())
    if reading.as_of is not None:
        assert reading.as_of.tzinfo is UTC


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("yesterday", ""), "line 2: as_of 'yesterday' is not an ISO date or time"),
        (("20/11/2026", ""), "is not an ISO date or time"),
        (("1700000000", ""), "is not an ISO date or time"),
        (("0001-01-01T00:00+14:00", ""), "is not an ISO date or time"),
        (("2026-11-20", "2026-11-21"), "line 3: as_of differs from the lines before"),
    ],
)
def test_a_doubtful_age_is_refused(cells: tuple[str, str], words: str) -> None:
    """A file that contradicts itself, or says nothing one can read, speaks for no moment."""
    text = f"symbol,weight,as_of\nAAA,0.5,{cells[0]}\nBBB,0.25,{cells[1]}\n"
    assert words in problem_of(text)


WEIGHTS = st.one_of(
    st.sampled_from(["9e999999", "9E+999999", "1e-400", "-0", "0x1", "1_0", "NaN123", "--1", "٣"]),
    st.decimals(0, 1, allow_nan=False).map(str),
    st.text(max_size=8),
)
LINES = st.builds(
    "{},{},{}".format,
    st.sampled_from(["AAA", "BBB", "BRK B", "ZZZ", '"', ""]),
    WEIGHTS,
    st.sampled_from(["", "2026-11-20", "9999-12-31T23:59-14:00", "x"]),
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.lists(LINES, max_size=6).map(
        lambda lines: "\n".join(["symbol,weight,as_of", *lines]).encode(errors="replace")
    ),
)


@settings(deadline=None, max_examples=300)
@given(FILES)
@example(b"symbol,weight\nAAA,9e999999\nBBB,9e999999\n")
@example(b"symbol,weight,as_of\nAAA,1,0001-01-01T00:00:00+23:59\n")
@example(b"symbol,weight,symbol\nAAA,0.1,BBB\n")
def test_no_file_crashes_and_no_targets_come_with_problems(content: bytes) -> None:
    """Any bytes give usable targets or problems, never both, never neither."""
    reading = read(content)
    assert bool(reading.targets) != bool(reading.problems)
    symbols = [target.symbol for target in reading.targets]
    assert len(set(symbols)) == len(symbols)
    assert set(symbols) <= KNOWN
    assert all(0 <= target.weight <= 1 for target in reading.targets)
    assert sum(target.weight for target in reading.targets) <= TOTAL_WEIGHT_MAX


def test_shorts_are_read_where_they_are_allowed() -> None:
    """Negative weights are legal then; longs less shorts stay within the account, each too."""
    read = parse_targets(b"symbol,weight\nAAA,1\nBBB,-0.3\nCCC,0.3\n", KNOWN, short_allowed=True)
    assert read.problems == ()
    assert [(t.symbol, t.weight) for t in read.targets] == [
        ("AAA", Decimal(1)),
        ("BBB", Decimal("-0.3")),
        ("CCC", Decimal("0.3")),
    ]
    for text, words in (
        ("AAA,-50\n", "line 2: weight -50 is below -1; write 0.05 for 5 %"),
        ("AAA,-0.6\nBBB,-0.6\n", "the weights sum to -1.2; expected at least -1"),
        ("AAA,0.8\nBBB,0.5\nCCC,-0.2\n", "the weights sum to 1.1; expected at most 1"),
    ):
        refused = parse_targets(f"symbol,weight\n{text}".encode(), KNOWN, short_allowed=True)
        assert words in "; ".join(refused.problems)
        assert refused.targets == ()
