"""The training loop and its parts: jobs, datasets, optimiser, state, microbatches, ranks, cost, runs."""
