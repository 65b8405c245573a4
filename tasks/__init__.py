"""One thin Prefect task a stage: a name a person understands, tags, retries, and one call to the store."""
