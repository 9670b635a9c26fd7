"""Steps of the optimizers."""

import nbgrad
from nbgrad import nn, optim
from suites import SAMPLES

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=1e-4),
    "sgd_nesterov": lambda p: optim.SGD(p, lr=1e-4, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=1e-4),
    "adamw": lambda p: optim.AdamW(p, lr=1e-4),
}
SHAPES = {"many_small": [(64,)] * 200, "few_large": [(1000, 1000)] * 4}


class Optimizers:
    """200 parameters of 64 floats, or four of a million."""

    repeat = SAMPLES
    params = (["sgd", "sgd_nesterov", "adam", "adamw"], ["many_small", "few_large"])
    param_names = ["optimizer", "parameters"]

    def setup(self, optimizer, parameters):
        nbgrad.manual_seed(0)
        made = [nn.Parameter(nbgrad.rand(*shape)) for shape in SHAPES[parameters]]
        for p in made:
            p.grad = nbgrad.rand(*p.shape)
        self.optimizer = OPTIMIZERS[optimizer](made)
        self.time_step(optimizer, parameters)

    def time_step(self, optimizer, parameters):
        """One step of an optimizer whose states exist."""
        self.optimizer.step()
