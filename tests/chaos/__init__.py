"""Faults against the real processes while photos are being converted: `make chaos`.

Every fault is a function that harms a `Rig` (the real queue, web and worker nodes, each a process of its own) while a
`Workload` sends photos over HTTP. Then the outcome of every accepted photo is counted from outside.
"""
