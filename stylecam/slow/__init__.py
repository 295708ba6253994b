"""The slow path: pictures and keyframes made by optimisation, a report on them, a film from them.

Nothing here imports torch at the top: `stylecam.neural` is asked for when work begins.
"""
