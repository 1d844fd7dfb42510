"""How it is shown: plots, tables, and figures in pages. Made from results alone."""
