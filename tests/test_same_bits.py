"""A training run gives the same weights, to the bit, on any number of threads and every time."""

import os
import subprocess
import sys

TRAINING = '''
import hashlib
import nbgrad as torch
from nbgrad import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.GELU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.Dropout(0.1), nn.AvgPool2d(2),
    nn.Flatten(), nn.LayerNorm(64 * 8 * 8), nn.Linear(64 * 8 * 8, 300), nn.Tanh(),
    nn.Linear(300, 10))
first, second = list(model.parameters())[:4], list(model.parameters())[4:]
optimizers = torch.optim.SGD(first, lr=0.1, momentum=0.9), torch.optim.AdamW(second, lr=1e-3)
for step in range(3):
    images, labels = torch.randn(16, 3, 64, 64), torch.randint(0, 10, (16,))
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
digest = hashlib.sha256()
for value in model.state_dict().values():
    digest.update(value.numpy().tobytes())
print(torch.get_num_threads(), digest.hexdigest())
'''


def trained(threads: int) -> tuple[int, str]:
    """The number of threads a fresh process trained with, and the hash of the weights."""
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True,
                          env={**os.environ, "NUMBA_NUM_THREADS": str(threads)})
    count, digest = done.stdout.split()
    return int(count), digest


def test_any_number_of_threads_and_every_run():
    runs = [trained(threads) for threads in (1, 2, 4, 4)]
    assert [count for count, _ in runs] == [1, 2, 4, 4]
    assert len({digest for _, digest in runs}) == 1
