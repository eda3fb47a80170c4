"""Words that several commands say."""


def counted(number: int, one: str, many: str) -> str:
    """A number and what there are so many of."""
    return f"{number} {one if number == 1 else many}"
