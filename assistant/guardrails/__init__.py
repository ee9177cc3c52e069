"""What stands between people, documents, tools and models: nothing passes that should not."""
