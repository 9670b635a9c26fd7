"""The allocator, on a machine that runs out of memory and whose work is done when the test says so."""

import gc
import random
import threading
from itertools import pairwise

import numpy as np
import pytest

import nbgrad
from nbgrad.errors import OutOfMemoryError
from nbgrad.kernels.cuda import host, memory
from nbgrad.kernels.cuda.allocator import LARGE_SEGMENT, SMALL_SEGMENT, Allocator, rounded

MiB = 1 << 20


class Machine:
    """So many bytes; events are reached once their number is in `done`."""

    def __init__(self, size=1 << 30):
        self.size, self.held, self.freed, self.stream = size, {}, [], 0
        self.events, self.done, self.next = {}, set(), 4096
        self.everything = False

    def allocate(self, nbytes):
        if sum(self.held.values()) + nbytes > self.size:
            raise OutOfMemoryError("CUDA out of memory")
        ptr, self.next = self.next, self.next + nbytes + 4096
        self.held[ptr] = nbytes
        return ptr

    def free(self, ptr):
        self.freed.append(ptr)
        del self.held[ptr]

    def memory(self):
        return self.size - sum(self.held.values()), self.size

    def make_event(self, timing=False):
        self.events[len(self.events)] = None
        return len(self.events) - 1

    def record(self, event, stream):
        self.events[event] = stream

    def reached(self, event):
        return event in self.done

    def drop_event(self, event):
        self.done.discard(event)

    def synchronize(self, stream=None):
        self.done.update(self.events)


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def blocks(machine):
    return Allocator(machine)


def apart(lent):
    """Whether no two blocks overlap."""
    spans = sorted((b.ptr, b.ptr + b.piece.size) for b in lent)
    return all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("n", [0, 1, 512, 513, 4096, 5000, MiB, MiB + 1, 100 * MiB + 3, 10**10 + 1])
def test_a_block_is_large_enough_and_little_larger(n):
    assert n <= rounded(n) <= max(512, n * 9 / 8 + 512) and rounded(n) % 512 == 0
    assert rounded(rounded(n)) == rounded(n)


def test_the_same_block_is_lent_again_on_its_stream(blocks, machine):
    first = blocks.lend(3 * MiB)
    ptr = first.ptr
    del first
    blocks.settle()
    machine.stream = 7
    other = blocks.lend(3 * MiB)
    machine.stream = 0
    assert other.ptr != ptr and blocks.lend(3 * MiB).ptr == ptr


def test_small_blocks_share_a_segment_and_large_ones_have_their_own(blocks, machine):
    small = [blocks.lend(1000) for _ in range(100)]
    assert list(machine.held.values()) == [SMALL_SEGMENT] and apart(small)
    large = [blocks.lend(3 * MiB) for _ in range(6)]
    assert sorted(machine.held.values()) == [SMALL_SEGMENT, LARGE_SEGMENT] and apart(small + large)
    huge = blocks.lend(64 * MiB)
    assert huge.piece.size == machine.held[huge.ptr] == 64 * MiB


def test_free_neighbours_are_joined_for_a_larger_block(blocks, machine):
    parts = [blocks.lend(3 * MiB) for _ in range(6)]
    start = min(p.ptr for p in parts)
    del parts[1:4]
    middle = blocks.lend(9 * MiB)
    assert len(machine.held) == 1 and middle.ptr == start + 3 * MiB and apart([*parts, middle])
    del parts, middle
    assert blocks.lend(LARGE_SEGMENT).ptr == start and len(machine.held) == 1


def test_odd_sizes_do_not_hold_everything():
    blocks = Allocator(Machine(100 * MiB))
    for n in range(20, 90, 3):  # each too large for what the one before left
        lent = blocks.lend(n * MiB)
        assert lent.piece.size >= n * MiB
        del lent
    assert blocks.failures == 0 and blocks.retries > 0


