"""The report: one HTML file that holds all that it shows, made from results and recordings alone."""
