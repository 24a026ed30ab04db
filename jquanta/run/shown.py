"""Values in messages, which are one line."""

MOST_SHOWN = 80
"""Characters of a value in a message."""


def shown(value: object) -> str:
    """A value for a message: its text, cut after ``MOST_SHOWN`` characters."""
    try:
        text = str(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
