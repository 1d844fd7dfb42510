"""What is computed: workloads, data, initial parameters."""
