"""What a gateway says with a code, where a fault only names the code."""

TEXTS = {
    103: "Duplicate order id",
    104: "Can't modify a filled order",
    105: "Order being modified does not match original order",
    109: "Price is out of the range defined by the Percentage setting at order defaults frame.",
    110: "The price does not conform to the minimum price variation for this contract.",
    201: "Order rejected - reason:injected fault",
    203: "The security is not available or allowed for this account.",
    321: "Error validating request.-'bF' : cause - Invalid order type was entered",
    399: "Order Message:\nWarning: Your order will not be placed at the exchange until "
    "2026-06-11 09:30:00 US/Eastern.",
    404: "Order held while securities are located.",
    434: "The order size cannot be zero.",
    2102: "Unable to modify this order as it is still being processed.",
    2109: "Order Event Warning:Attribute 'Outside Regular Trading Hours' is ignored based on the "
    "order type and destination. PlaceOrder is now being processed.",
    10147: "OrderId {} that needs to be cancelled is not found.",
    10148: "OrderId {} that needs to be cancelled cannot be cancelled, state: Filled.",
    10311: "This order will be directly routed to the exchange.",
    10349: "Order TIF was set to DAY based on order preset.",
}


def text_of(code: int, order_id: int, text: str = "") -> str:
    """Return the text to a code: the given one, or IB's, or one that only says the code."""
    return (text or TEXTS.get(code, f"Error {code}.")).replace("{}", str(order_id))
