"""Faults against the real processes while photos are being converted: `make chaos`.

Every fault is a function that does its harm to a `Rig` (the real queue, web and worker nodes as processes of their own)
while a `Workload` sends photos through HTTP. What became of each photo that was accepted is then counted from outside.
"""
