"""Board: the curves of a run for TensorBoard. The only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping

from quickstep.types.errors import MissingExtra

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise MissingExtra("finetune", "--tensorboard") from error


class Board:
    """Writes numbers by epoch; what a killed run wrote beyond its last state is written again."""

    def __init__(self, folder: str, *, epochs: int) -> None:
        self._writer = SummaryWriter(folder, purge_step=epochs + 1)

    def write(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """One point of each curve."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