def test_out_of_memory_empties_the_cache_and_retries_then_says_so():
    machine = Machine(64 * MiB)
    blocks = Allocator(machine)
    kept = blocks.lend(16 * MiB)
    blocks.lend(40 * MiB)
    assert blocks.reserved.now == 56 * MiB
    second = blocks.lend(44 * MiB)  # only once the 40 have been given back
    assert blocks.retries == 1 and len(machine.freed) == 1
    with pytest.raises(OutOfMemoryError, match=r"CUDA out of memory\. Tried to allocate 8\.00 MiB\. "
                       r"GPU 0 has a total capacity of 64\.00 MiB of which 4\.00 MiB is free"):
        blocks.lend(8 * MiB)
    del second
    assert blocks.lend(8 * MiB) and kept.piece.size == 16 * MiB
    assert blocks.stats()["num_ooms"] == 1 and blocks.stats()["num_alloc_retries"] == 2


def test_segments_in_use_are_never_given_back(blocks, machine):
    lent = [blocks.lend(3 * MiB) for _ in range(6)]
    del lent[1:]
    blocks.empty_cache()
    assert len(machine.held) == 1 and blocks.reserved.now == LARGE_SEGMENT
    lent.clear()
    blocks.empty_cache()
    assert not machine.held and blocks.reserved.now == blocks.bytes.now == 0


def test_a_block_that_another_stream_used_waits_for_it(blocks, machine):
    lent = blocks.lend(2000)
    ptr = lent.ptr
    blocks.record(lent, 5)
    blocks.record(lent, 0)  # its own needs no waiting
    del lent
    second = blocks.lend(2000)
    assert second.ptr != ptr and machine.events == {0: 5}
    assert blocks.stats()["active_bytes.all.current"] == blocks.bytes.now + 2048
    machine.done.add(0)
    assert blocks.lend(2000).ptr == ptr


def test_a_block_of_a_side_stream_that_ends_under_another_waits(blocks, machine):
    machine.stream = 5
    lent = blocks.lend(2000)
    ptr = lent.ptr
    machine.stream = 0
    del lent  # the work of stream 0 was the last to see it
    blocks.settle()
    machine.stream = 5
    assert blocks.lend(2000).ptr != ptr and machine.events == {0: 0}
    machine.done.add(0)
    assert blocks.lend(2000).ptr == ptr


def test_what_waits_is_given_back_when_memory_is_short():
    machine = Machine(64 * MiB)
    blocks = Allocator(machine)
    lent = blocks.lend(48 * MiB)
    blocks.record(lent, 3)
    del lent
    assert blocks.lend(60 * MiB).piece.size == 60 * MiB


def test_blocks_end_in_any_thread_and_are_lent_once():
    blocks = Allocator(Machine(1 << 40))
    held, wrong, turn = [], [], threading.Lock()

    def work(seed):
        draw = random.Random(seed)
        mine = []
        for _ in range(1500):
            if draw.random() < 0.5:
                mine.append(blocks.lend(draw.choice([100, 3000, MiB, 3 * MiB, 30 * MiB])))
            elif mine:
                mine.pop(draw.randrange(len(mine)))
            if mine and draw.random() < 0.2:
                with turn:  # ends in whoever comes next
                    held[:] = [mine.pop()]
        with turn:
            wrong.append(mine)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lent = [b for mine in wrong for b in mine] + held
    assert apart(lent)
    assert blocks.stats()["allocated_bytes.all.current"] == sum(b.piece.size for b in lent)
    del lent
    held.clear()
    wrong.clear()
    blocks.empty_cache()
    assert blocks.bytes.now == blocks.reserved.now == blocks.segments.now == 0


def test_a_finalizer_may_ask_for_memory_in_the_middle_of_a_loan(blocks, machine):
    found = []

    def allocate(nbytes, real=machine.allocate):
        if not found:  # as if the collector ran here
            found.append(None)
            found.append(blocks.lend(1000))
        return real(nbytes)

    machine.allocate = allocate
    lent = blocks.lend(1000)
    assert apart([lent, found[1]])


