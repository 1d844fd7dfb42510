"""Everything that reads what somebody else wrote, fuzzed: bytes in; a UserError of one line, or a result.

targets  what is fuzzed, and inputs to start from
corpus   what was found, an input a file, in a folder for each target

`python -m tests.fuzz TARGET --seconds=600` lets Google's atheris look for inputs by coverage (`pip install atheris`);
tests/test_fuzz.py runs the corpus and some hundred mutations of the inputs in every run of the tests.
"""
