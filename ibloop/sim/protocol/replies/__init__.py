"""Replies of the gateway: one encoder per message, version differences in plain `if`s.

Each function returns the message's fields in wire order, message id first; a literal second
field such as "6" in tickPrice is that message's own version number. openOrder and
completedOrder, by far the longest, are in `orderlayout`.
"""
