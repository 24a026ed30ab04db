"""The reference algorithm for the parity task, written plainly in PyTorch (paper, section 2)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from jquanta.parity import solo
from jquanta.parity.config import RunConfig
from jquanta.parity.task import make_task

MEAN_POINTS = 1_000_000  # test points for the mean loss (paper, section 2)


class Reference:
    """One network trained as in the paper's code: one-hot inputs, and a loop over the subtasks.

    Args:
        run: the configuration of a network with one hidden layer, trained online.
        device: of torch.
        mean_points: test points for the mean loss, drawn with the frequencies of the subtasks.
    """

    def __init__(self, run: RunConfig, device: torch.device, mean_points: int = MEAN_POINTS):
        self.run, self.device, self.mean_points = run, device, mean_points
        task = make_task(run.task, run.train.seed)
        self.subsets = [subset.tolist() for subset in task.subsets]
        self.frequencies = torch.tensor(task.frequencies)
        first = nn.Linear(run.task.n_tasks + run.task.n_bits, run.network.width)
        last = nn.Linear(run.network.width, 2)
        named = solo.named_weights(solo.init(run).weights)
        with torch.no_grad():
            for place, layer in enumerate((first, last)):
                layer.weight.copy_(torch.tensor(named[f"layers.{place}.kernel"].T))
                layer.bias.copy_(torch.tensor(named[f"layers.{place}.bias"]))
        self.network = nn.Sequential(first, nn.ReLU(), last).to(device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=run.train.lr, weight_decay=run.train.weight_decay
        )
        self.criterion = nn.CrossEntropyLoss()

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw inputs [count, S + N] and labels [count], by the frequencies of the subtasks."""
        chosen = torch.multinomial(self.frequencies, count, replacement=True)
        return self.samples(dict(enumerate(torch.bincount(chosen).tolist())))

    def samples(self, counts: Mapping[int, int]) -> tuple[Tensor, Tensor]:
        """Draw inputs and labels with ``counts[s]`` samples of subtask s, sorted by subtask."""
        n_tasks, n_bits, total = len(self.subsets), self.run.task.n_bits, sum(counts.values())
        inputs = torch.zeros(total, n_tasks + n_bits, device=self.device)
        labels = torch.zeros(total, dtype=torch.int64, device=self.device)
        start = 0
        for subtask, count in counts.items():
            if count:
                end = start + count
                bits = torch.randint(0, 2, (count, n_bits), dtype=torch.float32, device=self.device)
                inputs[start:end, subtask] = 1
                inputs[start:end, n_tasks:] = bits
                labels[start:end] = bits[:, self.subsets[subtask]].sum(1).long() % 2
                start = end
        return inputs, labels

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """Make one update with a batch."""
        self.optimizer.zero_grad()
        self.criterion(self.network(inputs), labels).backward()
        self.optimizer.step()

    def train(self, n_steps: int) -> None:
        """Make ``n_steps`` updates, each with a new batch."""
        for _ in range(n_steps):
            self.step(*self.draw(self.run.batch_size))
        wait(self.device)

    @torch.no_grad()
    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Make both evaluations: ``mean_points`` for the mean, then the points of each subtask.

        Returns:
            Loss in nats and accuracy: [2] of the mean, and [S, 2] of the subtasks.
        """
        mean = self.measure(*self.draw(self.mean_points))
        points = self.run.eval.points_per_task
        subtasks = [
            self.measure(*self.samples({subtask: points})) for subtask in range(len(self.subsets))
        ]
        return np.array(mean), np.array(subtasks)

    def measure(self, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
        """Mean loss in nats, and accuracy."""
        logits = self.network(inputs)
        right = (logits.argmax(1) == labels).float().mean()
        return self.criterion(logits, labels).item(), right.item()


def wait(device: torch.device) -> None:
    """Wait until torch has finished on a device; kernels on a GPU run asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
