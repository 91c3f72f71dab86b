"""Connected components: items that are linked directly or through others are one component, in the order of the items."""

from __future__ import annotations

from quickstep.datasets.connected_components import connected_components


def test_items_are_connected_through_other_items() -> None:
    assert connected_components("abcd", [("a", "c"), ("c", "d")]) == [["a", "c", "d"], ["b"]]


def test_pairs_can_contain_further_items() -> None:
    assert connected_components(["a", "b"], [("a", "x"), ("b", "x")]) == [["a", "b", "x"]]


def test_the_order_of_the_pairs_does_not_matter() -> None:
    pairs = [(1, 2), (3, 4), (2, 3), (6, 6)]
    assert connected_components(range(7), pairs) == connected_components(range(7), reversed(pairs)) == [[0], [1, 2, 3, 4], [5], [6]]
