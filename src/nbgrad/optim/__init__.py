"""Optimizers and learning rate schedules."""

from nbgrad.optim import lr_scheduler
from nbgrad.optim.adamw import Adam, AdamW
from nbgrad.optim.optimizer import Optimizer
from nbgrad.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
