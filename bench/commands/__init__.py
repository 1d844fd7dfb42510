"""The commands of `backprop`, one file each."""
