"""Consensus clusters: groups of samples that many clusterings put together, whatever their number
of clusters and seed. No number of clusters is given, and samples may be in no group.

Of C clusterings, M_ij is the share in which the samples i and j are together (evidence
accumulation: Fred and Jain, 2005; consensus clustering: Monti et al., 2003; ensembles: Strehl and
Ghosh, 2002). Average linkage on 1 - M makes a tree. To cut it at one height would choose one number
of clusters after all: if the clusterings were nested, what is together in most of them is the
clustering of the median count. Instead each branch is cut by itself, where it lasts longest. A
group that begins as the tree splits at the height b, and whose samples leave it at the heights
l_i ≤ b as it is split further, has the *mass* Σ_i (b - l_i), samples × share of clusterings; those
groups are taken that share no sample and whose mass together is largest (excess of mass: Hartigan,
1987; Campello et al., 2015). Samples that leave a group early are in none (``HALF``).

Shapes: Q samples, ``clusterings``, ``pairs`` Q (Q - 1) / 2, K groups.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.qdg.clusters.cluster import ranked

LARGEST = 20_000
"""Samples at most. All pairs are held twice, in 8 Q² bytes: 3.2 GB of as many."""

HALF = 0.5
"""A sample that stays in a group for less than this share of the mean over its samples is in none:
it hangs on to what it is least unlike."""

NONE = -1
"""The label of samples in no group."""


def consensus_labels(labels: Int[np.ndarray, "*shape"], least: int = 4) -> Int32[np.ndarray, " Q"]:
    """The groups that the clusterings agree on.

    Args:
        labels: [clusterings, Q] cluster of each sample, by any numbers.
        least: samples of a group, 2 or more.

    Returns:
        0 for the largest group, -1 (``NONE``) for samples in none.

    Raises:
        BadInput: for labels of another shape, fewer than 2 samples or more than ``LARGEST``, or
            ``least`` below 2.
    """
    rows = unmasked(labels, "labels")
    if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2:
        raise BadInput(
            f"labels have shape {rows.shape}: give clusterings × samples, at least 1 × 2"
        )
    if rows.shape[1] > LARGEST:
        raise BadInput(
            f"{rows.shape[1]:,} samples: consensus takes up to {LARGEST:,}, all pairs of which are "
            "in memory; give local clusters (--by local), or cluster fewer samples"
        )
    if least < 2:
        raise BadInput(f"least = {least}: give 2 samples or more")
    tree = linkage(apart(rows), "average")
    return groups_of(tree, least)


def apart(labels: Int[np.ndarray, "clusterings Q"]) -> Float64[np.ndarray, " pairs"]:
    """1 - M of all pairs, in the order of ``scipy.spatial.distance.pdist``."""
    return np.asarray(pdist(labels.T.astype(np.float64), "hamming"))


def groups_of(
    tree: Float64[np.ndarray, "merges 4"], least: int, share: float = HALF
) -> Int32[np.ndarray, " Q"]:
    """The groups of a tree that share no sample and have the largest mass together.

    A branch splits where both parts have at least ``least`` samples. Of any other merge the smaller
    part leaves the group at the height of the merge.

    Args:
        tree: as of ``scipy.cluster.hierarchy.linkage``, heights from 0 to 1.
        least: samples of a group.
        share: of the mean over its samples for which a sample must stay in a group.

    Returns:
        As ``consensus_labels``.
    """
    merges, samples = len(tree), len(tree) + 1
    one, other = tree[:, 0].astype(int), tree[:, 1].astype(int)
    height = tree[:, 2]
    size = np.append(np.ones(samples, int), tree[:, 3].astype(int))
    big = size >= least
    splits = big[one] & big[other]
    # Of each node: the sum over its samples of the heights at which they leave the group that it is
    # the top of, and the largest mass of groups below where that group splits.
    leave, below = np.zeros(samples + merges), np.zeros(samples + merges)
    for merge in range(merges):  # parts come before what is made of them
        node, parts = samples + merge, (one[merge], other[merge])
        if splits[merge]:
            leave[node] = size[node] * height[merge]
            below[node] = sum(
                max(size[part] * height[merge] - leave[part], below[part]) for part in parts
            )
            continue
        small, large = sorted(parts, key=lambda part: size[part])
        if big[large]:
            leave[node] = leave[large] + size[small] * height[merge]
            below[node] = below[large]
        else:
            leave[node] = size[node] * height[merge]
    label = np.full(samples, NONE, np.int32)
    waiting = [(samples + merges - 1, 1.0)]  # nodes with the height at which they begin
    while waiting:
        node, begins = waiting.pop()
        mass = size[node] * begins - leave[node]
        # Parts that begin and end at the same height, as of samples that are never together.
        if not big[node] or max(mass, below[node]) <= 0:
            continue
        if mass >= below[node]:
            members, leaves = _leaving(node, tree, big)
            stays = begins - leaves
            members = members[stays >= share * stays.mean()]
            if len(members) >= least:
                label[members] = node
            continue
        while not splits[node - samples]:  # what leaves on the way down is in no group
            parts = one[node - samples], other[node - samples]
            node = max(parts, key=lambda part: size[part])
        at = node - samples
        waiting += [(int(one[at]), height[at]), (int(other[at]), height[at])]
    return numbered(label)


def _leaving(
    node: int, tree: Float64[np.ndarray, "merges 4"], big: Bool[np.ndarray, " nodes"]
) -> tuple[Int[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """The samples of the group that a node is the top of, and the heights at which they leave."""
    samples = len(tree) + 1
    one, other = tree[:, 0].astype(int), tree[:, 1].astype(int)
    found: list[int] = []
    leaves: list[float] = []
    while True:
        merge = node - samples
        first, second = int(one[merge]), int(other[merge])
        # Where one part alone is big, the group goes on in it; else it ends here.
        ends = bool(big[first] == big[second])
        small, large = (second, first) if big[first] else (first, second)
        leaving = _samples(node if ends else small, one, other)
        found += leaving
        leaves += [float(tree[merge, 2])] * len(leaving)
        if ends:
            return np.array(found), np.array(leaves)
        node = large


def _samples(node: int, one: Int[np.ndarray, " m"], other: Int[np.ndarray, " m"]) -> list[int]:
    """The samples below a node."""
    found, waiting = [], [node]
    while waiting:
        node = waiting.pop()
        if node <= len(one):
            found.append(node)
        else:
            waiting += [int(one[node - len(one) - 1]), int(other[node - len(one) - 1])]
    return found


def numbered(label: Int[np.ndarray, " Q"]) -> Int32[np.ndarray, " Q"]:
    """Labels of groups by size, 0 for the largest; negative ones become -1."""
    found = np.full(len(label), NONE, np.int32)
    inside = label >= 0
    if inside.any():
        found[inside] = ranked(label[inside])
    return found


def kept(label: Int[np.ndarray, " Q"], keep: Bool[np.ndarray, " K"]) -> Int32[np.ndarray, " Q"]:
    """Some of the groups, numbered anew; the samples of others are in none."""
    wanted = (label >= 0) & np.append(keep, False)[label]
    return numbered(np.where(wanted, label, NONE))


def agreement_of(
    labels: Int[np.ndarray, "clusterings Q"], label: Int[np.ndarray, " Q"]
) -> Float64[np.ndarray, " Q"]:
    """The consensus of each sample: its mean M with the others of its group; NaN in none.

    Args:
        labels: of the clusterings.
        label: groups, -1 for samples in none.
    """
    found = np.full(label.shape, np.nan)
    for group in range(label.max(initial=NONE) + 1):
        members = np.flatnonzero(label == group)
        # How often each sample is together with another one: the size of its cluster within the
        # group, less itself.
        together = np.zeros(len(members))
        for row in labels[:, members]:
            _, number, size = np.unique(row, return_inverse=True, return_counts=True)
            together += size[number] - 1
        found[members] = together / (len(labels) * max(1, len(members) - 1))
    return found
