"""The store on disk: plan, fill, shards, schemas."""
