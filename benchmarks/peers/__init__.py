"""nbgrad beside its peers: the same work in each, in processes that take turns.

    python -m benchmarks.peers --only conv --peer torch --threads 1,2

`workload` says what is compared and `workloads` lists it, `libraries` says how each library does
it, `worker` does it in a process of its own, `compare` lets the processes take turns, `limits`
measures what the machine could do, `startup` times fresh processes, `report` and `chart` show it.
"""
