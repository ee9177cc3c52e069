"""GPTQ: quantise one column at a time, and let the columns that are left make up for each rounding error.

Round-to-nearest minimises the error of each *weight*. What matters is the error of the layer's *output* on the inputs
it really sees, ``||X W^T - X W'^T||^2``. Its curvature in every row of W is the same matrix ``H = 2 X^T X``, so
rounding column j leaves an error that correlated columns can still absorb. The optimal correction is a closed form
(the optimal brain surgeon's): after weight j becomes q_j, every later weight moves by

    w_rest -= (w_j - q_j) / [H^-1]_jj * [H^-1]_j,rest

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022.
Theirs and kept here: all rows in the same column order, the rows of H^-1 of the shrinking problem read from one
Cholesky factor, and updates kept inside a block until the block is done. Left out: ordering columns by activation size
("act-order"), and feeding each layer the outputs of the already quantised layers before it; here all inputs come from
the full model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml.week08_serving.quantise import PER_CHANNEL, Quantised, scales, to_codes

BLOCK = 64  # columns that are finished before the rest of the matrix is touched


def gptq(
    weight: Tensor,
    hessian: Tensor,
    bits: int = 4,
    sharing: str | int = 32,
    symmetric: bool = True,
    damping: float = 0.01,
) -> Quantised:
    """Quantise ``weight`` (O, I) for inputs with second moment ``hessian`` (I, I), X^T X up to a factor.

    ``damping`` is added to the diagonal as a share of its mean: directions the calibration text never showed would
    otherwise have no curvature, and any error could be pushed into them. Raises ValueError on shapes that do not fit.
    """
    outputs, inputs = weight.shape
    if hessian.shape != (inputs, inputs):
        raise ValueError(f"hessian must be {inputs} by {inputs}, not {tuple(hessian.shape)}.")
    width = inputs if sharing == PER_CHANNEL else sharing
    if not isinstance(width, int) or inputs % width:
        raise ValueError(f"sharing must be 'channel' or a divisor of {inputs}, not {sharing!r}.")
    weight = weight.detach().float().clone()  # (O, I), changed in place below
    factor = inverse_factor(hessian, damping)  # (I, I), upper triangular
    codes = torch.zeros(outputs, inputs, dtype=torch.int8 if symmetric else torch.uint8)  # (O, I)
    scale, zero = scales(weight, bits, sharing, symmetric)  # (O, G, 1): settled from the original weights
    zeros = torch.zeros_like(scale) if zero is None else zero  # (O, G, 1)
    for start in range(0, inputs, BLOCK):
        stop = min(start + BLOCK, inputs)
        errors = torch.zeros(outputs, stop - start)  # (O, b)
        for column in range(start, stop):
            s, z = scale[:, column // width, 0], zeros[:, column // width, 0]  # (O,) each
            code = to_codes(weight[:, column], s, None if zero is None else z, bits)  # (O,)
            codes[:, column] = code
            # e_j = (w_j - q_j) / U_jj, then w_k -= e_j U_jk for the columns k > j of this block
            error = (weight[:, column] - s * (code - z)) / factor[column, column]  # (O,)
            weight[:, column:stop] -= error[:, None] * factor[column, column:stop]  # (O, stop - column)
            errors[:, column - start] = error
        # The rest of the matrix hears of the whole block at once: one matrix product in place of b outer products.
        weight[:, stop:] -= errors @ factor[start:stop, stop:]  # (O, I - stop)
    return Quantised(codes, scale, zero, bits)


def inverse_factor(hessian: Tensor, damping: float) -> Tensor:
    """The upper Cholesky factor U with U^T U = (H + damping)^-1, (I, I) float32.

    Row j of U, divided by U_jj, is row j of the inverse of H restricted to columns j and later, also divided by its
    own diagonal: everything the column loop needs, computed once instead of one inverse per column.
    """
    hessian = hessian.double()  # (I, I): the inverse loses about as many digits as H's condition number has
    mean = hessian.diagonal().mean().clamp(min=1e-12)
    hessian = hessian + damping * mean * torch.eye(len(hessian), dtype=torch.float64)  # (I, I)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))  # (I, I)
    return torch.linalg.cholesky(inverse, upper=True).float()  # (I, I)


@torch.no_grad()
def collect_hessians(model: nn.Module, names: list[str], batches: list[Tensor]) -> dict[str, Tensor]:
    """Run the calibration ``batches`` of ids (B, T) and sum X^T X at the input of each named linear layer.

    Returns {name: (I, I)}. The hooks are removed again, whatever happens.
    """
    sums: dict[str, Tensor] = {}
    handles = []

    def watch(name: str):
        def hook(_layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs = arguments[0].reshape(-1, arguments[0].shape[-1])  # (B·T, I)
            sums[name] = sums.get(name, 0) + inputs.T @ inputs  # (I, I)

        return hook

    modules = dict(model.named_modules())
    try:
        handles += [modules[name].register_forward_pre_hook(watch(name)) for name in names]
        for batch in batches:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return sums


def output_error(weight: Tensor, quantised: Quantised, hessian: Tensor) -> float:
    """The layer's relative output error, ||X (W - W')^T|| / ||X W^T||, from X^T X alone.

    ||X D^T||^2 = trace(D X^T X D^T), so the calibration inputs need not be kept.
    """
    weight = weight.detach().float()  # (O, I)
    lost = weight - quantised.dequantise()  # (O, I)
    return float((((lost @ hessian) * lost).sum() / ((weight @ hessian) * weight).sum()).sqrt())
