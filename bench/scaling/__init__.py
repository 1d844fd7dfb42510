"""How a step scales over MPI ranks: measured here, and modelled past this machine.

record   what is found, as it stands in scaling.json
job      what runs on the ranks
measure  strong and weak scaling: jobs in random order, several generations
model    compute and Allreduce in formulas: other fabrics, up to 4,096 ranks
table    the findings in words
plot     the plots
"""
