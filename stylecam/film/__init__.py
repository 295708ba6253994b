"""Films at any length: painted in segments that survive whatever happens, then joined into one.

`task` says what is wanted, `layout` where the segments lie, `render` paints them, `join` makes the film.
"""
