"""Add a class to a trained model without touching its backbone.

extension    add_class: a model, and the name or videos of a new class -> a model with that class, and the effects
new_class    the name and the videos of the new class, some held out
effects      what the new class changed on held-out segments
"""

from quickstep.training.add_class.extension import Added, add_class, set_reports_aside

__all__ = ["Added", "add_class", "set_reports_aside"]
