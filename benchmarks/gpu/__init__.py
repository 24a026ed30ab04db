"""Everything that this project measures on a GPU, in parts: see ``python -m benchmarks.gpu``.

``catalogue`` lists the parts, the most important first. ``supervisor`` runs each part in a separate
process, ``child`` is that process, and the other modules measure.
"""
