"""Mutants of the rows, which the conformance kit must reject: the kit's own test. And of `bench/results`: its tests'.

    operators     the mistakes that are made
    sources       what is mutated, and the mutants of it
    judges        who rejects a mutant of a row, in a process of its own
    module_judges who rejects a mutant of a module: its tests
    trials        mutants before their judges, several at a time
    score         what became of them, as it is committed, and why survivors survive
    page          the page of the score
    __main__      `python -m tests.mutants`: judge all mutants, write score and page

mutmut and cosmic-ray were looked at first. mutmut 3 tests by pytest alone, with all mutants of a module in one file
that dispatches among them, which Numba cannot compile. cosmic-ray 8 takes any command, but mutates the checkout in
place (one clone for each process), and its operators know nothing of arrays: no `.T`, `out=`, slices, arguments, zeroed
buffers or left-out statements.
"""
