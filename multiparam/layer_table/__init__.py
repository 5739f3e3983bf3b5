"""The layer table: which layers there are, and how each canonical tensor is made of native ones.

It knows no model and no file. `mp.steps` has the steps; adapters find all of it in `multiparam.adapter`.
"""
