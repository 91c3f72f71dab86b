"""Review labels: the segments to check first, decisions that are never lost, and a head fitted to the corrected labels.

journal        decisions about the segments of a manifest, saved at once, with their history
label_errors   which segments to check first
retraining     the model with corrected labels, before and after
"""

from quickstep.training.label_review.journal import Conflict, Decision, Journal, journal_for
from quickstep.training.label_review.label_errors import Suspect, Suspects, suspects
from quickstep.training.label_review.retraining import Retrained, retrain

__all__ = ["Conflict", "Decision", "Journal", "Retrained", "Suspect", "Suspects", "journal_for", "retrain", "suspects"]
