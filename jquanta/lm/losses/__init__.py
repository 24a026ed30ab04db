"""Per-token losses of language models on a corpus: one column for each model and revision.

``compute`` runs the models. It asks ``ways`` which program and which batches suit the device:
on a CPU documents of similar length share a batch (``batches``, ``cross_entropy``), elsewhere
documents are packed into rows of one length (``packing``, ``rows``). ``column`` stores the losses
and ``reader`` opens them.
"""

DTYPES = ("float32", "bfloat16")
"""Number types in which weights are held and multiplied."""