def test_a_cycle_that_holds_memory_ends(blocks):
    class Cycle:
        pass

    a = Cycle()
    a.me, a.block = a, blocks.lend(3 * MiB)
    del a
    gc.collect()
    assert blocks.stats()["allocated_bytes.all.current"] == 0


def test_peaks_and_totals(blocks):
    a, b = blocks.lend(MiB), blocks.lend(MiB)
    del a
    found = blocks.stats()
    assert [found[f"allocated_bytes.all.{k}"] for k in ("current", "peak", "allocated", "freed")] == [
        MiB, 2 * MiB, 2 * MiB, MiB]
    blocks.reset_peaks()
    assert blocks.stats()["allocated_bytes.all.peak"] == MiB and b.piece.size == MiB


# the real allocator


def test_statistics_of_tensors():
    nbgrad.cuda.empty_cache()
    before = nbgrad.cuda.memory_allocated()
    nbgrad.cuda.reset_peak_memory_stats()
    x = nbgrad.empty(1 << 18, device="cuda")
    assert nbgrad.cuda.memory_allocated() - before == MiB == x.nbytes
    view = x[3:]
    del x
    assert nbgrad.cuda.memory_allocated() - before == MiB
    del view
    assert nbgrad.cuda.memory_allocated() == before
    assert nbgrad.cuda.max_memory_allocated() - before == MiB
    assert nbgrad.cuda.memory_reserved() >= nbgrad.cuda.memory_allocated()
    assert nbgrad.cuda.max_memory_reserved() >= nbgrad.cuda.memory_reserved()
    assert "tensors" in nbgrad.cuda.memory_summary()
    free, whole = nbgrad.cuda.mem_get_info()
    assert 0 < free <= whole


def test_more_than_may_be_used_is_out_of_memory():
    whole = nbgrad.cuda.mem_get_info()[1]
    reserved = nbgrad.cuda.memory_reserved()
    nbgrad.cuda.set_per_process_memory_fraction((reserved + 64 * MiB) / whole)
    try:
        kept = nbgrad.empty(16 * MiB, dtype=nbgrad.uint8, device="cuda")
        with pytest.raises(nbgrad.OutOfMemoryError, match=r"Tried to allocate 128\.00 MiB"):
            nbgrad.empty(128 * MiB, dtype=nbgrad.uint8, device="cuda")
        assert (kept[:5].fill_(3) == 3).all()
    finally:
        nbgrad.cuda.set_per_process_memory_fraction(1.0)


def test_a_gradient_step_frees_what_it_took():
    x = nbgrad.ones(1000, device="cuda", requires_grad=True)

    def step():
        (nbgrad.sin(x * 2).exp().sum()).backward()
        x.grad = None
        return nbgrad.cuda.memory_allocated()

    assert step() == step() == step()


def test_pinned_memory_is_kept_and_lent_again():
    first = host.empty((100,), np.float32)
    at = first.ctypes.data
    part = first[10:20]
    assert host.pinned(first) and host.pinned(part) and not host.pinned(np.empty(3))
    del first
    assert host.empty((100,), np.float32).ctypes.data != at  # the view holds it
    del part
    assert host.empty((90,), np.float32).ctypes.data == at


def test_a_copy_holds_pinned_memory_until_it_is_done(monkeypatch):
    source = host.empty((100,), np.float32)
    source[:] = 3
    at, late = source.ctypes.data, []
    monkeypatch.setattr(host.machine, "reached", lambda event: bool(late))
    there = memory.upload(source, wait=False)
    del source
    held = [host.empty((100,), np.float32) for _ in range(3)]
    assert at not in [h.ctypes.data for h in held]
    late.append(True)
    host.collect()
    assert host.empty((100,), np.float32).ctypes.data == at
    assert (memory.download(there) == 3).all()
