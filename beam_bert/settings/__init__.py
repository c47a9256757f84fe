"""What a person may say: every pydantic model; the only place with defaults."""
