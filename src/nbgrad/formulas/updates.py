"""Optimizer steps as rows with several outputs: the new parameter and its new states.

`p` is the parameter and `g` its gradient; states bear the names they have in a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nbgrad.formulas.elementwise import abs_, maximum, sqrt
from nbgrad.formulas.expr import Expr, eq, select, var

UPDATES: dict[str, Update] = {}


@dataclass(frozen=True, eq=False)
class Update:
    """A step of one optimizer: `new` maps `p` and every state to its next value.

    `scalars` are run-time numbers, computed in Python in double precision, so that a new
    learning rate recompiles nothing.
    """

    name: str
    new: dict[str, Expr]
    scalars: tuple[str, ...]

    @cached_property
    def states(self) -> tuple[str, ...]:
        return tuple(n for n in self.new if n != "p")

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """The arrays a step reads, in the order a kernel takes them: those it writes come first."""
        return (*self.new, "g")


def update(name: str, scalars: str, **new: Expr) -> Update:
    made = UPDATES[name] = Update(name, new, tuple(scalars.split()))
    return made


p, g, lr, decay, sign = map(var, ("p", "g", "lr", "decay", "sign"))
# sign is -1 to climb; without weight decay an infinite parameter must not turn into NaN
descent = select(eq(decay, 0), sign * g, sign * g + decay * p)

# Momentum (Sutskever et al. 2013). The first buffer is the gradient: it starts at zero and the
# first step has keep = 1, later ones 1 - dampening.
mu, keep, momentum_buffer = map(var, ("mu", "keep", "momentum_buffer"))
velocity = mu * momentum_buffer + keep * descent

sgd = update("sgd", "lr decay sign", p=p - lr * descent)
sgd_momentum = update("sgd_momentum", "lr decay sign mu keep",
                      p=p - lr * velocity, momentum_buffer=velocity)
sgd_nesterov = update("sgd_nesterov", "lr decay sign mu keep",
                      p=p - lr * (descent + mu * velocity), momentum_buffer=velocity)

# Adam (Kingma & Ba 2015) with weight decay in the gradient (decay), AdamW (Loshchilov & Hutter
# 2019) with the parameter shrunk (shrink = 1 - lr * weight decay): one row, since each has the
# other's number at rest. With root = sqrt(1 - beta2^t), which undoes the bias of the square, the
# step lr / (1 - beta1^t) * first / (sqrt(spread) / root + eps) is taken with a division less:
# rate = lr * root / (1 - beta1^t), and floor = eps * root.
exp_avg, exp_avg_sq, max_exp_avg_sq = map(var, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))
beta1, gain1, beta2, gain2, rate, floor, shrink = map(
    var, ("beta1", "gain1", "beta2", "gain2", "rate", "floor", "shrink"))
first = beta1 * exp_avg + gain1 * descent
second = beta2 * exp_avg_sq + gain2 * (descent * descent)
highest = maximum(max_exp_avg_sq, second)
_numbers = "decay sign shrink beta1 gain1 beta2 gain2 rate floor"


def _stepped(spread: Expr) -> Expr:
    return p * shrink - rate * first / (sqrt(spread) + floor)


adam = update("adam", _numbers, p=_stepped(second), exp_avg=first, exp_avg_sq=second)
amsgrad = update("amsgrad", _numbers, p=_stepped(highest), exp_avg=first, exp_avg_sq=second,
                 max_exp_avg_sq=highest)

# RMSprop (Hinton 2012), centered by the running mean of the gradient (Graves 2013), with momentum
alpha, gain, eps = map(var, ("alpha", "gain", "eps"))
square_avg, grad_avg, acc_delta, exp_inf = map(
    var, ("square_avg", "grad_avg", "acc_delta", "exp_inf"))
_square = alpha * square_avg + gain * (descent * descent)
_mean = grad_avg + gain * (descent - grad_avg)
_scaled = descent / (sqrt(_square) + eps)
_centered = descent / (sqrt(_square - _mean * _mean) + eps)
_names = "decay sign lr alpha gain eps"


def _rolled(step: Expr) -> Expr:
    return mu * momentum_buffer + step


rmsprop = update("rmsprop", _names, p=p - lr * _scaled, square_avg=_square)
rmsprop_centered = update("rmsprop_centered", _names, p=p - lr * _centered, square_avg=_square,
                          grad_avg=_mean)
rmsprop_momentum = update("rmsprop_momentum", f"{_names} mu", p=p - lr * _rolled(_scaled),
                          square_avg=_square, momentum_buffer=_rolled(_scaled))
rmsprop_both = update("rmsprop_both", f"{_names} mu", p=p - lr * _rolled(_centered),
                      square_avg=_square, momentum_buffer=_rolled(_centered), grad_avg=_mean)

# Adagrad (Duchi et al. 2011); the state is called "sum" in a checkpoint
_total = var("sum") + descent * descent
adagrad = update("adagrad", "decay sign lr eps", p=p - lr * (descent / (sqrt(_total) + eps)),
                 sum=_total)

# Adadelta (Zeiler 2012)
_delta = sqrt(acc_delta + eps) / sqrt(_square + eps) * descent
adadelta = update("adadelta", _names, p=p - lr * _delta, square_avg=_square,
                  acc_delta=alpha * acc_delta + gain * (_delta * _delta))

# Adamax (Kingma & Ba 2015): the largest gradient in the place of the mean square
_largest = maximum(beta2 * exp_inf, abs_(descent) + eps)
_lerped = exp_avg + gain1 * (descent - exp_avg)
adamax = update("adamax", "decay sign gain1 beta2 rate eps", p=p - rate * (_lerped / _largest),
                exp_avg=_lerped, exp_inf=_largest)

# NAdam (Dozat 2016): a step with the gradient (now) and one with the coming momentum (next). RAdam
# (Liu et al. 2020): Adam's step with another rate, and without the spread while that is uncertain.
now, coming = map(var, ("now", "coming"))
nadam = update("nadam", "decay sign shrink gain1 beta2 gain2 now coming floor",
               p=p * shrink - (now * descent + coming * _lerped) / (sqrt(second) + floor),
               exp_avg=_lerped, exp_avg_sq=second)
radam = update("radam", "decay sign shrink gain1 beta2 gain2 rate floor",
               p=p * shrink - rate * _lerped / (sqrt(second) + floor), exp_avg=_lerped,
               exp_avg_sq=second)
radam_early = update("radam_early", "decay sign shrink gain1 beta2 gain2 rate floor",
                     p=p * shrink - rate * _lerped, exp_avg=_lerped, exp_avg_sq=second)
