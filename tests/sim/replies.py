"""How many fields every reply of a gateway has at a server version.

Written from IB's field orders, independently of the simulator's encoders: one field too many or
too few, and a client misreads the rest or loses the message.
"""

from bisect import bisect_right
from collections.abc import Sequence

Message = Sequence[str]

# Message -> number of fields, where that depends on nothing.
FIXED = {
    1: 7,
    2: 5,
    3: 12,
    6: 6,
    7: 20,
    8: 3,
    9: 3,
    15: 3,
    19: 3,
    45: 5,
    46: 5,
    49: 3,
    50: 11,
    52: 3,
    53: 2,
    54: 3,
    55: 3,
    57: 3,
    58: 4,
    59: 8,
    61: 16,
    62: 2,
    63: 7,
    64: 3,
    71: 18,
    72: 3,
    73: 8,
    74: 3,
    76: 2,
    77: 3,
    81: 5,
    84: 8,
    88: 3,
    90: 10,
    94: 5,
    95: 7,
    100: 4,
    102: 1,
    107: 3,
    108: 4,
    109: 2,
}
# Message -> (version from which, number of fields), of a plain stock or order without groups.
BY_VERSION = {
    4: ((0, 5), (166, 6)),
    5: (
        *((0, 128), (159, 129), (160, 130), (162, 131), (170, 136), (177, 135), (183, 136)),
        *((184, 137), (185, 138), (189, 139), (193, 141), (195, 154), (198, 155), (199, 156)),
    ),
    10: ((0, 39), (163, 40), (164, 40), (182, 41), (186, 42)),
    11: ((0, 31), (178, 32), (198, 33)),
    101: ((0, 96), (170, 101), (177, 100), (183, 101), (184, 102), (198, 103)),
}
# Message -> (position of the count, or by version; fields of each item).
LISTS = {78: (1, 2), 82: (2, 3), 80: (1, 5), 85: (1, 2), 89: (2, 2), 93: (2, 2), 106: (5, 3)}
HISTORICAL_TICKS = {96: 4, 97: 6, 98: 6}


def length(message: Message, version: int) -> int:
    """Return how many fields this message should have. Raises: KeyError for an unknown one."""
    kind = int(message[0])
    if kind in FIXED:
        return FIXED[kind]
    if kind in BY_VERSION:
        return _since(kind, version) + _groups(kind, message, version)
    if kind in LISTS:
        at, each = LISTS[kind]
        return at + 1 + each * int(message[at])
    if kind == 17:
        at = 2 if version >= 196 else 4
        return at + 1 + 8 * int(message[at])
    if kind == 79:
        # Stocks have no kinds of derivatives to list.
        return 3 + (8 if version >= 176 else 6) * int(message[2])
    if kind == 99:
        return {"1": 9, "2": 9, "3": 9, "4": 5}[message[2]]
    return 4 + HISTORICAL_TICKS[kind] * int(message[2])


def _since(kind: int, version: int) -> int:
    steps = BY_VERSION[kind]
    return steps[bisect_right(steps, version, key=lambda step: step[0]) - 1][1]


def _groups(kind: int, message: Message, version: int) -> int:
    """Return how many fields repeating groups add: an algo's parameters, security ids."""
    if kind == 5:
        at = 91 - (version >= 177)
        return 1 + 2 * int(message[at + 1]) if message[at] else 0
    if kind == 101:
        at = _completed_algo_at(version)
        return 1 + 2 * int(message[at + 1]) if message[at] else 0
    if kind == 10:
        return 2 * int(message[_security_ids_at(version)])
    return 0


def _completed_algo_at(version: int) -> int:
    return 75 - (version >= 177)


def _security_ids_at(version: int) -> int:
    before_164 = 2 if version < 164 else 0
    return 30 + before_164 + (version >= 182)
