"""The optimised rivals in PyTorch: one network, or many networks as one wide layer.

The one-hot control bits of a sample are not multiplied with the weights: the row of its subtask is
looked up, as in an embedding. The wide layer follows ParallelMLPs (Farias et al., arXiv
2206.08369): the first layers of all networks side by side, then a reduction of the hidden units of
each network to its own logits. A single network is a pack of one, whose reduction is a plain matrix
product.

Shapes: B samples, N task bits, S subtasks, R networks, U hidden units of all networks together, E
evaluation points.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.rivals import wait
from jquanta.parity import solo
from jquanta.parity.config import RunConfig
from jquanta.parity.task import make_task

WORD_BITS = 25  # bits used of each random int32, which has 31: 4 · 25 make the usual 100
GROUP_UNITS = 250  # smallest number of hidden units in a group of networks
EVALUATION_BLOCK = 2**22  # hidden activations that an evaluation holds at once, as ours does


@dataclass(frozen=True)
class Variant:
    """One implementation of the rival; which is fastest depends on machine and width.

    Attributes:
        reduction: a key of ``REDUCTIONS``; for a single network it is always a plain product.
        tile: samples whose gradients are computed at once, and accumulated; None for the batch.
        compiled: whether by torch.compile.
    """

    reduction: str
    tile: int | None = None
    compiled: bool = False

    def __str__(self) -> str:
        tile = "whole batch" if self.tile is None else f"tiles of {self.tile}"
        return f"{self.reduction}, {tile}, {'compiled' if self.compiled else 'eager'}"


class Lookup:
    """Networks with one hidden layer that share task and batches, trained together in PyTorch.

    Args:
        runs: their configurations, which may differ in width only.
        device: of torch.
        variant: of the implementation.
    """

    def __init__(self, runs: Sequence[RunConfig], device: torch.device, variant: Variant):
        self.run, self.device, self.variant = runs[0], device, variant
        self.widths = [run.network.width for run in runs]
        task = make_task(self.run.task, self.run.train.seed)
        self.subsets = torch.tensor(task.subsets, dtype=torch.int64, device=device)
        self.frequencies = torch.tensor(task.frequencies, dtype=torch.float32, device=device)
        self.edges = torch.tensor(np.cumsum(task.frequencies)[:-1], device=device).float()
        self.shifts = torch.arange(WORD_BITS, dtype=torch.int32, device=device)
        self.weights = [
            torch.tensor(x, device=device, requires_grad=True) for x in initial_weights(runs)
        ]
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=self.run.train.lr,
            weight_decay=self.run.train.weight_decay,
            fused=True,
        )
        pack = len(runs) > 1
        self.reduce = REDUCTIONS[variant.reduction](self.widths, device) if pack else _product
        # Without a backward pass the reduction with the fewest operations is the fastest.
        self.reduce_test = _grouped(self.widths, device) if pack else _product
        self._summed_loss = compiled_loss() if variant.compiled else summed_loss

    def draw_bits(self, count: int) -> Tensor:
        """[count, N] random bits as 0.0 and 1.0, the binary digits of random integers."""
        n_bits = self.run.task.n_bits
        shape = (count, -(-n_bits // WORD_BITS))
        words = torch.randint(0, 2**WORD_BITS, shape, dtype=torch.int32, device=self.device)
        return ((words[:, :, None] >> self.shifts) & 1).view(count, -1)[:, :n_bits].float()

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a batch: subtasks [B] in ascending order, task bits [B, N], labels [B].

        Subtasks are drawn by inverting their cumulative distribution. Sorted, their rows lie
        together in memory; the order of a batch does not matter.
        """
        uniform = torch.rand(self.run.batch_size, device=self.device).sort().values
        subtask = torch.searchsorted(self.edges, uniform, right=True)
        bits = self.draw_bits(self.run.batch_size)
        return subtask, bits, bits.gather(1, self.subsets[subtask]).sum(1).long() % 2

    def loss(self, subtask: Tensor, bits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy in nats, summed over samples and networks."""
        return self._summed_loss(self.weights, self.reduce, subtask, bits, label)

    def step(self, subtask: Tensor, bits: Tensor, label: Tensor) -> None:
        """One update of every network by a batch, whose gradients are accumulated over tiles."""
        self.optimizer.zero_grad(set_to_none=True)
        size = self.variant.tile or len(label)
        for tile in zip(*(torch.split(x, size) for x in (subtask, bits, label)), strict=True):
            torch.autograd.backward(self.loss(*tile) / len(label))
        self.optimizer.step()

    def train(self, n_steps: int) -> None:
        """Make ``n_steps`` updates, each with a new batch."""
        for _ in range(n_steps):
            self.step(*self.draw())
        wait(self.device)

    @torch.no_grad()
    def evaluate(self, bits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss in nats and accuracy, [R, S] each, on E points of bits that all subtasks share."""
        if bits is None:
            bits = self.draw_bits(self.run.eval.points_per_task)
        kernel, rows, bias, out, shift = self.weights
        # The part of the hidden layer that comes from the task bits is the same for all subtasks.
        shared = torch.addmm(bias, bits, kernel)
        at_once = max(1, EVALUATION_BLOCK // shared.numel())
        losses, accuracies = [], []
        cut = (torch.split(x, at_once) for x in (rows, self.subsets))
        for row, subset in zip(*cut, strict=True):
            hidden = (row[:, None] + shared).relu_()  # [subtasks at once, E, U]
            logits = self.reduce_test(hidden.flatten(0, 1), out) + shift
            logits = logits.view(len(row), len(bits), len(self.widths), 2)
            label = (bits[:, subset].sum(2).long() % 2).T[:, :, None].expand(logits.shape[:-1])
            loss = F.cross_entropy(logits.movedim(-1, 1), label, reduction="none")
            losses.append(loss.mean(1))
            accuracies.append((logits.argmax(-1) == label).float().mean(1))
        wait(self.device)
        return torch.cat(losses).T, torch.cat(accuracies).T


def summed_loss(
    weights: Sequence[Tensor], reduce: "Reduction", subtask: Tensor, bits: Tensor, label: Tensor
) -> Tensor:
    """Cross-entropy in nats, summed over samples and networks."""
    kernel, rows, bias, out, shift = weights
    hidden = torch.addmm(F.embedding(subtask, rows + bias), bits, kernel).relu_()
    logits = reduce(hidden, out) + shift
    each = label[:, None].expand(-1, logits.shape[1])
    return F.cross_entropy(logits.flatten(0, 1), each.flatten(), reduction="sum")


@cache
def compiled_loss() -> Callable[..., Tensor]:
    """The loss under torch.compile, compiled anew for each width.

    With symbolic sizes (``dynamic=True``) one program would serve all widths, but a slower one.
    """
    # By default torch gives up after 8 recompilations and runs eagerly.
    torch._dynamo.config.recompile_limit = 256
    return torch.compile(summed_loss, dynamic=False)


Reduction = Callable[[Tensor, Tensor], Tensor]
"""From hidden units [B, U] and output weights [U, 2] to the logits [B, R, 2] of each network."""


def _blocks(widths: Sequence[int], device: torch.device) -> Reduction:
    """A reduction as one product with a block-diagonal matrix [U, R · 2]."""
    nets = torch.arange(len(widths), device=device)
    own = (nets.repeat_interleave(torch.tensor(widths, device=device))[:, None] == nets).float()

    def reduce(hidden: Tensor, out: Tensor) -> Tensor:
        matrix = (own[:, :, None] * out[:, None, :]).flatten(1)
        return (hidden @ matrix).view(len(hidden), len(widths), 2)

    return reduce


def _product(hidden: Tensor, out: Tensor) -> Tensor:
    """The reduction of a single network, R = 1."""
    return (hidden @ out)[:, None]


def _grouped(widths: Sequence[int], device: torch.device) -> Reduction:
    """A reduction as one block-diagonal product for each group of neighbouring networks.

    It multiplies fewer zeros than ``_blocks``.
    """
    groups: list[list[int]] = [[]]
    for width in widths:
        if sum(groups[-1]) >= GROUP_UNITS:
            groups.append([])
        groups[-1].append(width)
    units = [sum(group) for group in groups]
    parts = [_blocks(group, device) for group in groups]

    def reduce(hidden: Tensor, out: Tensor) -> Tensor:
        cut = zip(parts, torch.split(hidden, units, 1), torch.split(out, units), strict=True)
        return torch.cat([part(columns, matrix) for part, columns, matrix in cut], 1)

    return reduce


def _added(widths: Sequence[int], device: torch.device) -> Reduction:
    """A reduction that adds the products of units and weights to the sum of their network.

    This is the scatter-add of the ParallelMLPs paper.
    """
    nets = torch.arange(len(widths), device=device)
    owner = nets.repeat_interleave(torch.tensor(widths, device=device))

    def reduce(hidden: Tensor, out: Tensor) -> Tensor:
        zeros = hidden.new_zeros(len(hidden), len(widths))
        sums = [zeros.index_add(1, owner, hidden * column) for column in out.T]
        return torch.stack(sums, 2)

    return reduce


def _padded(widths: Sequence[int], device: torch.device) -> Reduction:
    """A reduction as a batched matrix product over networks that are padded to the widest."""
    widest = max(widths)
    # For each network the indices of its units, and as many of the following ones as padding, whose
    # output weights are set to 0.
    starts = np.cumsum([0, *widths[:-1]])
    places = np.minimum(starts[:, None] + np.arange(widest), sum(widths) - 1)
    index = torch.tensor(places, device=device)
    inside = torch.tensor(np.arange(widest) < np.array(widths)[:, None], device=device).float()

    def reduce(hidden: Tensor, out: Tensor) -> Tensor:
        units = hidden[:, index].transpose(0, 1)
        return torch.bmm(units, out[index] * inside[:, :, None]).transpose(0, 1)

    return reduce


REDUCTIONS: Mapping[str, Callable[[Sequence[int], torch.device], Reduction]] = {
    "blocks": _blocks,
    "grouped": _grouped,
    "added": _added,
    "padded": _padded,
}


def variants(runs: Sequence[RunConfig], device: torch.device, thorough: bool) -> list[Variant]:
    """The implementations to try: which is the fastest depends on machine and widths.

    The thorough list also has every reduction and torch.compile, which takes minutes. In trials on
    a CPU, none of these was ever more than a fifth faster than the best of the short list.
    """
    units = sum(run.network.width for run in runs)
    # On a CPU the activations of a tile, 2^20 numbers, should stay in the cache. They also stay
    # below 32 MB, above which the allocator maps fresh pages for each array, which the kernel has
    # to clear. On a GPU the whole batch at once is best.
    tile = max(500, 2**20 // units) if device.type == "cpu" else runs[0].batch_size
    tiles: list[int | None] = [None] if tile >= runs[0].batch_size else [None, tile, 4 * tile]
    if len(runs) == 1:
        reductions = ["product"]
    else:
        reductions = list(REDUCTIONS) if thorough else ["blocks", "grouped"]
        # In trials the whole batch, with hundreds of megabytes of activations, was never the
        # fastest, and the smaller tile seldom.
        tiles = tiles[1:] if thorough else tiles[-1:]
        tiles = tiles or [None]
    found = [Variant(reduction, size) for reduction in reductions for size in tiles]
    if thorough:
        found += [Variant(reductions[0], size, compiled=True) for size in tiles]
    return found


def initial_weights(runs: Sequence[RunConfig]) -> tuple[np.ndarray, ...]:
    """Our initial weights, with all networks side by side, so that rivals start from the same.

    Returns:
        Of the first layer the kernel of the task bits [N, U], the kernel of the control bits
        [S, U] and the bias [U]; of the second layer the kernel [U, 2] and the biases [R, 2].
    """
    each = [solo.named_weights(solo.init(run).weights) for run in runs]
    first = np.concatenate([named["layers.0.kernel"] for named in each], axis=1)
    n_tasks = runs[0].task.n_tasks
    return (
        first[n_tasks:],
        first[:n_tasks],
        np.concatenate([named["layers.0.bias"] for named in each]),
        np.concatenate([named["layers.1.kernel"] for named in each]),
        np.stack([named["layers.1.bias"] for named in each]),
    )
