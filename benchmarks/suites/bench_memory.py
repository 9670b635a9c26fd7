"""Most memory of a process: of the import alone, and of long chains on 4 MB."""

import nbgrad

LENGTH = 20


class Memory:
    """The peak includes the interpreter and the compiler."""

    def chain(self):
        self.x = nbgrad.ones(1_000_000, requires_grad=True)
        y = self.x
        for _ in range(LENGTH):
            y = y.tanh()
        return y

    def peakmem_import(self):
        """Most memory of a process that imports nbgrad and does nothing."""

    def peakmem_chain_no_grad(self):
        """Most memory of a process that takes tanh of 4 MB 20 times, not recorded."""
        with nbgrad.no_grad():
            self.chain()

    def peakmem_chain_backward(self):
        """Most memory of a process that takes tanh of 4 MB 20 times, and the gradient."""
        self.chain().sum().backward()
