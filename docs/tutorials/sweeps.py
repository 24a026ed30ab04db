"""The tutorial on sweeps: `make site` runs it, and so does `python docs/tutorials/sweeps.py`."""

# %% [markdown]
# # Sweeps of sparse parity
#
# We train nine networks on one task made of twelve, and see a smooth curve come out of sudden
# jumps. All of this page was run when the site was built; the script is
# [`docs/tutorials/sweeps.py`](sweeps.py). It takes half a minute on 2 CPU cores.
#
# ## The task
#
# A sample is a row of bits, and a number that says which of twelve *subtasks* it is of. The
# answer is the parity of two of the bits, another two for each subtask. Subtask i is asked with a
# frequency proportional to i<sup>−(α+1)</sup>: the first often, the last rarely.

# %%
import matplotlib.pyplot as plt
import numpy as np

import jquanta as jq

config = {
    "name": "tutorial",
    "task": {"n_tasks": 12, "n_bits": 20, "k": 2, "alpha": 0.4},
    "network": {"width": "log(3, 120, 9)"},  # nine widths
    "train": {"steps": 4000, "batch_size": 1000},
    "eval": {"log_every": 50, "points_per_task": 1000},
}
results = jq.run_sweep(config, "runs/tutorial")
print(dict(results.sizes))
print("widths", results.width.values)

# %% [markdown]
# What a field may hold is in `jquanta sweep --help`; a field with several values is swept, and
# several such fields give their product. The folder holds everything. The same call continues
# after an interruption, and on a finished folder it only opens the results.
#
# `results` is an [xarray](https://docs.xarray.dev) Dataset: every loss at every evaluated step,
# of every subtask, in nats (for comparison, one bit is 0.69 nats, and guessing costs one bit).
# Here is the widest network, a line for each subtask:

# %%
widest = results.isel(run=-1)
bits = widest.subtask_loss / np.log(2)
figure, axes = plt.subplots(figsize=(7, 3.5))
colours = plt.colormaps["viridis"](np.linspace(0, 0.9, len(bits.subtask)))
for subtask, colour in zip(bits.subtask, colours, strict=True):
    axes.plot(bits.step, bits.sel(subtask=subtask), color=colour)
axes.plot(bits.step, widest.loss / np.log(2), "k", linewidth=2.5, label="mean, by frequency")
axes.set(xlabel="training step", ylabel="loss (bits)", ylim=(0, 1.15))
axes.legend()
plt.show()

# %% [markdown]
# Each subtask stays at one bit for a while and then falls within a short time: the frequent ones
# (dark) first. The mean has no such jumps. When is each learned?

# %%
steps = jq.emergence.convergence_step(results)  # (run, subtask), NaN for never
print(steps.isel(run=-1).values)

# %% [markdown]
# ## Scaling
#
# A curve is the mean loss against one scale, and a fit is a power law. Beside it stands what the
# theory says: α<sub>S</sub> = α/(α+1) for infinitely many subtasks, and something larger for as
# few as twelve, whose curve bends down when the last ones are learned.

# %%
for curve in (jq.scaling.step_curve(results), jq.scaling.parameter_curve(results)):
    fit = jq.scaling.fit_curve(curve)
    print(
        f"{jq.scaling.scale_of(curve):9} fitted {fit.exponent:.2f}; "
        f"theory {jq.scaling.predicted(curve):.2f}, "
        f"of 12 subtasks {jq.scaling.predicted_finite(curve, fit):.2f}"
    )

# %% [markdown]
# The figure of the paper, drawn from the folder; the numbers are those of its fits.

# %%
jq.draw("fig2", ["runs/tutorial"])

# %% [markdown]
# ## A network to use
#
# Every run's weights are kept. `load_run` gives the task, which draws samples and evaluates, and
# the network (Flax NNX), which is called.

# %%
task, network = jq.load_run("runs/tutorial", run=8)
samples = task.draw(2000)
answers = np.argmax(network(samples.inputs), axis=-1)
print(f"right: {np.mean(answers == samples.label):.3f}")
print("bits of the first subtask:", task.subsets[0])

# %% [markdown]
# ## More
#
# [Sweeps of sparse parity](../sweeps.md) tells how to read the numbers;
# [reproduction](../reproduction.md) has the paper's beside ours; every experiment of the paper is
# a [configuration](../../configs) by name, such as `jquanta sweep fig2-width --mini`.
