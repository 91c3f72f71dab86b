"""XMP: the little XML files beside pictures and videos in which media managers keep tags. Knows no library and no disk.

Tags stand in `dc:subject`. Which of them are ours stands in `quickstep:tags`, so that writing again takes back what does not hold any more
and leaves what others wrote.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
META = "adobe:ns:meta/"
OURS = "https://quickstep.invalid/xmp/1.0/"
_PREFIXES = {"x": META, "rdf": RDF, "dc": DC, "quickstep": OURS}
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_TAIL = '\n<?xpacket end="w"?>\n'


@dataclass(frozen=True)
class Made:
    """A sidecar's bytes, and what became of the one that was there."""

    content: bytes
    added: int  # tags that were not there
    kept: bool  # whether something of others was there


def with_tags(old: bytes | None, tags: Sequence[str]) -> Made | None:
    """A sidecar with these tags, and with all that others wrote into the old one; None if that is no XMP."""
    names = dict(_PREFIXES)
    if old is None:
        root = Xml.Element(f"{{{META}}}xmpmeta")
        Xml.SubElement(Xml.SubElement(root, f"{{{RDF}}}RDF"), f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
    else:
        try:
            spaces = [space for _, space in Xml.iterparse(io.BytesIO(old), events=["start-ns"])]
            root = Xml.fromstring(old)
        except (Xml.ParseError, ValueError):
            return None
        names |= {prefix: space for prefix, space in spaces if prefix and not prefix.startswith("ns")}
    outer = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if outer is None:
        return None
    ours = _bag(outer, f"{{{OURS}}}tags")
    subjects = _bag(outer, f"{{{DC}}}subject")
    before = _read(subjects)
    others = [tag for tag in before if tag not in set(_read(ours))]
    _fill(subjects, [*others, *(tag for tag in tags if tag not in others)])
    _fill(ours, [tag for tag in tags if tag not in others])
    for prefix, space in names.items():
        Xml.register_namespace(prefix, space)
    Xml.indent(root, " ")
    text = _HEAD + Xml.tostring(root, encoding="unicode") + _TAIL
    foreign = old is not None and (bool(others) or not _only_ours(outer))
    return Made(text.encode(), len([tag for tag in tags if tag not in before]), foreign)


def _bag(outer: Xml.Element, name: str) -> Xml.Element:
    """The unordered list of that name, made where there is none."""
    found = outer.find(f"{{{RDF}}}Description/{name}")
    if found is None:
        description = outer.find(f"{{{RDF}}}Description")
        if description is None:
            description = Xml.SubElement(outer, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
        found = Xml.SubElement(description, name)
    bag = next((found.find(f"{{{RDF}}}{kind}") for kind in ("Bag", "Seq") if found.find(f"{{{RDF}}}{kind}") is not None), None)
    return bag if bag is not None else Xml.SubElement(found, f"{{{RDF}}}Bag")


def _read(bag: Xml.Element) -> list[str]:
    return [(item.text or "").strip() for item in bag.findall(f"{{{RDF}}}li")]


def _fill(bag: Xml.Element, tags: Sequence[str]) -> None:
    for item in list(bag):
        bag.remove(item)
    for tag in tags:
        Xml.SubElement(bag, f"{{{RDF}}}li").text = tag


def _only_ours(outer: Xml.Element) -> bool:
    """Whether nothing stands there but tags of our own."""
    known = {f"{{{DC}}}subject", f"{{{OURS}}}tags"}
    descriptions = outer.findall(f"{{{RDF}}}Description")
    attributes = {name for description in descriptions for name in description.attrib} - {f"{{{RDF}}}about"}
    return not attributes and all(child.tag in known for description in descriptions for child in description)
