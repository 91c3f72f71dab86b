"""Print the results of a benchmark as a table."""

from __future__ import annotations

from collections.abc import Sequence


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and aligned columns: the first one left-aligned, the others right-aligned."""
    widths = [max(len(str(row[column])) for row in [columns, *rows]) for column in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *rows]:
        texts = [
            str(text).ljust(width) if n == 0 else str(text).rjust(width) for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(texts))
