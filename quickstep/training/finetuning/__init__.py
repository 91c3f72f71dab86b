"""Fine-tuning: the one verb that opens a backbone. A network is trained further, together with the layer behind it.

    settings   FinetuneConfig
    making     finetune: labelled videos -> a model with a network of its own
    starting   the network, its view and its layer before tuning
    network    both as one module; which blocks learn, how fast
    feeding    what is shown, in which order, decoded ahead
    loop       the loop: epochs, steps, validation
    going_on   the state of a run, kept and gone on from
    watching   which epoch is best, when to stop, whether anything is learnt
    state      files of a run on disk
    devices    accelerate: device, precision, processes, memory
    board      TensorBoard

torch and accelerate load when `finetune` is called.
"""

from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.finetune import Tuned, finetune

__all__ = ["FinetuneConfig", "Tuned", "finetune"]
