"""Group items that are connected by pairs, directly or through other items."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def connected_components(items: Iterable[Item], pairs: Iterable[tuple[Item, Item]]) -> list[list[Item]]:
    """Return the components, each in the order of its items; pairs may contain further items."""
    parent = {item: item for item in items}

    def root(item: Item) -> Item:
        while parent.setdefault(item, item) != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        parent[root(second)] = root(first)
    components: dict[Item, list[Item]] = {}
    for item in list(parent):
        components.setdefault(root(item), []).append(item)
    return list(components.values())
