"""A person looks over labels: what to look at first, decisions that are never lost, and a head fitted to what was corrected.

journal     decisions about the segments of one manifest: written as they are made, with their history
doubting    which segments to look at first
retraining  the model on corrected labels, before and after
"""

from quickstep.training.label_review.journal import Conflict, Decision, Journal, journal_for
from quickstep.training.label_review.label_errors import Suspect, Suspects, suspects
from quickstep.training.label_review.retraining import Retrained, retrain

__all__ = ["Conflict", "Decision", "Journal", "Retrained", "Suspect", "Suspects", "journal_for", "retrain", "suspects"]
