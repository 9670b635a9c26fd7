"""Learn to tell the arms of a spiral apart: autograd without modules, in 40 lines with types."""

from __future__ import annotations

import nbgrad as torch
from nbgrad import Tensor


def spiral(points: int, arms: int) -> tuple[Tensor, Tensor]:
    """Points (points * arms, 2) on the arms of a spiral, and the arm of each."""
    radius = torch.linspace(0.1, 1.0, points).repeat(arms)
    arm = torch.arange(arms).unsqueeze(1).expand(arms, points).reshape(-1)
    angle = 4 * radius + arm * (2 * torch.pi / arms) + 0.1 * torch.randn(points * arms)
    return torch.stack([radius * angle.sin(), radius * angle.cos()], 1), arm


def layer(inputs: int, outputs: int) -> list[Tensor]:
    """A weight and a bias that want gradients."""
    weight = (torch.randn(inputs, outputs) * (2 / inputs) ** 0.5).requires_grad_()
    return [weight, torch.zeros(outputs, requires_grad=True)]


def scores(x: Tensor, params: list[Tensor]) -> Tensor:
    """Two layers: (N, 2) to (N, arms)."""
    w1, b1, w2, b2 = params
    return torch.relu(x @ w1 + b1) @ w2 + b2


def train(steps: int = 300, arms: int = 3) -> float:
    """Gradient descent; returns the share of points put on the right arm."""
    torch.manual_seed(0)
    x, arm = spiral(100, arms)
    params = layer(2, 64) + layer(64, arms)
    for _ in range(steps):
        picked = torch.log_softmax(scores(x, params), 1).gather(1, arm.unsqueeze(1))
        loss = -picked.mean()
        loss.backward()
        with torch.no_grad():
            for p in params:
                assert p.grad is not None
                p -= p.grad
                p.grad = None
    return float((scores(x, params).argmax(1) == arm).float().mean())


if __name__ == "__main__":
    print(f"{train():.1%} of the points are on the right arm")
