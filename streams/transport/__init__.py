"""Records from Kafka to a stage, by the batch, as columns: Faust's consumer with ours in its place."""
