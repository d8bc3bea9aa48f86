"""Price impact by the square-root law: what a trade of some size adds to its own cost."""

from runtime.bundles.inputs import Array
from runtime.errors import OrderInvalid


def square_root_impact(
    participation: Array | float, daily_volatility: Array | float, *, coefficient: float = 1.0
) -> Array:
    """Return the fraction by which a trade moves its own average price against itself.

        impact = coefficient * sigma * sqrt(Q / V)

    It depends on the state of the market: a name that moves twice as much costs twice as much.

    Args:
        participation: Q / V, traded notional over the notional that trades in a day, >= 0.
        daily_volatility: sigma, standard deviation of daily returns, a fraction, same shape.
        coefficient: of order one in every published fit; 0 turns impact off.

    Returns:
        Fractions of the price, same shape, >= 0.

    Raises:
        OrderInvalid: a negative or non-finite argument.

    Source: Toth et al. (2011), "Anomalous price impact and the critical nature of liquidity in
        financial markets", Physical Review X 1, 021006, equation 1.
    """
    import numpy as np

    part, sigma = np.asarray(participation, np.float64), np.asarray(daily_volatility, np.float64)
    for name, values in (("participation", part), ("volatility", sigma)):
        if not (np.isfinite(values).all() and (values >= 0.0).all()):
            raise OrderInvalid(f"impact needs finite {name} of at least zero, was {values}")
    return np.asarray(coefficient * sigma * np.sqrt(part), dtype=np.float64)
