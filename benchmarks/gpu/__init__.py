"""All that this project wants to know from a GPU, in parts: see ``python -m benchmarks.gpu``.

``catalogue`` lists the parts, the most important first. ``supervisor`` runs each in a process of
its own, ``child`` is that process, and the other modules measure.
"""
