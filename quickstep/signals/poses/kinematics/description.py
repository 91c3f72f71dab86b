"""describe: the measurements of a person as a paragraph of text; table: the same as rows that fit a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from quickstep.signals.poses.kinematics.measurement import PersonKinematics
from quickstep.signals.poses.kinematics.quantities import LEVELS, Measurement

# Heading with its unit, name of the quantity, digits: the most informative quantities.
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("speed (bl/s)", "speed", 2),
    ("peak (bl/s)", "speed peak", 2),
    ("hands (bl/s)", "hands speed", 2),
    ("feet (bl/s)", "feet speed", 2),
    ("accel. (bl/s²)", "acceleration", 1),
    ("reach (bl)", "reach", 2),
    ("fluidity (log)", "fluidity", 1),
    ("symmetry (0-1)", "symmetry", 2),
    ("evenness (0-1)", "evenness", 2),
    ("tempo (/min)", "tempo", 0),
    ("regularity (0-1)", "regularity", 2),
    ("turns", "turns net", 2),
    ("spins", "spins net", 2),
    ("air (0-1)", "airtime", 2),
)
HEADINGS: tuple[str, ...] = ("person", "seconds", *(heading for heading, _, _ in COLUMNS), "level")
LEGEND = "bl: body lengths; turns: + to the dancer's left; spins: + counter-clockwise; –: unknown"
_EVENNESS = (
    (0.9, "left and right move equally much"),
    (0.75, "left and right move nearly equally much"),
    (0.4, "left and right move unequally"),
    (0.0, "mostly one side alone moves"),
)
HEIGHT = 1.7  # metres: of an adult, to give a speed in m/s


def table(measured: PersonKinematics) -> list[tuple[str, ...]]:
    """Return a row for the whole and one for each window."""
    rows = (measured.whole, *(measured.windows if len(measured.windows) > 1 else ()))
    return [_row(numbers, whole=numbers is measured.whole) for numbers in rows]


def _row(numbers: Measurement, *, whole: bool) -> tuple[str, ...]:
    when = f"{numbers.start:.1f}-{numbers.end:.1f}{' (all)' if whole else ''}"
    values = [_short(_turns_or_net(numbers, name), digits) for _, name, digits in COLUMNS]
    return (str(numbers.person), when, *values, numbers.level or "–")


def _turns_or_net(numbers: Measurement, name: str) -> float:
    """Return a net turn, or the total if its side is unknown."""
    value = numbers[name]
    return numbers[name.removesuffix(" net")] if math.isnan(value) else value


def _short(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def describe(measured: PersonKinematics) -> str:
    """Describe a person in one paragraph."""
    whole = measured.whole
    sentences = [
        f"Person {whole.person}, {whole.start:.1f} to {whole.end:.1f} s",
        _speed(whole),
        _reach(whole),
        _symmetry(whole),
        _tempo(whole),
        _turns(whole),
        _level(whole),
        _unknown(measured),
    ]
    return f"{sentences[0]}: {' '.join(sentence for sentence in sentences[1:] if sentence)}"


def _speed(whole: Measurement) -> str:
    if not _is_known(whole, "speed"):
        return f"The speed is unknown ({whole.unknown['speed']})."
    text = f"moves at {whole['speed']:.2f} body lengths a second on average and {whole['speed peak']:.2f} at most"
    parts = {part: whole[f"{part} speed"] for part in ("hands", "feet", "head") if _is_known(whole, f"{part} speed")}
    if parts and whole["speed"] > 0.05:
        fastest = max(parts, key=lambda part: parts[part])
        metres = f"about {parts[fastest] * HEIGHT:.1f} m/s for an adult"
        text += f"; the {fastest} {'is' if fastest == 'head' else 'are'} fastest ({parts[fastest]:.2f}, {metres})"
    return f"{text}."


def _reach(whole: Measurement) -> str:
    clauses = []
    if _is_known(whole, "reach"):
        clauses.append(f"hands and feet reach {whole['reach']:.2f} body lengths from the centre, {whole['reach peak']:.2f} at most")
    if _is_known(whole, "travel"):
        clauses.append(f"the centre covers {whole['travel']:.2f}")
    return f"{_capitalized('; '.join(clauses))}." if clauses else ""


def _symmetry(whole: Measurement) -> str:
    clauses = []
    if _is_known(whole, "fluidity"):
        clauses.append(f"the fluidity is {whole['fluidity']:.1f} (nearer to 0 is smoother)")
    if _is_known(whole, "evenness"):
        even = whole["evenness"]
        text = next(text for least, text in _EVENNESS if even >= least)
        clauses.append(f"{text} ({even:.2f})")
    if _is_known(whole, "symmetry"):
        clauses.append(f"the symmetry is {whole['symmetry']:.2f}")
    return f"{_capitalized(', '.join(clauses))}." if clauses else ""


def _tempo(whole: Measurement) -> str:
    if not _is_known(whole, "regularity"):
        return ""
    if not _is_known(whole, "tempo"):
        return "No movement repeats itself clearly."
    regular = whole["regularity"]
    how = "very regularly" if regular > 0.85 else "regularly" if regular > 0.65 else "fairly regularly" if regular > 0.45 else "loosely"
    return f"The movement repeats itself {whole['tempo']:.0f} times a minute, {how} ({regular:.2f})."


def _turns(whole: Measurement) -> str:
    clauses = []
    if _is_known(whole, "turns") and whole["turns"] >= 0.2:
        side = _side(whole, "turns", ("to the left", "to the right"))
        clauses.append(f"turns {whole['turns']:.1f} times about the vertical{side}")
    if _is_known(whole, "spins") and whole["spins"] >= 0.2:
        side = _side(whole, "spins", ("counter-clockwise", "clockwise"))
        clauses.append(f"the trunk turns {whole['spins']:.1f} times in the image plane{side}")
    return f"{_capitalized(' and '.join(clauses))}." if clauses else ""


def _side(whole: Measurement, name: str, sides: Sequence[str]) -> str:
    """Return the main side of a turn, if it is clear."""
    if not _is_known(whole, f"{name} net"):
        return ""
    net, total = whole[f"{name} net"], whole[name]
    if abs(net) < 0.5 * total:
        return ", to and fro"
    mostly = "" if abs(net) > 0.9 * total else "mostly "
    return f", {mostly}{sides[0] if net > 0 else sides[1]}"


def _level(whole: Measurement) -> str:
    clauses = []
    if whole.level:
        texts = {"standing": "standing", "crouched": "crouched", "floor": "on the ground"}
        shares = sorted(((whole[level], texts[level]) for level in LEVELS), reverse=True)
        clauses.append(", ".join(f"{100 * share:.0f} % of the time {text}" for share, text in shares if share >= 0.01))
    if _is_known(whole, "airtime"):
        longest = whole["longest air"]
        air = whole["airtime"]
        clauses.append("never in the air" if longest == 0 else f"in the air {100 * air:.0f} % of the time, at most for {longest:.2f} s")
    return f"{_capitalized('; '.join(clauses))}." if clauses else ""


def _unknown(measured: PersonKinematics) -> str:
    notes = [note for note in measured.notes if "hardly anything moves" not in note and "nothing repeats" not in note]
    return f"Unknown: {'; '.join(notes)}." if notes else ""


def _is_known(whole: Measurement, name: str) -> bool:
    return name not in whole.unknown


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
