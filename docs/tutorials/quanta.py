"""The tutorial on quanta: `make site` runs it after the one on language models, whose suite it
takes (or trains)."""

# %% [markdown]
# # Quanta from gradients
#
# If a prediction rests on a piece of knowledge, a *quantum*, then the gradient of its loss points
# to the parameters that hold it. Predictions with similar gradients should rest on the same one.
# So we cluster predictions by gradient (*quanta discovery from gradients*, QDG) and read what
# comes out. The script is [`docs/tutorials/quanta.py`](quanta.py); it takes a minute on 2 CPU
# cores, after the suite of [the tutorial before](language-models.md).
#
# ## Run it

# %%
import numpy as np

import jquanta as jq

jq.pretrain("stdlib", mini=True)  # opened, if it is there
clusters = jq.qdg.run("stdlib", "runs/quanta", mini=True)
print(clusters.label.sizes)
for count in clusters["count"].values:
    print(count, np.bincount(clusters.label.sel(count=count))[:10])

# %% [markdown]
# 800 predictions that the largest model makes with a loss below 0.3 nats, cut into 20 to 120
# clusters; printed are the sizes of the ten largest. **[Here is the page of this
# run](browse.html)**, to browse: every cluster with its samples in their text, their
# similarities, and a `?` beside each term.
#
# ## What is in a cluster
#
# In Python the same; here the first samples of four clusters of 120.

# %%
run = jq.qdg.open_run("runs/quanta")
label = run.clusters.label.sel(count=120).values
cosine = run.similarity.cosine.values


def text(sample: int) -> str:
    """A sample in its text, on one line."""
    context = run.corpus.context(int(run.predictions.index[sample]), before=10, after=0)
    return f"{' '.join(context.before.split())} → {context.target!r}"


for cluster in (1, 4, 8, 10):
    samples = np.flatnonzero(label == cluster)
    pairs = cosine[np.ix_(samples, samples)][np.triu_indices(len(samples), 1)]
    print(f"cluster {cluster}: {len(samples)} samples, mean cosine {pairs.mean():.2f}")
    for sample in samples[:5]:
        print("  ", text(sample))

# %% [markdown]
# ## How alike, and how large
#
# Left: the cosines of all pairs, ordered by cluster; the squares on the diagonal are clusters.
# Right: sizes by rank, for every count of clusters, and the envelope's slope.

# %%
jq.draw("fig5", qdg="runs/quanta")

# %% [markdown]
# ## When each is learned
#
# The losses of a cluster's samples under every checkpoint of every size tell when the suite
# learned it.

# %%
losses = jq.open_losses("runs/stdlib-mini/losses")
curves = jq.qdg.cluster_losses(run.clusters, losses, run.predictions)
found = jq.qdg.emerged(curves).sel(count=120)
for size in np.unique(found.emergence_size.dropna("cluster")):
    number = int((found.emergence_size == size).sum())
    print(f"{number} clusters are learned from {size:,.0f} parameters on")

# %% [markdown]
# ## Whose is a new token?
#
# The gradient of any token, compared with the centres of the clusters. A score of 0 says that it
# is further out than all of the cluster's own samples, and belongs to none.

# %%
code = "class Shape:\n    def __init__(self, name):\n        if name is None:"
parts = (run.model(), run.predictions, run.clusters, run.similarity)
found = jq.qdg.assign(*parts, code, count=120, nearest=1, last=4)
for i in range(found.sizes["token"]):
    one = found.isel(token=i)
    print(
        f"{one.target.item()!r:8} cluster {int(one.cluster):3}, cosine {float(one.cosine):.2f}, "
        f"score {float(one.score):.2f}\n         like {text(int(one.nearest[0]))}"
    )

# %% [markdown]
# ## More
#
# [Quanta](../quanta.md) reads the clusters of a larger run, asks whether they are mechanisms, and
# says where the method is known to go wrong.
