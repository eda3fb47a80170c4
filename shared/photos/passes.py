"""The passes of a progressive JPEG (ISO/IEC 10918-1, G.1.1.1): each adds coefficients, or a bit to those before."""

from collections.abc import Iterable
from typing import Final

_COEFFICIENTS: Final = 64


def lack_any(headers: Iterable[bytes]) -> bool:
    """Return whether a pass is missing on which another builds, by what is in the headers of their scans.

    Fewer than a photo could have are as good as all of them, and the same ones may come again.
    """
    left_out = dict[tuple[int, int], int]()  # bits, of each coefficient of each component
    for header in headers:
        behind = 1 + 2 * header[0]
        first, last, bits = header[behind : behind + 3]
        before, after = divmod(bits, 16)
        for coefficient in range(first, min(last + 1, _COEFFICIENTS)):
            for component in header[1:behind:2]:
                known = left_out.get((component, coefficient))
                if before if known is None else known > before:
                    return True
                left_out[component, coefficient] = after
    return any((component, 0) not in left_out for component, _ in left_out)
