# %% [markdown]
# # Week 2: neural networks and optimisation
#
# A network is a long expression with many numbers in it that we may choose. Training needs one thing from that
# expression: how its value moves when each of those numbers moves. This notebook goes from one derivative to a network
# that learns, with the lesson's own modules. Open them beside it, in the order of the README.

# %%
from ml.lesson import style_figures

style_figures()

import matplotlib.pyplot as plt
import numpy as np

from ml.week02_networks import comparison, figures
from ml.week02_networks.activations import cross_entropy, gelu, relu, sigmoid, softmax, tanh
from ml.week02_networks.exercises import naive_cross_entropy
from ml.week02_networks.gradient_check import numeric_gradient
from ml.week02_networks.initialisation import INITIALISERS, signal_through_depth
from ml.week02_networks.mlp import mlp
from ml.week02_networks.optimisers import AdamW
from ml.week02_networks.schedules import Scheduler, cosine, warm_up
from ml.week02_networks.tensor import Tensor

# %% [markdown]
# ## One derivative
#
# `z = x·y + x²` at (3, -2). By hand: dz/dx = y + 2x = 4 and dz/dy = x = 3. Note that x is used twice: two paths lead
# from it to z, and their gradients add up.

# %%
x, y = Tensor(3.0, requires_grad=True), Tensor(-2.0, requires_grad=True)
z = x * y + x**2
z.backward()
print("z =", float(z.data), "  dz/dx =", float(x.grad), "  dz/dy =", float(y.grad))

# %% [markdown]
# The same for a layer. The bias of shape (3,) is added to each of 4 rows, so it receives the sum of 4 gradients; that
# is all there is to broadcasting. Central differences, which know nothing of our derivations, agree.

# %%
rng = np.random.default_rng(0)
inputs, labels = rng.normal(size=(4, 5)), np.array([0, 2, 1, 2])  # (4, 5), (4,)
weight = Tensor(rng.normal(size=(5, 3)), requires_grad=True)  # (5, 3)
bias = Tensor(np.zeros(3), requires_grad=True)  # (3,)
cross_entropy(Tensor(inputs) @ weight + bias, labels).backward()


def loss_at(values):
    return float(cross_entropy(Tensor(inputs) @ weight.data + Tensor(values), labels).data)


print("autograd   ", bias.grad)
print("differences", numeric_gradient(loss_at, bias.data))

# %% [markdown]
# ## Activations
#
# What matters for depth is the slope, since the gradient is multiplied by it at every layer. The sigmoid's is at most
# 1/4: ten of them alone shrink a gradient by a factor of a million or more.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
points = np.linspace(-4, 4, 201)  # (201,)
for function in (sigmoid, tanh, relu, gelu):
    tensor = Tensor(points, requires_grad=True)
    values = function(tensor)
    values.sum().backward()
    axes[0].plot(points, values.data, label=function.__name__)
    axes[1].plot(points, tensor.grad, label=function.__name__)
axes[0].set(title="Activations", xlabel="x", ylabel="f(x)", ylim=(-1.2, 3))
axes[1].set(title="Their slopes, by autograd", xlabel="x", ylabel="f '(x)")
axes[0].legend()
plt.show()

# %% [markdown]
# And what matters for losses is that they survive large numbers. The formula on paper takes the logarithm of a
# probability that has rounded to 0; the stable form never computes that probability.

# %%
sure_and_wrong = Tensor(np.array([[0.0, 200.0]], dtype=np.float32))  # (1, 2)
with np.errstate(divide="ignore"):
    print("on paper:", float(naive_cross_entropy(sure_and_wrong, np.array([0])).data))
print("stable:  ", float(cross_entropy(sure_and_wrong, np.array([0])).data))

# %% [markdown]
# ## The first weights
#
# A signal through 30 layers, nothing trained yet. The straight lines on the logarithmic axis are powers: each layer
# multiplies by the same factor, and only He's rule with ReLU makes it 1. With tanh, weights of N(0, 1) look fine going
# forward, since saturated units stay at ±1. The gradients below tell the truth.

# %%
signals = {
    name: {
        key: signal_through_depth(draw, function, np.random.default_rng(0), width=128, batch=64)
        for key, draw in INITIALISERS.items()
    }
    for name, function in (("tanh", tanh), ("ReLU", relu))
}
figures.initialisation_figure(signals)
plt.show()

# %% [markdown]
# ## Walking downhill
#
# Plain descent must choose a step that does not bounce off the valley's walls, and then creeps along its floor.
# Momentum adds up what is steady (the floor) and cancels what alternates (the walls). The table shows how narrow the
# range of good rates is for the first three: half a power of ten too far and they run away. Dividing by the size of the
# gradient, as the last three do, makes that cliff a slope.

# %%
print("Height after 200 steps, by learning rate")
print(" " * 12 + "".join(f"{rate:>10.2g}" for rate in comparison.RATES[2:]))
for name in comparison.OPTIMISERS:
    walks = [comparison.walk_valley(name, rate, 200) for rate in comparison.RATES[2:]]
    cells = [f"{walk.losses[-1]:>10.1e}" if len(walk.losses) == 200 else "      away" for walk in walks]
    print(f"{name:<12}" + "".join(cells))

# %% [markdown]
# ## A network bends space
#
# Two interleaved spirals cannot be told apart by a straight line. Two hidden layers of 32 units can bend the plane
# until they can. The loop is the whole of training: forward, backward, step.

# %%
angle = np.sqrt(rng.uniform(0.05, 1, 400)) * 3 * np.pi  # (400,)
spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 9  # (400, 2)
points = np.concatenate([spiral, -spiral]) + rng.normal(0, 0.03, (800, 2))  # (800, 2)
points, classes = points.astype(np.float32), np.repeat([0, 1], 400)  # (800, 2), (800,)

network = mlp((2, 32, 32, 2), rng, activation=tanh)
optimiser = AdamW(network.parameters(), lr=0.03, weight_decay=1e-3)
scheduler = Scheduler(optimiser, warm_up(20, cosine(580)))
for step in range(600):
    loss = cross_entropy(network(Tensor(points)), classes)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    scheduler.step()
    if step % 150 == 0 or step == 599:
        print(f"step {step:3}: loss {float(loss.data):.4f} nats, learning rate {optimiser.lr:.4f}")

# %%
grid = np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 150), np.linspace(-1.2, 1.2, 150)), axis=-1)  # (150, 150, 2)
scores = network(Tensor(grid.reshape(-1, 2).astype(np.float32)))  # (22500, 2)
probability = softmax(scores).data[:, 1].reshape(150, 150)  # (150, 150)
figure, axis = plt.subplots(figsize=(4.8, 4))
shades = axis.contourf(grid[..., 0], grid[..., 1], probability, levels=11, cmap="Greys", alpha=0.7)
for label, marker in ((0, "o"), (1, "^")):
    axis.plot(*points[classes == label].T, marker, markersize=2.5, linestyle="none", label=f"spiral {label}")
axis.set(title="What the network made of it", xlabel="x", ylabel="y")
axis.legend(loc="upper right", frameon=True, fontsize=8)
figure.colorbar(shades, label="probability of spiral 1")
plt.show()

# %% [markdown]
# ## And MNIST
#
# `python -m ml.week02_networks.experiment` trains the same program on 55,000 digits, beside two PyTorch networks by the
# same recipe. The README has what to expect of it. Read `training.py` and `mnist_torch.py` side by side first: after
# this notebook, nothing in either should be magic.
