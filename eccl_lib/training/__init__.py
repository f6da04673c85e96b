"""The training loop and what it needs: jobs, datasets, optimiser, state, microbatches, ranks, cost, runs."""
