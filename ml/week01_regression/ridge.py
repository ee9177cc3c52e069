"""Ridge regression: a penalty on the size of the weights, so that few examples cannot make large ones.

Idea.     minimise |y - b - X w|^2 + lambda |w|^2. The penalty trades a little bias for much less variance; it also
          makes the problem solvable when columns depend on each other. Written as a taller least-squares problem,
              [ X - mean(X)    ]       [ y - mean(y) ]
              [ sqrt(lambda) I ] w  ~  [ 0           ],
          it is solved by the same QR as before.
Why the intercept is free: shifting y by a constant should shift the answer by it, and change no weight.
Source.   Hoerl & Kennard 1970. It is the mode of the posterior under a normal prior on w: weight decay in week 2.
Left out. Choosing lambda in closed form (generalised cross-validation).
"""

from __future__ import annotations

import numpy as np

from ml.week01_regression.data import Floats, check
from ml.week01_regression.linear import Linear


def fit_ridge(x: Floats, y: Floats, penalty: float) -> Linear:
    """x (n, d), y (n,). ``penalty`` is lambda >= 0 on the *sum* of squares (scikit-learn's alpha). Raises ValueError.

    Standardise x first: a weight per kilometre is a thousand times that per metre, and would pay a million times more.
    """
    check(x, y)
    if not penalty > 0:
        raise ValueError(f"Ridge needs a penalty above zero, not {penalty:g}; without one it is linear.fit_qr.")
    middle, level = x.mean(axis=0), y.mean()  # (d,), ()
    d = x.shape[1]
    a = np.vstack([x - middle, np.sqrt(penalty) * np.eye(d)])  # (n + d, d)
    target = np.concatenate([y - level, np.zeros(d)])  # (n + d,)   the added rows ask each weight to be zero
    q, r = np.linalg.qr(a)  # (n + d, d), (d, d)
    weights = np.linalg.solve(r, q.T @ target)  # (d,)   R w = Q'target
    return Linear(float(level - middle @ weights), weights)  # centring put b at mean(y) - mean(x) w


def shrinkage(x: Floats, penalty: float) -> Floats:
    """The factors s_i^2 / (s_i^2 + lambda), (d,), by which ridge shrinks the fit along each principal direction.

    s_i are the singular values of the centred x. Directions in which the data hardly vary (small s_i) are shrunk most:
    there least squares would have to guess. Their sum is the *effective number of parameters*.
    """
    check(x)
    s = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)  # (d,)
    return s**2 / (s**2 + penalty)  # (d,)
