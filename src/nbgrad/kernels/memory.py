"""Memory for results."""

import numpy as np

empty = np.empty
zeros = np.zeros
