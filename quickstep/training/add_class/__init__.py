"""A class added to a finished model, without touching its encoder: what joins, how the head takes it, what it did to the others.

joining     the new class's name and videos, some of them held out
imprinting  a head that learns a class without the videos of the others
effects     what was recognised before and after
adding      add_class: a model and videos of a new class -> a model that knows it, and the effects
leftovers   reports about the model as it was before, set aside
"""

from quickstep.training.add_class.extension import Added, add_class, set_reports_aside

__all__ = ["Added", "add_class", "set_reports_aside"]
