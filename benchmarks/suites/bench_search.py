"""Places among sorted boundaries, and distinct entries."""

import nbgrad
from suites import SAMPLES


class Search:
    """100,000 numbers, 1,000 boundaries."""

    repeat = SAMPLES

    def setup(self):
        nbgrad.manual_seed(0)
        self.x, self.bounds = nbgrad.rand(100_000), nbgrad.rand(1000).sort()[0]
        self.labels = nbgrad.randint(0, 1000, (100_000,))
        self.time_searchsorted()
        self.time_unique()

    def time_searchsorted(self):
        """The place of every number."""
        nbgrad.searchsorted(self.bounds, self.x)

    def time_unique(self):
        """The distinct ones of 100,000 labels."""
        nbgrad.unique(self.labels)
