"""Optimizers and learning rate schedules."""

from nbgrad.optim import lr_scheduler
from nbgrad.optim.adadelta import Adadelta
from nbgrad.optim.adagrad import Adagrad
from nbgrad.optim.adamax import Adamax
from nbgrad.optim.adamw import Adam, AdamW
from nbgrad.optim.nadam import NAdam
from nbgrad.optim.optimizer import Optimizer
from nbgrad.optim.radam import RAdam
from nbgrad.optim.rmsprop import RMSprop
from nbgrad.optim.sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam",
           "RMSprop", "lr_scheduler"]
