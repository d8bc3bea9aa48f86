"""How many trials were really different: a count beside N, for reading; N itself is judged.

1. Correlation of the trials' excess returns.
2. Spread of its eigenvalues: the number of independent trials that would vary as much.
3. Clusters: average linkage by correlation distance, cut where silhouettes are clearest.
4. Trials that are alike: copies of one another, for gates that count heads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.checks import flat_columns, returns_matrix
from pipelines.gates.errors import GateInputInvalid

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

MOST_CLUSTERED = 1200  # trials; the distance matrix of more takes long and tells no more
MOST_CLUSTERS = 40
ALIKE = 0.8  # correlation from which on a trial is a copy of another
AT_ONCE = 256  # trials whose correlations with all are computed together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Independence:
    """How many trials there are behind N correlated ones; constant trials count as none."""

    effective: float  # by the spread of eigenvalues, 1 to N
    clusters: int | None  # None when there are too many trials to cluster
    labels: Labels  # (N,), cluster of each trial from 0; -1 = constant, or not clustered


def independence(excess: ArrayLike) -> Independence:
    """Count independent trials among correlated ones.

    Args:
        excess: shape (T, N), per period, T >= 2. In T days no more than T independent trials can
            be told apart: N unrelated ones count as about N / (1 + N / T).

    Raises:
        GateInputInvalid: a value is not finite, or fewer than two days.

    Source: effective number, (sum l)^2 / sum l^2 over the eigenvalues l of the correlation matrix:
        Bretherton et al. (1999), "The Effective Number of Spatial Degrees of Freedom of a
        Time-Varying Field", Journal of Climate 12(7), 1990-2009, equation 5. Clusters: Lopez de
        Prado & Lewis (2019), "Detection of False Investment Strategies Using Unsupervised
        Learning Methods", Quantitative Finance 19(9), 1555-1565, whose k-means is replaced by
        average linkage, which needs no random start.
    """
    values = returns_matrix(excess, "excess returns")
    if values.shape[0] < 2:
        raise GateInputInvalid("correlations need two days or more, was given 1")
    moving = np.flatnonzero(~flat_columns(values))
    labels = np.full(values.shape[1], -1, dtype=np.int64)
    if moving.size == 0:
        return Independence(effective=0.0, clusters=0, labels=labels)
    standard = values[:, moving] - values[:, moving].mean(axis=0)
    standard /= np.sqrt((standard**2).sum(axis=0))
    days, trials = standard.shape
    gram = standard @ standard.T if days < trials else standard.T @ standard
    effective = trials**2 / float((gram**2).sum())  # both have the same eigenvalues but for zeros
    if trials > MOST_CLUSTERED:
        return Independence(effective=effective, clusters=None, labels=labels)
    correlation = gram if gram.shape[0] == trials and days >= trials else standard.T @ standard
    labels[moving] = cluster(np.clip(correlation, -1.0, 1.0))
    return Independence(effective=effective, clusters=int(labels.max()) + 1, labels=labels)


def cluster(correlation: Array) -> Labels:
    """Group trials by correlation, shape (N, N) to labels (N,) from 0 in order of appearance.

    The number of groups maximises mean over standard deviation of the silhouettes, from 2 to 40
    and below N. Two trials, or trials that are all copies, are told apart only if they correlate
    below one half.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    trials = len(correlation)
    distance = np.sqrt(np.maximum(0.5 * (1 - correlation), 0.0))
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0.0)
    if trials <= 2 or float(distance.max()) < 0.5:  # correlation above one half throughout
        apart = trials == 2 and float(distance.max()) >= 0.5
        return np.arange(trials) if apart else np.zeros(trials, dtype=np.int64)
    tree = linkage(squareform(distance, checks=False), "average")
    best, quality = np.zeros(trials, dtype=np.int64), -np.inf
    for count in range(2, min(MOST_CLUSTERS, trials - 1) + 1):
        labels = _in_order(fcluster(tree, count, criterion="maxclust"))
        silhouettes = _silhouettes(distance, labels)
        spread = float(silhouettes.std())
        score = float(silhouettes.mean()) / spread if spread > 1e-12 else -np.inf
        if score > quality:
            best, quality = labels, score
    return best


def alike(excess: ArrayLike) -> Labels:
    """Label trials that are near copies of one another, shape (T, N) to (N,), from 0.

    From the worst Sharpe ratio to the best, each trial that is not labelled yet gathers all others
    without a label that correlate by 0.8 or more with it: copies of poor trials, by which a rank
    could be bought, gather first. Trials that never move are alike.

    Raises:
        GateInputInvalid: a value is not finite.
    """
    values = returns_matrix(excess, "excess returns")
    still = flat_columns(values)
    standard = values - values.mean(axis=0)
    spread = np.sqrt((standard**2).sum(axis=0))
    standard /= np.where(still, 1.0, spread)
    moving = np.flatnonzero(~still)
    worst_first = moving[np.argsort(values.mean(axis=0)[moving] / spread[moving], kind="stable")]
    standard = standard.astype(np.float32)  # for one comparison, and half as long
    labels = np.full(values.shape[1], -1, dtype=np.int64)
    count = 0
    while (waiting := worst_first[labels[worst_first] < 0]).size:
        leaders = waiting[:AT_ONCE]
        near = standard[:, leaders].T @ standard >= ALIKE
        for leader, copies in zip(leaders, near, strict=True):
            if labels[leader] < 0:
                labels[(labels < 0) & copies] = count
                labels[leader] = count
                count += 1
    labels[still] = count
    return labels


def _silhouettes(distance: Array, labels: Labels) -> Array:
    """Rousseeuw's silhouette of each trial, shape (N,); 0 for one alone in its group."""
    member = np.eye(int(labels.max()) + 1)[labels]
    sizes = member.sum(axis=0)
    totals = distance @ member
    own = sizes[labels]
    inside = totals[np.arange(len(labels)), labels] / np.maximum(own - 1, 1)
    others = totals / sizes
    others[np.arange(len(labels)), labels] = np.inf
    outside = others.min(axis=1)
    widest = np.maximum(np.maximum(inside, outside), 1e-300)
    silhouettes: Array = np.where(own > 1, (outside - inside) / widest, 0.0)
    return silhouettes


def _in_order(labels: Labels) -> Labels:
    """Renumber groups from 0 in order of first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    renumbered: Labels = np.argsort(np.argsort(first))[inverse].astype(np.int64)
    return renumbered
