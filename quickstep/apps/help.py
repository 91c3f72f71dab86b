"""How `--help` is printed: the options of a command in groups by subject, and no default that says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

# Title -> option names, in the order of the help page. An option that is in no group is printed first, under "Options".
OPTION_GROUPS = {
    "Network": "backbone weights embedding flow init width from new-head unfreeze engine precision",
    "Frames of a video": "window stride pace frames fps size edge windows crops height",
    "Head and prompts": "head head-settings template prompts dropout class-weights balanced",
    "Optimization": (
        "epochs batch accumulate auto-batch optimizer learning-rate head-rate layer-decay momentum weight-decay grad-clip schedule warmup "
        "decay step-epochs label-smoothing mixup ema"
    ),
    "Validation": "metric patience",
    "Augmentation": "augment flip mirror-labels vertical-flip crop rotation colour noise erase time-jitter speed",
    "Poses": "estimator pose-model skeleton person people pose-fps",
    "Computation": "device workers frame-cache-gb save-minutes tensorboard seed",
    "General": "json quiet verbose cache help version",
}
EMPTY = ("()", "{}", "[]", "''", '""', "None")


class GroupedHelp:
    """Print a help page like cyclopts, with options in groups."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel; a panel of options is divided into groups."""
        for part in _parts(panel):
            self._formatter(console, options, part)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the usage line."""
        self._formatter.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print the description."""
        self._formatter.render_description(console, options, description)

    @property
    def _formatter(self) -> Any:
        from cyclopts.help import DefaultFormatter

        return DefaultFormatter()


def _parts(panel: HelpPanel) -> Iterator[HelpPanel]:
    if panel.format == "command":
        yield panel
        return
    groups: dict[str, list[Any]] = {}
    options = {name for entry in panel.entries for name in entry.names}
    for entry in panel.entries:
        title = str(panel.title) if entry.positional_label else _group_of(entry.names, options)
        shown = entry.copy(default=None) if entry.default in EMPTY or entry.type is bool else entry
        groups.setdefault(title, []).append(shown)
    for title in sorted(groups, key=_rank):
        yield panel.copy(title=title, entries=groups[title])


def _group_of(names: tuple[str, ...], options: set[str]) -> str:
    option = names[0].removeprefix("--").partition(".")[0] if names else ""
    if option == "width" and "--height" in options:  # of frames; alone it is the width of a network
        option = "height"
    return next((title for title, group in OPTION_GROUPS.items() if option in group.split()), "Options")


def _rank(title: str) -> int:
    titles = [*OPTION_GROUPS]
    return titles.index(title) if title in titles else -1
