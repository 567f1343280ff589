"""Fuzzing: valid inputs are damaged at random, and the program must refuse them or be right.

Input number i of a kind is made from (seed, kind, i) alone, so that any of them can be made again. `kinds` lists the
kinds, each a module here; `runner` reads the inputs in worker processes, which may hang or run out of memory.
"""
