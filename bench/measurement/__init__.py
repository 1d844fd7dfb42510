"""How it is timed: workers, rounds, samples, and what is known of the machine."""
