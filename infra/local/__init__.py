"""The local stack: a real Kafka broker and the real ClickHouse engine on loopback, gone when we are."""
