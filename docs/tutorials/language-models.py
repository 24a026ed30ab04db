"""The tutorial on language models: `make site` runs it. Needs no network."""

# %% [markdown]
# # Language models, token by token
#
# We train three small language models on the source of Python's own standard library, and ask of
# every token of held-out files when, and at which size, a model learns to predict it. The script
# is [`docs/tutorials/language-models.py`](language-models.py); it takes a minute on 2 CPU cores.
#
# ## A suite

# %%
import matplotlib.pyplot as plt
import numpy as np

import jquanta as jq
from jquanta.lm.taxonomy.thresholds import Monogenic

losses = jq.pretrain("stdlib", mini=True)  # in runs/stdlib-mini
print("predictions", losses.sizes["prediction"])
print(losses.model.values.reshape(3, -1))

# %% [markdown]
# The columns are checkpoints, `SIZE@stepN`: three sizes, six steps each. A *prediction* is one
# token of a held-out file, given all tokens before it; its number leads back to the text.

# %%
corpus = jq.open_corpus("runs/stdlib-mini/corpus/test")


def text(i: int) -> str:
    """A prediction in its text, on one line."""
    context = corpus.context(i, before=12, after=0)
    return f"{' '.join(context.before.split())} → {context.target!r}"


last = losses.sel(model=[f"{size}@step292" for size in ("12.8k", "100k", "336k")])
last = last.load()
for i in range(1000, 1008):
    nats = last.loss.sel(prediction=i).values.round(2)
    print(nats, text(i))

# %% [markdown]
# Nats of the smallest, the middle and the largest model, for eight tokens in a row. A mean over all
# tokens hides how different they are:

# %%
jq.draw("fig3", losses=["runs/stdlib-mini/losses"])

# %% [markdown]
# (a) The mean loss falls with size, as scaling laws say. (b) How single losses are distributed:
# from nearly nothing to more than fifteen bits. (c) The same times the loss, which shows what the
# mean is made of; a larger model has fewer tokens that cost much.
#
# ## Tokens that are learned
#
# Which tokens fall the most between the smallest model and the largest?

# %%
small, large = last.loss.values[:, 0], last.loss.values[:, -1]
fallen: dict[str, int] = {}  # by token, the one that falls the most
for i in np.argsort(large - small)[:200]:
    fallen.setdefault(corpus.context(int(i)).target, int(i))
most = list(fallen.values())[:8]
for i in most:
    print(f"{small[i]:5.2f} → {large[i]:5.2f} nats   {text(i)}")

# %% [markdown]
# And over the steps of the largest model: the same tokens, each a line. They do not fall together,
# nor smoothly.

# %%
columns = losses.isel(model=losses.name.values == "336k").load()
at = [int(revision.removeprefix("step")) for revision in columns.revision.values]
figure, axes = plt.subplots(figsize=(7, 3.5))
for i in most:
    axes.plot(at, columns.loss.sel(prediction=i), "o-", alpha=0.7)
axes.plot(at, columns.loss.mean("prediction"), "k", linewidth=2.5, label="all tokens")
axes.set(xscale="log", xlabel="training step", ylabel="loss (nats)")
axes.legend()
plt.show()

# %% [markdown]
# The paper calls tokens *monogenic* that fall at one size, as if they needed one quantum, and
# *polygenic* those that every size predicts a little better. With its thresholds loosened, since
# these models are small:

# %%
jq.draw(
    "fig4",
    losses=["runs/stdlib-mini/losses"],
    corpus="runs/stdlib-mini/corpus/test",
    monogenic=Monogenic(above=2.0, below=0.5),
)

# %% [markdown]
# ## More
#
# [Language models](../language-models.md) has a larger suite and the commands for Pythia and the
# Pile; [How to …](../howto.md) takes your own text and your own model.
