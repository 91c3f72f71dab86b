"""Fine-tune a backbone: train a network further, together with a linear layer behind it.

finetune               finetune: labelled videos -> a model with its own network
config                 FinetuneConfig
initialization         the network, its view and its layer before training
trainable_model        the network and its layer as one module; which blocks are trained, at which rates
batches                batches of augmented windows, decoded ahead
loop                   the training loop: epochs, steps, validation
run_state              the state of a run: saved, resumed
checkpoint             the files of that state
early_stopping         the best epoch, when to stop, and whether anything is learned
devices                accelerate: device, precision, processes, memory
augmentation_preview   an image of augmented training windows

torch and accelerate are imported when `finetune` is called.
"""

from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.finetune import Finetuned, finetune

__all__ = ["FinetuneConfig", "Finetuned", "finetune"]
